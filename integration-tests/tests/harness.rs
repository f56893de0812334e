//! Tests of the harness itself: two browsers of different makers reach each other in the network of
//! a test, without a server.

use integration_tests::{Browser, Kind, Moment, PATIENCE, in_network_namespace, network, until};
use serde_json::json;

#[test]
fn chromium_and_firefox_reach_each_other_in_the_network_of_a_test() {
    in_network_namespace(async || {
        let (chromium, firefox) =
            tokio::join!(Browser::start(Kind::Chromium), Browser::start(Kind::Firefox));

        let offer = chromium
            .evaluate(
                &format!("{CONNECTION} return describe(await connection.createOffer())"),
                vec![],
            )
            .await;
        let answer = firefox.evaluate(&format!("{CONNECTION} {ANSWER}"), vec![offer.clone()]).await;
        chromium
            .evaluate("await window.connection.setRemoteDescription(arguments[0])", vec![answer])
            .await;

        assert!(
            offer["sdp"].as_str().is_some_and(|sdp| sdp.contains(network::ADDRESS)),
            "no candidate in {offer:#}"
        );
        for (browser, words) in [(&chromium, "from chromium"), (&firefox, "from firefox")] {
            browser
                .evaluate(
                    "await window.open; window.channel.send(arguments[0])",
                    vec![json!(words)],
                )
                .await;
        }
        for (browser, words) in [(&chromium, "from firefox"), (&firefox, "from chromium")] {
            until(words, PATIENCE, async || {
                let heard = browser.evaluate("return window.heard", vec![]).await;
                if heard == json!([words]) {
                    Moment::Now(())
                } else {
                    Moment::NotYet(heard.to_string())
                }
            })
            .await;
        }
    });
}

#[test]
fn a_network_does_not_change_once_the_test_has_begun() {
    in_network_namespace(async || {
        // Addresses that are still being checked (duplicate address detection) are listed as well.
        let addresses = std::fs::read_to_string("/proc/thread-self/net/if_inet6");
        let addresses = addresses.expect("the addresses of IPv6 in this network");
        let changing: Vec<_> = addresses.lines().filter(|line| !line.ends_with(" lo")).collect();

        assert_eq!(changing, Vec::<&str>::new());
    });
}

#[test]
fn a_browser_that_closes_leaves_no_process_behind() {
    in_network_namespace(async || {
        let browser = Browser::start(Kind::Chromium).await;
        browser.go_to("data:text/html,<p>hello").await;
        assert_eq!(browser.text().await, "hello");
        assert!(!processes_in_this_network().is_empty());

        browser.close().await;

        assert_eq!(processes_in_this_network(), Vec::<String>::new());
    });
}

/// Returns the command lines of the other processes in the network of this thread.
fn processes_in_this_network() -> Vec<String> {
    let ours = std::fs::read_link("/proc/thread-self/ns/net").expect("the network of this thread");
    let processes = std::fs::read_dir("/proc").expect("the list of processes");
    processes
        .flatten()
        .filter(|process| {
            let id = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
            id.is_some_and(|id| id != std::process::id())
        })
        .filter(|process| {
            std::fs::read_link(process.path().join("ns/net")).is_ok_and(|network| network == ours)
        })
        .filter_map(|process| std::fs::read_to_string(process.path().join("cmdline")).ok())
        .map(|command| command.replace('\0', " "))
        .collect()
}

const CONNECTION: &str = "
    const connection = window.connection = new RTCPeerConnection();
    window.channel = connection.createDataChannel('words', { negotiated: true, id: 0 });
    window.open = new Promise((resolve) => { channel.onopen = resolve; });
    window.heard = [];
    channel.onmessage = ({ data }) => heard.push(data);
    const describe = async (description) => {
        const gathered = new Promise((resolve) => {
            connection.onicegatheringstatechange = () => connection.iceGatheringState === 'complete' && resolve();
        });
        await connection.setLocalDescription(description);
        await gathered;
        return connection.localDescription.toJSON();
    };";

const ANSWER: &str = "
    await connection.setRemoteDescription(arguments[0]);
    return describe(await connection.createAnswer());";
