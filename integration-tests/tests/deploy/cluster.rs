//! The files for many nodes: the unit by systemd's own checks, the site by a real proxy before real nodes.

use std::fs;
use std::process::{Output, Stdio};

use callboard_client::{Client, ClientEvent, ClientOptions};
use integration_tests::{Moment, PATIENCE, Server, in_network_namespace, program, until};
use serde_json::json;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::{got, replaced, text};

#[test]
fn systemd_accepts_the_unit_of_a_node_and_calls_it_well_confined() {
    let folder = tempfile::tempdir().expect("a folder");
    let unit = text("callboard-node@.service");
    let write = |unit: &str| {
        let program = program::of_the_workspace("cluster-example");
        let here =
            replaced(unit, "/usr/local/bin/cluster-example", program.to_str().expect("text"));
        fs::write(folder.path().join("callboard-node@.service"), here).expect("there is room");
    };
    let analyze = |arguments: &[&str]| -> Output {
        let tool = program::of_the_machine("systemd-analyze", "systemd");
        let unit = folder.path().join("callboard-node@.service");
        let run = std::process::Command::new(tool).args(arguments).arg(unit).output();
        run.expect("it starts")
    };

    write(&unit);
    let said = analyze(&["verify", "--man=no"]);
    let faults = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success() && !faults.contains("callboard-node"), "{faults}");
    let said = analyze(&["security", "--offline=true", "--no-pager", "--threshold=15"]);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stdout));
    // The checks do find faults.
    write(&replaced(&unit, "PrivateTmp=yes", "PrivatTmp=yes"));
    let said = analyze(&["verify", "--man=no"]);
    assert!(String::from_utf8_lossy(&said.stderr).contains("PrivatTmp"), "{said:?}");
}

/// The program understands the options with which the files start it: asked for a health check, it says that nothing is
/// there, and not that it does not know an option.
#[test]
fn the_program_has_the_options_that_the_files_give_it() {
    let unit = text("callboard-node@.service");
    let unit = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("a command");
    let unit = unit.replace("${LISTEN}", "127.0.0.1:8080").replace("${NATS}", "nats://n1:4222");
    let unit = unit.replace("${LIVENESS}", "127.0.0.1:7400");
    let unit = unit.replace("%i", "a1").replace("%S", "/var/lib");
    let mut commands: Vec<Vec<String>> = vec![unit.split(' ').skip(1).map(str::to_owned).collect()];
    let compose = text("compose.cluster.yaml");
    let nodes = compose.lines().filter_map(|line| line.trim().strip_prefix("command: "));
    commands.extend(
        nodes.filter(|line| line.contains("--node")).map(|it| serde_json::from_str(it).unwrap()),
    );
    assert_eq!(commands.len(), 4, "{commands:?}");
    for arguments in commands {
        let run = std::process::Command::new(program::of_the_workspace("cluster-example"))
            .args(&arguments)
            .args(["--health-check", "http://127.0.0.1:1/readyz"])
            .output();
        let output = run.expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.code() == Some(1) && said.starts_with("http://127.0.0.1:1/"),
            "{said}"
        );
    }
    // The proxy's upstreams are the services.
    for node in ["a1", "b2", "c3"] {
        assert!(compose.contains(&format!("\n  {node}:\n")), "{node}");
    }
    assert!(text("Caddyfile.cluster").contains("reverse_proxy a1:8080 b2:8080 c3:8080 {"));
}

#[test]
fn clients_behind_the_proxy_go_to_another_node_when_theirs_is_drained_or_killed() {
    in_network_namespace(async || {
        let _server = Server::of("cluster-example", &[]).await;
        let folder = tempfile::tempdir().expect("a folder");
        let site =
            replaced(&text("Caddyfile.cluster"), "call.example {", "http://127.0.0.1:9000 {");
        let nodes = "127.0.0.1:8101 127.0.0.1:8102 127.0.0.1:8103";
        let site = replaced(&site, "a1:8080 b2:8080 c3:8080", nodes);
        let file = folder.path().join("Caddyfile");
        fs::write(&file, format!("{{\n\tadmin off\n}}\n{site}")).expect("there is room");
        let _caddy: Child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program::of_the_machine("caddy", "caddy"))
            .args(["run", "--adapter", "caddyfile", "--config"])
            .arg(file)
            .env("HOME", folder.path())
            .env_remove("XDG_DATA_HOME")
            .env_remove("XDG_CONFIG_HOME")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        got("127.0.0.1:9000", "/demo").await;
        // All of a room are at one node, also those with another query.
        let (mut clients, mut nodes) = (Vec::new(), Vec::new());
        for number in 0..8 {
            let url = format!("ws://127.0.0.1:9000/socket/demo?name=Ann%20{number}");
            // A node that has just begun says when to come back.
            let client = until("a place in the room", PATIENCE, async || {
                match Client::connect(&url, ClientOptions::new()).await {
                    Ok(client) => Moment::Now(client),
                    Err(error) => Moment::NotYet(error.to_string()),
                }
            });
            let mut client = client.await;
            nodes.push(place(&mut client).await);
            clients.push(client);
        }
        let node = nodes[0].clone();
        assert!(nodes.iter().all(|other| *other == node), "{nodes:?}");
        for client in clients.drain(2..) {
            client.close().await;
        }

        // The proxy sends them elsewhere, and they keep their sessions.
        let handle = clients[0].handle();
        _ = handle.call("cluster", "fault", json!([node, "drain"])).await;
        let drained = node;
        let mut nodes = Vec::new();
        for client in &mut clients {
            nodes.push(loop {
                match timeout(PATIENCE, client.next_event()).await.expect("in time") {
                    Some(ClientEvent::Message(message)) if message.event == "place" => {
                        let here = message.data["here"].as_str().expect("a name");
                        if here != drained {
                            break here.to_owned();
                        }
                    }
                    Some(ClientEvent::Rejoined { .. }) => panic!("a session is lost"),
                    Some(_) => {}
                    None => panic!("it is closed"),
                }
            });
        }
        let node = nodes.remove(0);
        assert_eq!(nodes, [&*node]);

        // The order is the node's last.
        let handle = clients[0].handle();
        _ = handle.call("cluster", "fault", json!([node, "kill"])).await;
        for client in &mut clients {
            loop {
                match timeout(PATIENCE, client.next_event()).await.expect("in time") {
                    Some(ClientEvent::Rejoined { .. }) => break,
                    Some(_) => {}
                    None => panic!("it is closed"),
                }
            }
            place(client).await;
        }
        until("both in one room", PATIENCE, async || {
            let others: Vec<_> = clients.iter().map(|client| client.peers().len()).collect();
            if others == [1, 1] { Moment::Now(()) } else { Moment::NotYet(format!("{others:?}")) }
        })
        .await;
    });
}

/// Returns the node that the client is told that it is at.
async fn place(client: &mut Client) -> String {
    loop {
        match timeout(PATIENCE, client.next_event()).await.expect("in time") {
            Some(ClientEvent::Message(message)) if message.event == "place" => {
                return message.data["here"].as_str().expect("a name").to_owned();
            }
            Some(_) => {}
            None => panic!("it is closed"),
        }
    }
}
