//! The image, put together as the last stage of the Dockerfile says, and run as its user sees it. There is no engine:
//! the program is the one of this build, and the libraries are this machine's.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use callboard_client::{Client, ClientOptions};
use integration_tests::{PATIENCE, in_network_namespace, program};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use super::{got, path, text};

#[test]
fn the_image_serves_is_healthy_and_stops() {
    in_network_namespace(async || {
        let recipe = Recipe::of(&text("Dockerfile"));
        let image = Image::of(&recipe);
        let (program, arguments) = recipe.entrypoint.split_first().expect("a program");
        assert!(!image.run(&recipe, &recipe.health).status().await.expect("it starts").success());

        let arguments = arguments.iter().chain(&recipe.command).cloned();
        let command: Vec<String> = [program.clone()].into_iter().chain(arguments).collect();
        let mut server = image.run(&recipe, &command);
        let mut server = server.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(server.stdout.take().expect("a pipe")).lines();
        let first = timeout(PATIENCE, output.next_line()).await.expect("in time").expect("text");
        assert_eq!(first.as_deref(), Some("listening on http://0.0.0.0:8080/"));
        let id = server.id().expect("it runs");
        let user = if maps_users() { "65532" } else { "0" };
        let status = fs::read_to_string(format!("/proc/{id}/status")).expect("it runs");
        let ids = status.lines().find_map(|line| line.strip_prefix("Uid:")).expect("its user");
        assert!(ids.split_whitespace().all(|id| id == user), "{ids}");
        let root = fs::read_link(format!("/proc/{id}/root")).expect("it runs");
        assert_eq!(root, image.root.path().canonicalize().unwrap());

        assert!(got("127.0.0.1:8080", "/demo").await.contains("<title>"));
        let url = "ws://127.0.0.1:8080/socket/demo";
        let guest = Client::connect(url, ClientOptions::new()).await.expect("it is admitted");
        assert!(image.run(&recipe, &recipe.health).status().await.expect("it starts").success());
        drop(guest);

        kill(Pid::from_raw(id.cast_signed()), Signal::SIGTERM).expect("it runs");
        let ended = timeout(PATIENCE, server.wait()).await.expect("in time").expect("a status");
        assert_eq!(ended.code(), Some(0));
        let mut log = String::new();
        server.stderr.take().expect("a pipe").read_to_string(&mut log).await.expect("text");
        let lines: Vec<Value> =
            log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        assert!(lines.iter().any(|line| line["message"] == "shutting down: SIGTERM"), "{log}");
        assert!(!image.run(&recipe, &recipe.health).status().await.expect("it starts").success());
    });
}

/// The parts of the files that name each other.
#[test]
fn the_files_agree_on_ports_and_names() {
    let recipe = Recipe::of(&text("Dockerfile"));
    assert_eq!(recipe.base, "gcr.io/distroless/cc-debian12:nonroot");
    assert_eq!(recipe.exposed, ["8080/tcp", "40000/udp"]);
    assert_eq!(recipe.command, ["--listen", "0.0.0.0:8080", "--udp-port", "40000"]);
    let compose = text("compose.yaml");
    for port in &recipe.exposed {
        let (number, protocol) = port.split_once('/').unwrap();
        let published = format!("- \"{number}:{number}/{protocol}\"");
        assert!(compose.contains(&published), "{published}");
    }
    assert!(compose.contains(&format!("command: [\"{}\"", recipe.command.join("\", \""))));
    assert!(compose.contains("dockerfile: examples/deploy/Dockerfile"));
    let manifest = fs::read_to_string(path("../../Cargo.toml")).expect("the workspace's");
    assert!(compose.contains("PROFILE: dist") && manifest.contains("\n[profile.dist]\n"));
    // Docker reads a file of this name for a Dockerfile of that.
    assert!(path("Dockerfile.dockerignore").is_file());
}

/// Instructions of the last stage of a Dockerfile.
#[derive(Debug, Default)]
struct Recipe {
    base: String,
    /// Files of the stage before it, and where they are copied to.
    copies: Vec<(String, String)>,
    user: String,
    environment: Vec<String>,
    exposed: Vec<String>,
    health: Vec<String>,
    entrypoint: Vec<String>,
    command: Vec<String>,
}

