//! The units, by systemd's own checks, and the socket that outlives the server.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::{Output, Stdio};

use callboard_client::{Client, ClientEvent, ClientOptions, ClientState};
use integration_tests::{Moment, PATIENCE, in_network_namespace, program, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::{get, got, replaced, text};

#[test]
fn systemd_accepts_the_units_and_calls_them_well_confined() {
    let folder = tempfile::tempdir().expect("a folder");
    let (service, socket) = (text("callboard.service"), text("callboard.socket"));
    let write = |service: &str| {
        let program = program::of_the_workspace("supervisor-tree");
        let here = replaced(service, PROGRAM, program.to_str().expect("text"));
        std::fs::write(folder.path().join("callboard.service"), here).expect("there is room");
        std::fs::write(folder.path().join("callboard.socket"), &socket).expect("there is room");
    };
    let analyze = |arguments: &[&str]| -> Output {
        let tool = program::of_the_machine("systemd-analyze", "systemd");
        let files = ["callboard.service", "callboard.socket"].map(|file| folder.path().join(file));
        let files = &files[..if arguments[0] == "verify" { 2 } else { 1 }];
        let run = std::process::Command::new(tool).args(arguments).args(files).output();
        run.expect("it starts")
    };
    let verify = || analyze(&["verify", "--man=no"]);

    write(&service);
    let said = verify();
    let faults = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success() && !faults.contains("callboard."), "{faults}");
    let confined = ["security", "--offline=true", "--no-pager", "--threshold=15"];
    let said = analyze(&confined);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stdout));
    // The checks do find faults.
    write(&replaced(&service, "PrivateTmp=yes", "PrivatTmp=yes"));
    let said = verify();
    let faults = String::from_utf8_lossy(&said.stderr);
    assert!(faults.contains("callboard.service") && faults.contains("PrivatTmp"), "{faults}");
    write(&replaced(&service, "SystemCallFilter=@system-service\n", ""));
    assert!(!analyze(&confined).status.success());
}

/// The unit's filters end a server that makes a forbidden call only once it makes it; so a whole session is traced.
#[test]
fn a_session_makes_only_the_system_calls_that_the_unit_allows() {
    in_network_namespace(async || {
        let service = text("callboard.service");
        let filters = service.lines().filter_map(|line| line.strip_prefix("SystemCallFilter="));
        let mut allowed = BTreeSet::new();
        for filter in filters {
            match filter.strip_prefix('~') {
                Some(sets) => {
                    let not: BTreeSet<_> = sets.split(' ').flat_map(calls_of).collect();
                    allowed.retain(|call| !not.contains(call));
                }
                None => allowed.extend(filter.split(' ').flat_map(calls_of)),
            }
        }
        assert!(allowed.contains("accept4") && !allowed.contains("setrlimit"), "{allowed:?}");

        let made = traced(&["-c", "-U", "name"]).await;
        let made: BTreeSet<String> = made.lines().map(|line| line.trim().to_owned()).collect();
        assert!(made.contains("accept4"), "{made:?}");
        let beside = |line: &&&String| {
            line.starts_with('-') || ["syscall", "total"].contains(&line.as_str())
        };
        let forbidden: Vec<_> = made.difference(&allowed).filter(|line| !beside(&line)).collect();
        assert!(forbidden.is_empty(), "{forbidden:?}");

        let made = traced(&["--seccomp-bpf", "-e", "trace=mmap,mprotect,socket"]).await;
        assert!(made.contains(" socket(AF_INET, SOCK_DGRAM"), "{made}");
        let families = value(&service, "RestrictAddressFamilies");
        let families: Vec<&str> = families.split(' ').collect();
        let sockets =
            made.lines().filter_map(|line| line.split_once(" socket(")?.1.split_once(','));
        let mut others = sockets.filter(|(family, _)| !families.contains(family));
        assert_eq!(others.next(), None);
        // MemoryDenyWriteExecute
        let writable = |line: &&str| line.contains("PROT_WRITE") && line.contains("PROT_EXEC");
        assert_eq!(made.lines().find(writable), None);
    });
}

/// Runs peers with connections and faults in all actors below strace, and returns what that has written.
async fn traced(arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("calls");
    let run = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--"])
        .arg(program::of_the_machine("strace", "strace"))
        .args(["-f", "-qq", "-o"])
        .arg(&file)
        .args(arguments)
        .arg(program::of_the_workspace("supervisor-tree"))
        .args(["--headless", "--peers", "2", "--seconds", "1"])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    // It is slow below strace: whether all recover in time does not matter here.
    let output = run.await.expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.starts_with("listening on "), "{output:?}");
    std::fs::read_to_string(file).expect("text")
}

/// Returns the system calls in a set of systemd's.
fn calls_of(set: &str) -> BTreeSet<String> {
    let tool = program::of_the_machine("systemd-analyze", "systemd");
    let run = std::process::Command::new(tool).args(["syscall-filter", "--no-pager", set]).output();
    let text = String::from_utf8(run.expect("it starts").stdout).expect("text");
    let lines = text.lines().skip(1).map(str::trim);
    let mut calls = BTreeSet::new();
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.starts_with('@') {
            true => calls.append(&mut calls_of(line)),
            false => _ = calls.insert(line.to_owned()),
        }
    }
    assert!(!calls.is_empty(), "{set}");
    calls
}

