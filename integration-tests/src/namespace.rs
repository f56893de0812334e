//! Additional network namespaces, for tests that need more than one host.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::panic::resume_unwind;
use std::process::{self, Command, Stdio};
use std::sync::Arc;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

/// Network namespace: it contains only a loopback interface until [`ip`](Self::ip) adds more.
///
/// It has no name. This value and its clones keep it alive, and so do the sockets and programs inside; the kernel
/// removes it with the last of them, also when the test process is killed.
#[derive(Debug, Clone)]
pub struct Namespace {
    file: Arc<File>,
}

impl Namespace {
    /// Creates a network, with `lo` up.
    ///
    /// # Panics
    ///
    /// Without root (or a user namespace that stands for it).
    pub fn new() -> Self {
        let made = on_a_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect(
                "a network namespace takes root: run as root, or through ./integration-tests/run",
            );
            Self::current()
        });
        made.ip("link set lo up");
        made
    }

    /// Returns the network of the calling thread.
    ///
    /// # Panics
    ///
    /// Without `/proc`.
    pub fn current() -> Self {
        let file = File::open("/proc/thread-self/ns/net").expect("the network of this thread");
        Self { file: Arc::new(file) }
    }

    /// Moves the calling thread, and everything that it starts from now on, into this network.
    ///
    /// # Panics
    ///
    /// Without root (or a user namespace that stands for it).
    pub fn enter(&self) {
        setns(&*self.file, CloneFlags::CLONE_NEWNET).expect("this thread may change its network");
    }

    /// Runs `work` on a thread inside, and waits for it. Sockets stay in the network in which they were made, so what
    /// is bound here can be used anywhere.
    ///
    /// # Panics
    ///
    /// When the work does.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        on_a_thread(|| {
            self.enter();
            work()
        })
    }

    /// Binds a UDP socket inside, for the runtime of the caller.
    ///
    /// # Panics
    ///
    /// When the address is taken or is not one of this network, and outside a tokio runtime.
    pub fn udp_socket(&self, address: impl Into<SocketAddr>) -> tokio::net::UdpSocket {
        let address = address.into();
        let bound = self.run(|| -> io::Result<_> {
            let socket = UdpSocket::bind(address)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        });
        bound
            .and_then(tokio::net::UdpSocket::from_std)
            .unwrap_or_else(|error| panic!("no UDP socket on {address}: {error}"))
    }

    /// Creates a command that runs a program inside, for `std` or (with `into()`) for tokio.
    ///
    /// The kernel ends the program with the thread that starts it, however that thread ends. So start it on the test's
    /// thread, not on one of [`run`](Self::run), and keep this value until the program shows that it runs: it enters
    /// the network after its start.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        // Each of the two execs the next, so the process ends up as the program itself.
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path()));
        command.args(["--", "setpriv", "--pdeathsig", "KILL", "--"]).arg(program);
        command
    }

    /// Runs `ip` inside: `namespace.ip("address add 10.0.0.1/24 dev eth0")`.
    ///
    /// # Panics
    ///
    /// When `ip` refuses.
    pub fn ip(&self, arguments: &str) {
        self.configure("ip", arguments);
    }

    /// Runs `tc` inside, which makes links narrow: `namespace.tc("qdisc add dev eth0 root tbf rate 1mbit burst 10kb
    /// latency 300ms")`.
    ///
    /// # Panics
    ///
    /// When `tc`, which comes with the package iproute2, refuses, as where the kernel has no such queue (`tbf` needs
    /// `CONFIG_NET_SCH_TBF`, which all of Debian's kernels have).
    pub fn tc(&self, arguments: &str) {
        self.configure("tc", arguments);
    }

    fn configure(&self, program: &str, arguments: &str) {
        let output = self.command(program).args(arguments.split(' ')).output();
        let output = output.expect("nsenter and setpriv, which come with util-linux, start");
        let said = String::from_utf8_lossy(&output.stderr);
        let hint = if said.contains("qdisc kind is unknown") {
            " (this kernel lacks the queue: tbf needs CONFIG_NET_SCH_TBF or the module sch_tbf)"
        } else {
            ""
        };
        assert!(output.status.success(), "`{program} {arguments}` failed: {}{hint}", said.trim());
    }

    /// Runs `nft` inside, with all rules in one transaction.
    ///
    /// # Panics
    ///
    /// When `nft` refuses.
    pub fn nft(&self, rules: &str) {
        let mut nft = self
            .command("nft")
            .args(["--file", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("nsenter and setpriv, which come with util-linux, start");
        let written = nft.stdin.take().expect("a pipe").write_all(rules.as_bytes());
        let output = nft.wait_with_output().expect("an exit status");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && written.is_ok(),
            "`nft`, which comes with the package nftables, failed: {}",
            said.trim()
        );
    }

    /// Turns on IP forwarding: packets that come in on one interface may leave on another.
    ///
    /// # Panics
    ///
    /// When the kernel refuses.
    pub fn forward(&self) {
        let written = self.run(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1"));
        written.expect("a network may forward");
    }

    /// Connects this network to the other one: an interface and its address (`10.0.0.1/24`) on each side.
    ///
    /// # Panics
    ///
    /// When `ip` refuses.
    pub fn connect(&self, (interface, address): End<'_>, other: &Self, far: End<'_>) {
        let (far_interface, far_address) = far;
        let there = other.path();
        self.ip(&format!("link add {interface} type veth peer name {far_interface} netns {there}"));
        for (namespace, interface, address) in
            [(self, interface, address), (other, far_interface, far_address)]
        {
            namespace.ip(&format!("address add {address} dev {interface}"));
            namespace.ip(&format!("link set {interface} up"));
        }
    }

    /// Moves one of its interfaces to another network.
    ///
    /// # Panics
    ///
    /// When `ip` refuses.
    pub fn hand_over(&self, interface: &str, other: &Self) {
        self.ip(&format!("link set {interface} netns {}", other.path()));
    }

    /// Returns the path at which other programs find it, while this value lives.
    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", process::id(), self.file.as_raw_fd())
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self::new()
    }
}

/// Name of an interface, and its address with the length of its prefix.
pub type End<'a> = (&'a str, &'a str);

fn on_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let result = thread::scope(|scope| scope.spawn(work).join());
    result.unwrap_or_else(|panic| resume_unwind(panic))
}
