//! Programs that a test starts: their paths, and process groups that surely end.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::time::Instant;

/// Returns the path of a program of this workspace, freshly built. `integration-tests/run` has built all of them; the
/// first test that is started by other means builds them. `CALLBOARD_PROGRAMS` names another folder, for example that
/// of an optimised build, whose programs are taken as they are.
///
/// # Panics
///
/// When it does not build, or is not in that folder.
pub fn of_the_workspace(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        if let Some(named) = env::var_os("CALLBOARD_PROGRAMS").filter(|named| !named.is_empty()) {
            return named.into();
        }
        if env::var_os("CALLBOARD_PROGRAMS_BUILT").is_none() {
            build();
        }
        folder()
    });
    let program = folder.join(name);
    assert!(
        program.is_file(),
        "the workspace has no program {name}: {} is not there",
        program.display()
    );
    program
}

/// Program made of a template in `examples/templates`.
#[derive(Clone, Debug)]
pub struct OfTemplate {
    /// Its name.
    pub name: String,
    /// Its path.
    pub program: PathBuf,
    /// Path of the manifest of the workspace of all templates.
    pub manifest: PathBuf,
    /// Folder of its builds.
    pub target: PathBuf,
}

/// Returns the program made of this template, freshly built with its tests, by `integration-tests/run` or else by the
/// first test that asks for one.
///
/// # Panics
///
/// When it does not build.
pub fn of_a_template(template: &str) -> OfTemplate {
    static BUILT: OnceLock<()> = OnceLock::new();
    let target = folder().parent().expect("it is in a target folder").to_owned();
    BUILT.get_or_init(|| {
        if env::var_os("CALLBOARD_PROGRAMS_BUILT").is_none() {
            let began = Instant::now();
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
            let output = Command::new(script).env("CARGO_TARGET_DIR", &target).output();
            let output = output.expect("bash starts");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "the templates do not build:\n{said}");
            _ = BUILD_TIME.set(began.elapsed());
        }
    });
    let name = format!("my-{template}");
    let manifest = target.join("templates").join("Cargo.toml");
    OfTemplate { program: target.join("debug").join(&name), name, manifest, target }
}

/// Returns the time that the tests of this process have spent on building so far.
pub(crate) fn build_time() -> Duration {
    BUILD_TIME.get().copied().unwrap_or_default()
}

static BUILD_TIME: OnceLock<Duration> = OnceLock::new();

/// Returns the path of a program that is installed on the machine, or that `integration-tests/run` has installed.
///
/// # Panics
///
/// When there is none, with a hint how to install it.
pub fn of_the_machine(name: &str, package: &str) -> PathBuf {
    find(name).unwrap_or_else(|| {
        panic!("{name} is missing: run ./integration-tests/run, or install {package}")
    })
}

/// Returns whether there is such a program for [`of_the_machine`].
pub fn is_on_the_machine(name: &str) -> bool {
    find(name).is_some()
}

fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(cache().map(|cache| cache.join("bin")));
    folders.map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// Returns the Python that has the packages of the programs in `integration-tests/peers`: `CALLBOARD_PYTHON`, or the
/// one that `integration-tests/run` has installed.
///
/// # Panics
///
/// When there is none, with a hint how to install it.
pub fn python() -> PathBuf {
    let set = env::var_os("CALLBOARD_PYTHON").filter(|value| !value.is_empty()).map(PathBuf::from);
    let python = set.or_else(|| cache().map(|cache| cache.join("python/bin/python3")));
    python.filter(|python| python.is_file()).unwrap_or_else(|| {
        panic!("the peers' Python is missing: run ./integration-tests/run, or set CALLBOARD_PYTHON")
    })
}

/// Returns the path of a program that comes with one of the packages of [`python`].
///
/// # Panics
///
/// When there is none, with a hint how to install it.
pub fn of_python(name: &str) -> PathBuf {
    let program = python().with_file_name(name);
    assert!(program.is_file(), "{name} is missing: run ./integration-tests/run");
    program
}

/// Returns the folder of the npm packages that the tests of the client for browsers use, which `integration-tests/run`
/// installs.
///
/// # Panics
///
/// When it is not there, with a hint how to install it.
pub fn node_modules() -> PathBuf {
    let folder = cache().map(|cache| cache.join("client/node_modules"));
    folder.filter(|folder| folder.is_dir()).unwrap_or_else(|| {
        panic!("the client's npm packages are missing: run ./integration-tests/run")
    })
}

/// Returns a TCP port on which no program listens, another one each time. The test has the network to itself, and the
/// port is outside the kernel's ephemeral range (32,768 and more), so it stays free.
///
/// # Panics
///
/// When the network has no loopback.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    let ports = std::iter::repeat_with(|| NEXT.fetch_add(1, Ordering::Relaxed));
    ports
        .take_while(|port| *port < 32_768)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .expect("a socket on loopback")
}

/// Program together with all processes that it starts, directly or indirectly.
///
/// It runs in a process namespace whose first process lives as long as this end of its standard input is open. When
/// that closes, also because the test process was killed, the kernel ends every process inside.
#[derive(Debug)]
pub struct ProcessGroup {
    first: Child,
}

impl ProcessGroup {
    /// Starts the program; its output goes to the file `log`.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start<Argument: AsRef<OsStr>>(
        program: &Path,
        arguments: impl IntoIterator<Item = Argument>,
        home: &Path,
        log: &Path,
    ) -> io::Result<Self> {
        let output = std::fs::File::create(log)?;
        let first = Command::new("unshare")
            .args([
                "--pid",
                "--fork",
                "--mount-proc",
                "sh",
                "-c",
                r#""$@" </dev/null & read -r _"#,
                "sh",
            ])
            .arg(program)
            .args(arguments)
            .env("HOME", home)
            .env("TMPDIR", home)
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()?;
        Ok(Self { first })
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        drop(self.first.stdin.take());
        // `unshare` returns once the namespace is empty.
        if self.first.wait().is_err() {
            let _ = killpg(Pid::from_raw(self.first.id().cast_signed()), Signal::SIGKILL);
        }
    }
}

/// Builds the programs.
///
/// Builds all packages of the workspace, and a test, because `cargo test --workspace` has just built those: another
/// choice would resolve features differently and build every dependency a second time.
fn build() {
    let began = Instant::now();
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args(["build", "--workspace", "--bins", "--test", "harness", "--quiet", "--manifest-path"])
        .arg(&manifest)
        .args(profile(&folder()))
        .output()
        .expect("cargo starts");
    assert!(
        output.status.success(),
        "the workspace does not build:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    _ = BUILD_TIME.set(began.elapsed());
}

/// Returns the option for the profile whose programs are in this folder, which cargo names after it.
fn profile(folder: &Path) -> Option<String> {
    let name = folder.file_name()?.to_str()?;
    (name != "debug").then(|| format!("--profile={name}"))
}

/// Returns the folder of the programs: this test is target/PROFILE/deps/NAME-HASH.
fn folder() -> PathBuf {
    let test = env::current_exe().expect("the path of this test");
    let folder = test.ancestors().find(|folder| folder.ends_with("deps")).and_then(Path::parent);
    folder.expect("tests run from cargo's target folder").to_owned()
}

/// Returns the folder in which `integration-tests/run` keeps its builds.
fn cache() -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("CALLBOARD_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|folder| folder.join("callboard")))
        .or_else(|| set("HOME").map(|folder| folder.join(".cache/callboard")))
}
