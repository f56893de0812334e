//! What the host of a call may do: remove others, and record.

use callboard_client::{Client, ClientOptions};
use integration_tests::recording::decoded;
use integration_tests::{CallPage, Kind, PATIENCE, Server, in_network_namespace, program};
use serde_json::json;

use crate::{find, give_up, holds, path_of, sees};

#[test]
fn a_host_records_a_call_and_removes_a_member_and_others_may_not() {
    in_network_namespace(async || {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().to_str().expect("UTF-8");
        let arguments = ["--listen", "127.0.0.1:0", "--record-on-demand", path];
        let server = Server::of("media-room", &arguments).await;
        let ann = CallPage::open("Ann", Kind::Chromium, &server, "demo?name=Ann").await;
        ann.browser().shows("You are in.").await;
        let bob = CallPage::open("Bob", Kind::Firefox, &server, "demo?name=Bob").await;
        sees(&ann, 1).await;
        sees(&bob, 1).await;
        let stands = "const { isHost, isRecorded } = window.callState;
             const shown = (id) => !document.getElementById(id).hidden;
             const removes = [...document.querySelectorAll('.remove')].some(({ hidden }) => !hidden);
             const whose = document.querySelectorAll('.tile figcaption span:first-child');
             const names = [...whose].map(({ textContent }) => textContent);
             return isHost === arguments[0] && shown('record') === arguments[0] && removes === arguments[0]
                 && isRecorded === arguments[1] && shown('recorded') === arguments[1]
                 // All are told who is host, in the tile of that one alone.
                 && names.filter((name) => name.endsWith(', host')).length === 1
                 && (isHost ? names.includes('You, host') : names.some((name) => name.startsWith(arguments[2])))";
        let stand = async |is_recorded: bool| {
            let is = |is_host: bool| vec![json!(is_host), json!(is_recorded), json!("Ann (")];
            holds(ann.browser(), stands, is(true)).await;
            holds(bob.browser(), stands, is(false)).await;
        };
        stand(false).await;

        ann.browser().click("#record").await;
        stand(true).await;
        // Those who come later are told.
        let eve = CallPage::open("Eve", Kind::Chromium, &server, "demo?name=Eve").await;
        eve.browser().shows("This call is recorded.").await;
        eve.close().await;
        sees(&ann, 1).await;
        sees(&ann, 1).await;
        ann.browser().click("#record").await;
        stand(false).await;
        // When that is said, the files are complete.
        let mut both = 0;
        for file in std::fs::read_dir(folder.path()).expect("the recordings") {
            let file = file.unwrap().path();
            let name = file.file_name().and_then(|name| name.to_str()).expect("UTF-8");
            let is_named = ["Ann-", "Bob-", "Eve-"].into_iter().any(|it| name.starts_with(it));
            assert!(is_named, "{name}");
            let recording = decoded(&file).await;
            let streams = recording["streams"].as_array().expect("streams").len();
            both += usize::from(streams == 2);
        }
        assert!(both >= 2, "sound and picture of each: {both}");

        // The page asks for nothing that is not the host's; the server refuses others who do.
        let url = format!("ws://{}/socket/demo", server.listen());
        let stranger = Client::connect(&url, ClientOptions::new()).await.expect("a place");
        let peer = bob.browser().evaluate("return window.callState.peerId", vec![]).await;
        for (function, argument) in [("remove", peer), ("record", json!(true))] {
            let answer = stranger.call("call", function, vec![argument]).await;
            let error = answer.expect_err("only the host may").to_string();
            assert!(error.contains("not_the_host"), "{error}");
        }
        drop(stranger);
        sees(&ann, 1).await;

        ann.browser().click(".tile:not(.own) .remove").await;
        bob.browser().shows("The call is over: removed by the host.").await;
        ann.browser().shows("You are in. Nobody else is here yet.").await;

        // The next host is the one that has been there for the longest time.
        let joe = CallPage::open("Joe", Kind::Chromium, &server, "demo?name=Joe").await;
        sees(&joe, 1).await;
        bob.browser().click("#retry").await;
        sees(&bob, 2).await;
        ann.close().await;
        let is = |is_host: bool| vec![json!(is_host), json!(false), json!("Joe (")];
        holds(joe.browser(), stands, is(true)).await;
        holds(bob.browser(), stands, is(false)).await;
        for page in [bob, joe] {
            page.close().await;
        }
    });
}

#[test]
fn a_recorder_that_is_given_up_is_told_and_another_can_begin() {
    in_network_namespace(async || {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().to_str().expect("UTF-8");
        let arguments = ["--listen", "127.0.0.1:0", "--record-on-demand", path];
        let server = Server::of("media-room", &arguments).await;
        let ann = CallPage::open("Ann", Kind::Chromium, &server, "demo?name=Ann").await;
        let bob = CallPage::open("Bob", Kind::Firefox, &server, "demo?name=Bob").await;
        let is_recorded = "return window.callState.isRecorded === arguments[0]
            && document.getElementById('recorded').hidden !== arguments[0]";
        let told = async |is: bool| {
            for page in [&ann, &bob] {
                sees(page, 1).await;
                holds(page.browser(), is_recorded, vec![json!(is)]).await;
            }
        };
        told(false).await;
        for _ in 0..2 {
            ann.browser().click("#record").await;
            told(true).await;

            give_up(&server, |tree| path_of(find(tree, "tap:recorder")?, "tap")).await;

            told(false).await;
        }
        for page in [ann, bob] {
            page.close().await;
        }
    });
}

#[test]
fn a_folder_that_takes_no_recordings_is_told_at_the_start() {
    in_network_namespace(async || {
        let program = program::of_the_workspace("media-room");
        for option in ["--record", "--record-on-demand"] {
            let arguments = ["--listen", "127.0.0.1:0", option, "/dev/null/calls"];
            let run =
                tokio::process::Command::new(&program).args(arguments).kill_on_drop(true).output();
            let ended = tokio::time::timeout(PATIENCE, run).await;
            let output = ended.expect("it ends").expect("it starts");

            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.contains("Error: cannot record into /dev/null/calls: "), "{said}");
            assert_eq!((output.status.code(), output.stdout), (Some(1), Vec::new()));
        }
    });
}
