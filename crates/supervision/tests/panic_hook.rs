//! Tests of the panic hook, which reports panics of actors on a thread of its own. The hook is the whole process's, and
//! its reports depend on the environment, so each case runs in a process of its own: this test program again, with that
//! test alone.

mod common;

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use callboard_supervision::*;
use common::{Do, Events, Fragile, Where};

#[test]
fn frames_are_named_once_for_each_place_and_on_another_thread() {
    alone("frames_are_named_once_for_each_place_and_on_another_thread", "1", panics_with_frames());
}

#[test]
fn without_rust_backtrace_there_are_no_frames() {
    alone("without_rust_backtrace_there_are_no_frames", "0", panics_without_frames());
}

#[test]
fn other_panics_go_to_the_hook_that_was_there_before() {
    alone("other_panics_go_to_the_hook_that_was_there_before", "1", panics_elsewhere());
}

#[test]
fn without_a_logger_panics_go_to_stderr() {
    let name = "without_a_logger_panics_go_to_stderr";
    let Some(stderr) = alone(name, "1", panics_without_logger()) else { return };

    assert!(
        stderr.contains("root/a panicked at crates/supervision/tests/common/mod.rs:"),
        "{stderr}"
    );
    assert!(stderr.contains("stack backtrace of that panic:"), "{stderr}");
}

#[test]
fn panics_that_are_caught_by_name_are_told_once_for_each_place() {
    alone("panics_that_are_caught_by_name_are_told_once_for_each_place", "1", panics_caught());
}

/// Runs a case in a process of its own, which is this program with the test of this name alone. The child process runs
/// `case` and gets `None`; the parent checks how the child ended and returns its stderr.
fn alone(test: &str, backtrace: &str, case: impl Future<Output = ()>) -> Option<String> {
    if std::env::var(ALONE).is_ok_and(|name| name == test) {
        actix::System::new().block_on(case);
        return None;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(ALONE, test)
        .env("RUST_BACKTRACE", backtrace)
        .env_remove("RUST_LIB_BACKTRACE")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.contains("1 passed"), "{stdout}");
    Some(stderr)
}

/// Environment variable with the name of the test for which this process was started.
const ALONE: &str = "CALLBOARD_TEST_ALONE";

async fn panics_with_frames() {
    let lines = panics_told().await;

    let frames: Vec<_> =
        lines.iter().filter(|line| line.text.contains("stack backtrace")).collect();
    assert_eq!(frames.len(), 2, "one for each place: {lines:#?}");
    for named in frames {
        assert!(named.text.contains("panic_hook::common::"), "names of functions: {}", named.text);
        assert!(!named.text.contains("tokio::runtime"), "and not the runtime's: {}", named.text);
    }
}

async fn panics_without_frames() {
    let lines = panics_told().await;

    assert!(!lines.iter().any(|line| line.text.contains("stack backtrace")), "{lines:#?}");
}

async fn panics_elsewhere() {
    static BEFORE: AtomicUsize = AtomicUsize::new(0);
    std::panic::set_hook(Box::new(|_| _ = BEFORE.fetch_add(1, Ordering::SeqCst)));
    let panics = install_panic_hook();
    let again = install_panic_hook();

    let thread = std::thread::spawn(|| panic!("no actor"));

    assert!(thread.join().is_err());
    assert_eq!(BEFORE.load(Ordering::SeqCst), 1);

    // An actor's panic does not go there, but a panic while it unwinds does, because that may end the process.
    let alive = Arc::default();
    let root = SupervisorSpec::new(Flags::one_for_one())
        .child(Fragile::spec("a", Where::Nowhere, &alive))
        .start()
        .await
        .unwrap();
    let mut events = Events::of(&root);
    root.find::<Fragile>("a").unwrap().do_send(Do::PanicHoldingAnother).unwrap();
    events.expect(&["a down panic(the first)", "a started"]).await;
    assert_eq!(BEFORE.load(Ordering::SeqCst), 2);
    drop((panics, again));
}