impl Recipe {
    fn of(dockerfile: &str) -> Self {
        let lines = dockerfile.lines().filter(|line| !line.starts_with('#'));
        let text = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
        let (builds, last) = text.rsplit_once("\nFROM ").expect("two stages");
        assert!(builds.contains("install -D \"target/$PROFILE/$PACKAGE\" /out/server"), "{builds}");
        let mut recipe = Self::default();
        for (at, line) in last.lines().filter(|line| !line.trim().is_empty()).enumerate() {
            let (instruction, rest) = line.split_once(' ').unwrap_or((line, ""));
            let exec = |text: &str| {
                serde_json::from_str(text).expect("the exec form, as there is no shell")
            };
            match instruction {
                _ if at == 0 => recipe.base = line.to_owned(),
                "COPY" => match rest.split(' ').collect::<Vec<_>>()[..] {
                    ["--from=build", from, to] => recipe.copies.push((from.into(), to.into())),
                    _ => panic!("{line}"),
                },
                "USER" => recipe.user = rest.to_owned(),
                "ENV" => recipe.environment.push(rest.to_owned()),
                "EXPOSE" => recipe.exposed.extend(rest.split(' ').map(str::to_owned)),
                "HEALTHCHECK" => recipe.health = exec(rest.split_once(" CMD ").expect("CMD").1),
                "ENTRYPOINT" => recipe.entrypoint = exec(rest),
                "CMD" => recipe.command = exec(rest),
                _ => panic!("the test does not know {line}"),
            }
        }
        recipe
    }
}

/// Root folder with the files of the image that the program uses.
struct Image {
    root: TempDir,
}

impl Image {
    fn of(recipe: &Recipe) -> Self {
        let root = tempfile::tempdir().expect("a folder");
        fs::set_permissions(root.path(), Permissions::from_mode(0o755)).expect("ours");
        let image = Self { root };
        for (from, to) in &recipe.copies {
            assert_eq!(from, "/out/server", "the build makes no other");
            let server = program::of_the_workspace("supervisor-tree");
            for library in libraries(&server) {
                let name = library.file_name().and_then(|name| name.to_str()).expect("a name");
                let is_there = BASE.iter().any(|known| name.starts_with(known));
                assert!(is_there, "{} has no {name}", recipe.base);
                image.copy(&library, library.to_str().expect("text"));
            }
            image.copy(&server, to);
        }
        image
    }

    /// Copies a file to this path in the image.
    fn copy(&self, from: &Path, to: &str) {
        let to = self.root.path().join(to.trim_start_matches('/'));
        fs::create_dir_all(to.parent().expect("a folder")).expect("there is room");
        fs::copy(from, to).expect("there is room");
    }

    /// Returns the command that runs a program of the image as the recipe says: as its user, with its environment.
    fn run(&self, recipe: &Recipe, command: &[String]) -> Command {
        let (user, group) = recipe.user.split_once(':').expect("user and group by number");
        let mut run = Command::new(program::of_the_machine("setpriv", "util-linux"));
        if maps_users() {
            run.args(["--reuid", user, "--regid", group, "--clear-groups"]);
            // To change the root folder, and nothing else.
            run.args(["--inh-caps=-all,+sys_chroot", "--ambient-caps=-all,+sys_chroot"]);
        }
        // The kernel ends the program with this thread, however that ends.
        run.args(["--pdeathsig", "KILL", "--"]).arg("/usr/bin/env").arg("-i");
        run.args(&recipe.environment);
        run.arg(program::of_the_machine("chroot", "coreutils")).arg(self.root.path());
        run.args(command).stdin(Stdio::null()).kill_on_drop(true);
        run
    }
}

/// Returns the libraries that a program names, and those that they name.
fn libraries(program: &Path) -> Vec<std::path::PathBuf> {
    let output = std::process::Command::new("ldd").arg(program).output().expect("ldd of libc-bin");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success() && !text.contains("not found"), "{text}");
    let words = text.split_whitespace().filter(|word| word.starts_with('/'));
    words.map(Into::into).collect()
}

/// Returns whether there are other users than the one that stands for root in a user namespace.
fn maps_users() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").expect("/proc");
    map.split_whitespace().nth(2).and_then(|count| count.parse::<u64>().ok()) > Some(65_532)
}

/// Libraries of distroless/cc: of the packages libc6, libgcc-s1 and libstdc++6.
const BASE: [&str; 9] = [
    "ld-linux-",
    "libc.so.",
    "libdl.so.",
    "libgcc_s.so.",
    "libm.so.",
    "libpthread.so.",
    "libresolv.so.",
    "librt.so.",
    "libstdc++.so.",
];