#[test]
fn the_server_of_the_unit_takes_the_socket_of_the_unit() {
    in_network_namespace(async || {
        let address = value(&text("callboard.socket"), "ListenStream");
        let command = value(&text("callboard.service"), "ExecStart");
        let arguments = command.strip_prefix(PROGRAM).expect("the program").split_whitespace();
        // It waits for the first connection, then becomes the server.
        let mut server = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program::of_the_machine("systemd-socket-activate", "systemd"))
            .args(["--listen", &address])
            .arg(program::of_the_workspace("supervisor-tree"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");

        got(&address, "/readyz").await;
        assert_eq!(first_line(&mut server).await, format!("listening on http://{address}/"));
        // The proxy is trusted, and strangers are not the operator.
        let strangers = "x-forwarded-for: 192.0.2.1\r\n";
        let (head, _) = get(&address, "/tree", strangers).await.expect("an answer");
        assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
        end(server).await;
    });
}

#[test]
fn a_server_on_an_inherited_socket_is_replaced_while_clients_wait() {
    in_network_namespace(async || {
        for (name, path) in [("supervisor-tree", "socket/demo"), ("mesh-call", "socket/room")] {
            let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
            let address = socket.local_addr().expect("bound").to_string();
            let url = format!("ws://{address}/{path}");

            let mut before = on_socket(&socket, name);
            assert!(
                first_line(&mut before)
                    .await
                    .starts_with(&format!("listening on http://{address}"))
            );
            let mut guest = match name {
                "supervisor-tree" => {
                    let guest = Client::connect(&url, ClientOptions::new()).await;
                    Some(guest.expect("it is admitted"))
                }
                // It asks for a password.
                _ => None,
            };
            end(before).await;
            // The socket is open, though no process accepts: this request waits.
            let mut late = TcpStream::connect(&address).await.expect("it is open");
            let request = format!("GET / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
            late.write_all(request.as_bytes()).await.expect("sent");
            if let Some(guest) = &mut guest {
                until("it notices", PATIENCE, async || match guest.state() {
                    ClientState::Open => Moment::NotYet("still open".to_owned()),
                    _ => Moment::Now(()),
                })
                .await;
            }

            let after = on_socket(&socket, name);
            let mut answer = String::new();
            let read = late.read_to_string(&mut answer);
            timeout(PATIENCE, read).await.expect("in time").expect("an answer");
            assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
            if let Some(guest) = &mut guest {
                // Its peer is gone with the server before: it has joined as a new one.
                until("it is back", PATIENCE, async || {
                    match timeout(PATIENCE, guest.next_event()).await.expect("in time") {
                        Some(ClientEvent::Rejoined { .. }) => Moment::Now(()),
                        other => Moment::NotYet(format!("{other:?}")),
                    }
                })
                .await;
            }
            end(after).await;
        }
    });
}

#[test]
fn a_socket_that_is_none_is_refused() {
    in_network_namespace(async || {
        let folder = tempfile::tempfile().expect("a file");
        let mut server = handed(OwnedFd::from(folder), "supervisor-tree");
        let ended = server.stderr(Stdio::piped()).spawn().expect("it starts");
        let output = timeout(PATIENCE, ended.wait_with_output()).await.expect("in time").unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && said.contains("LISTEN_FDS"), "{said}");
    });
}

/// Starts a program that inherits this socket.
fn on_socket(socket: &TcpListener, name: &str) -> Child {
    let socket = OwnedFd::from(socket.try_clone().expect("a descriptor"));
    handed(socket, name).spawn().expect("it starts")
}

/// Returns the command of a program that inherits this descriptor as systemd hands one over.
fn handed(descriptor: OwnedFd, name: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "sh", "-c"]);
    command.arg(r#"exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@""#).arg("sh");
    command.arg(program::of_the_workspace(name)).stdin(descriptor);
    command.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    command
}

async fn first_line(server: &mut Child) -> String {
    let mut output = BufReader::new(server.stdout.take().expect("a pipe")).lines();
    let line = timeout(PATIENCE, output.next_line()).await.expect("in time").expect("text");
    // What else it prints is not read.
    line.expect("a line")
}

async fn end(mut server: Child) {
    let id = server.id().expect("it runs");
    kill(Pid::from_raw(id.cast_signed()), Signal::SIGTERM).expect("it runs");
    let ended = timeout(PATIENCE, server.wait()).await.expect("in time").expect("a status");
    assert_eq!(ended.code(), Some(0));
}

/// Returns the value of a setting that a unit has once.
fn value(unit: &str, name: &str) -> String {
    let mut values = unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let value = values.next().unwrap_or_else(|| panic!("no {name} in\n{unit}"));
    assert_eq!(values.next(), None, "another {name}");
    value.to_owned()
}

const PROGRAM: &str = "/usr/local/bin/supervisor-tree";
