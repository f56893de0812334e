//! The example whose handshake is selected by one line.

use integration_tests::{
    Browser, Kind, Moment, PATIENCE, Readme, in_network_namespace, program, until,
};
use tokio::process::Command;

#[test]
fn two_components_talk_over_every_handshake_of_the_example() {
    in_network_namespace(async || {
        let example = program::of_the_workspace("custom-handshake");
        let output = Command::new(&example).output().await.expect("it starts");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        for word in ["psk", "dtls", "plain", "pinning", "chaos", "recorder"] {
            let heard = format!("{word}: \"hello from the other side\"");
            assert!(said.lines().any(|line| line.starts_with(&heard)), "{word}: {said}");
        }

        let output = Command::new(&example).arg("nonsense").output().await.expect("it starts");
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains("Say psk, dtls"));
    });
}

#[test]
fn a_browser_is_let_in_with_the_certificate_that_was_pinned_and_with_no_other() {
    in_network_namespace(async || {
        let readme = Readme::in_folder("examples/custom-handshake");
        let server = readme.serve("custom-handshake", &["browser"]).await;
        let address = readme.address("http://");
        assert_eq!(address, server.address());

        for (kind, name) in [(Kind::Chromium, "carol"), (Kind::Firefox, "frank")] {
            let browser = Browser::start(kind).await;
            let says = async |what: &str| {
                until(what, PATIENCE, async || {
                    let text = browser.text().await;
                    if text.contains(what) { Moment::Now(()) } else { Moment::NotYet(text) }
                })
                .await;
            };
            // The second time from a reloaded page.
            for _ in 0..2 {
                browser.go_to(&address).await;
                let set_name = "document.getElementById('name').value = arguments[0]";
                browser.evaluate(set_name, vec![name.into()]).await;
                browser.click("#mine").await;
                says("connected: it is the certificate that was pinned").await;
            }
            browser.click("#other").await;
            says("refused: it is another certificate").await;
            browser.click("#mine").await;
            says("connected: it is the certificate that was pinned").await;
            browser.close().await;
        }
    });
}
