//! The example whose handshake is swapped by one line.

use integration_tests::{on_a_stage_of_its_own, program};
use tokio::process::Command;

#[test]
fn two_components_talk_over_every_handshake_of_the_example() {
    on_a_stage_of_its_own(async || {
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
