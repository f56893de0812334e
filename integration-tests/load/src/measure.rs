//! CPU time and memory of processes, from the operating system, and histograms of latency.

use std::io;
use std::ops::AddAssign;
use std::time::Duration;

use hdrhistogram::Histogram;
use nix::time::ClockId;
use nix::unistd::Pid;

/// CPU time and memory of a server, at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// CPU time of all its threads, user and system, also of those that have ended.
    pub(crate) cpu: Duration,
    /// Resident memory in bytes.
    pub(crate) rss: u64,
}

impl Usage {
    /// Returns the CPU time since an earlier moment.
    pub(crate) fn cpu_since(&self, earlier: &Self) -> Duration {
        // The time of a child is counted less exactly once it has ended.
        self.cpu.saturating_sub(earlier.cpu)
    }
}

/// Process and all its descendants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Family {
    pid: u32,
    /// Start time in clock ticks since boot: process ids are reused.
    started: u64,
}

impl Family {
    /// Creates the family of the living process with this id.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        Ok(Self { pid, started: Stat::read(pid)?.started })
    }

    /// Returns the usage of the family while its first process lives. Shared memory counts once for each process.
    pub(crate) fn usage(self) -> io::Result<Usage> {
        let first = Stat::read(self.pid)?;
        if first.started != self.started {
            return Err(gone(self.pid));
        }
        let mut usage = first.usage();
        let mut parents = vec![self.pid];
        while let Some(parent) = parents.pop() {
            for child in children(parent) {
                // A process that has ended meanwhile is counted by its parent.
                let Ok(stat) = Stat::read(child) else { continue };
                usage += stat.usage();
                parents.push(child);
            }
        }
        Ok(usage)
    }

    /// Returns the ids of the living children of its first process.
    pub(crate) fn children(self) -> Vec<u32> {
        children(self.pid)
    }

    /// Returns the number of descriptors that its first process has open.
    pub(crate) fn descriptors(self) -> io::Result<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.pid))?.count())
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.cpu += other.cpu;
        self.rss += other.rss;
    }
}

/// CPU time of a process, and fields of its proc_pid_stat(5).
struct Stat {
    /// CPU time of its own threads, also of those that have ended.
    own: Duration,
    /// CPU time of its children that have ended, in clock ticks.
    children: u64,
    started: u64,
    pages: u64,
}

impl Stat {
    fn read(pid: u32) -> io::Result<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).map_err(|_| gone(pid))?;
        // The second field is in brackets, and may contain anything.
        let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
        // The first of these is field 3.
        let text = |number: usize| fields.split(' ').nth(number - 3);
        let field = |number| -> io::Result<u64> {
            let number = text(number).and_then(|text| text.parse().ok());
            number.ok_or(io::Error::from(io::ErrorKind::InvalidData))
        };
        // A zombie, or dead.
        if matches!(text(3), Some("Z" | "X")) {
            return Err(gone(pid));
        }
        let children = field(16)? + field(17)?;
        Ok(Self { own: cpu(pid)?, children, started: field(22)?, pages: field(24)? })
    }

    fn usage(&self) -> Usage {
        let children = Duration::from_millis(self.children * 1_000 / TICKS);
        Usage { cpu: self.own + children, rss: self.pages * PAGE }
    }
}

/// Returns the CPU time of a process, in nanoseconds; its stat(5) has clock ticks only.
fn cpu(pid: u32) -> io::Result<Duration> {
    let id = i32::try_from(pid).map_err(|_| gone(pid))?;
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(id)).map_err(|_| gone(pid))?;
    Ok(clock.now().map_err(|_| gone(pid))?.into())
}

/// Returns the living children of all its threads.
fn children(pid: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|one| std::fs::read_to_string(one.path().join("children")).ok());
    lists
        .flat_map(|list| list.split(' ').filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

fn gone(pid: u32) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("process {pid} is not there"))
}

/// Returns the name of this machine's processor, and how many of them it has.
pub(crate) fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("", |model| model.trim_start_matches([' ', '\t', ':']));
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{count} × {}", if model.is_empty() { "CPU" } else { model })
}

/// Histogram of waiting times.
pub(crate) struct Waits(Histogram<u64>);

impl Waits {
    pub(crate) fn new() -> Self {
        // From 1 µs to a minute, with three significant digits.
        Self(Histogram::new_with_bounds(1, 60_000_000, 3).expect("bounds that fit"))
    }

    pub(crate) fn add(&mut self, wait: Duration) {
        self.0.saturating_record(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX).max(1));
    }

    pub(crate) fn join(&mut self, other: &Self) {
        // Both have the same bounds.
        _ = self.0.add(&other.0);
    }

    /// Returns the number of waits.
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// Returns a percentile in milliseconds.
    pub(crate) fn percentile(&self, percent: f64) -> f64 {
        self.0.value_at_percentile(percent) as f64 / 1_000.0
    }
}

/// `sysconf(_SC_CLK_TCK)` and the page size of every Linux on x86-64 and most others.
const TICKS: u64 = 100;
const PAGE: u64 = 4_096;

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn cpu_time_is_counted_finer_than_in_clock_ticks() {
        let family = Family::of(std::process::id()).unwrap();
        let before = family.usage().unwrap();

        let steps = (0..1_000).map(|_| family.usage().unwrap().cpu_since(&before));

        let tick = Duration::from_secs(1) / TICKS as u32;
        assert!(
            steps.into_iter().any(|step| !step.is_zero() && step.as_nanos() % tick.as_nanos() != 0)
        );
    }

    #[test]
    fn cpu_time_since_a_later_moment_is_none() {
        let [early, late] = [1, 2].map(|s| Usage { cpu: Duration::from_secs(s), rss: 0 });

        assert_eq!(late.cpu_since(&early), Duration::from_secs(1));
        assert_eq!(early.cpu_since(&late), Duration::ZERO);
    }

    #[test]
    fn what_a_process_has_started_counts_with_it() {
        let mut shell = Command::new("sh");
        // The shell itself is idle.
        shell.args([
            "-c",
            "sh -c 'while [ $((x = x + 1)) -lt 300000 ]; do :; done; echo; read -r _'; :",
        ]);
        let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut done = [0];
        io::Read::read_exact(&mut shell.stdout.take().unwrap(), &mut done).unwrap();
        let family = Family::of(shell.id()).unwrap();

        let alone = Stat::read(shell.id()).unwrap().usage();
        let together = family.usage().unwrap();

        assert!(together.cpu > alone.cpu && together.rss > alone.rss, "{alone:?} {together:?}");
        drop(shell.stdin.take());
        shell.wait().unwrap();
        assert_eq!(family.usage().unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