async fn panics_caught() {
    static BEFORE: AtomicUsize = AtomicUsize::new(0);
    std::panic::set_hook(Box::new(|_| _ = BEFORE.fetch_add(1, Ordering::SeqCst)));
    log::set_logger(&LINES).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
    let panics = install_panic_hook();

    for _ in 0..3 {
        let caught = catch_panic("hook demo.panic", || panic!("in a hook"));
        assert_eq!(caught, Err::<(), _>("in a hook".to_owned()));
    }
    all_told();
    let later = async {
        tokio::task::yield_now().await;
        panic!("in a future")
    };
    let caught: Result<(), _> = catch_panics("hook demo.later".to_owned(), later).await;
    assert_eq!(caught, Err("in a future".to_owned()));
    assert_eq!(catch_panics("hook demo.fine".to_owned(), async { 1 }).await, Ok(1));
    assert_eq!(BEFORE.load(Ordering::SeqCst), 0);

    assert!(std::thread::spawn(|| panic!("without a name")).join().is_err());
    assert!(actix::spawn(async { panic!("without a name") }).await.is_err());
    assert_eq!(BEFORE.load(Ordering::SeqCst), 2);
    all_told();
    drop(panics);
    let lines = LINES.0.lock().unwrap().clone();
    let count = |part: &str| lines.iter().filter(|line| line.text.contains(part)).count();
    assert_eq!(count("hook demo.panic panicked at crates/supervision/tests/"), 1, "{lines:#?}");
    assert_eq!(count("and 2 more panics at "), 1, "{lines:#?}");
    assert_eq!(count("hook demo.later panicked at crates/supervision/tests/"), 1, "{lines:#?}");
    assert_eq!(count("stack backtrace of that panic:"), 2, "{lines:#?}");
    assert_eq!(lines.len(), 5, "{lines:#?}");
}

async fn panics_without_logger() {
    let panics = install_panic_hook();
    panic_five_times().await;
    all_told();
    drop(panics);
}

/// Line of the log.
#[derive(Clone, Debug)]
struct Line {
    thread: String,
    text: String,
}

struct Lines(Mutex<Vec<Line>>);

static LINES: Lines = Lines(Mutex::new(Vec::new()));

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        self.0.lock().unwrap().push(Line { thread, text: record.args().to_string() });
    }

    fn flush(&self) {}
}

/// Lets an actor on a thread of a pool panic, five times at one place and once at another, after which its supervisor
/// gives up; returns the log of the panics.
async fn panics_told() -> Vec<Line> {
    log::set_logger(&LINES).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
    let panics = install_panic_hook();

    panic_five_times().await;

    all_told();
    drop(panics);
    let lines = LINES.0.lock().unwrap().clone();
    assert!(
        lines
            .iter()
            .any(|line| line.text == "root gives up: more restarts than 5 in 3600s, the last of a"),
        "{lines:#?}"
    );
    let told: Vec<_> =
        lines.iter().filter(|line| line.thread == "panic-reporter").cloned().collect();
    let is = |line: &&Line, begin: &str, end: &str| {
        let place = "crates/supervision/tests/common/mod.rs:";
        line.text.starts_with(&format!("{begin}{place}")) && line.text.ends_with(end)
    };
    let count = |begin: &str, end: &str| told.iter().filter(|line| is(line, begin, end)).count();
    assert_eq!(count("root/a panicked at ", ": in a handler"), 1, "{lines:#?}");
    assert_eq!(count("root/a panicked at ", ": number 7"), 1, "{lines:#?}");
    assert_eq!(count("and 4 more panics at ", ""), 1, "{lines:#?}");
    let elsewhere =
        |line: &&Line| line.thread != "panic-reporter" && line.text.contains("panicked at");
    assert_eq!(lines.iter().filter(elsewhere).count(), 0, "{lines:#?}");
    told
}

/// Waits until all panics so far are reported. The drop of one handle waits for 2 s at most, which may be too short for
/// the frames on a busy machine; when all panics are reported, it does not wait.
fn all_told() {
    for _ in 0..30 {
        drop(install_panic_hook());
    }
}

async fn panic_five_times() {
    let alive = Arc::default();
    let pool = ArbiterPool::new(1);
    let spec = Fragile::spec("a", Where::Nowhere, &alive).placement(Placement::Pool(pool));
    let flags = Flags::one_for_one().intensity(5, std::time::Duration::from_secs(3600));
    let root = SupervisorSpec::new(flags).child(spec).start().await.unwrap();
    let a = root.find::<Fragile>("a").unwrap();
    let mut events = Events::of(&root);
    for _ in 0..5 {
        a.do_send(Do::Panic).unwrap();
        events.expect(&["a down panic(in a handler)", "a started"]).await;
    }
    // While these frames are being resolved, no others are captured.
    all_told();
    a.do_send(Do::PanicFormatted(7)).unwrap();
    events.expect(&["a down panic(number 7)", "root down reached_max_restart_intensity"]).await;
}
