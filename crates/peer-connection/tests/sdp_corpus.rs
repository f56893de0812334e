//! Tests with descriptions of eleven other implementations, and odd ones: read, written, changed, and answered.
//! `sdp/README.md` names their origins.

mod peers;

use std::path::PathBuf;

use callboard_peer_connection::error::{CreateAnswerError, DescriptionError, SetDescriptionError};
use callboard_peer_connection::messages::*;
use callboard_peer_connection::sdp::{ParsedCandidate, Sdp};
use callboard_peer_connection::*;
use peers::*;

fn corpus() -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/sdp");
    let mut found = Vec::new();
    for folder in [folder.clone(), folder.join("pairs")] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "sdp") {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                found.push((name, std::fs::read_to_string(path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn every_description_is_written_as_it_was_read() {
    let corpus = corpus();
    assert!(corpus.len() > 300, "{}", corpus.len());
    for (name, text) in corpus {
        let mut sdp = Sdp::parse(&text);
        assert_eq!(sdp.to_string(), text, "{name}");

        // A change and its opposite leave no trace, and touch nothing else.
        for section in sdp.media_mut() {
            section.push_attribute("x-callboard", Some("a"));
            section.set_attribute("x-callboard", "b");
        }
        let changed = sdp.to_string();
        let ours = |line: &&str| line.starts_with("a=x-callboard:b");
        assert_eq!(changed.lines().filter(ours).count(), sdp.media().len(), "{name}");
        for section in sdp.media_mut() {
            section.remove_attributes("x-callboard");
        }
        let complete = text.is_empty() || text.ends_with('\n');
        if complete {
            assert_eq!(sdp.to_string(), text, "{name}");
        }
    }
}

#[test]
fn every_recorded_candidate_is_understood() {
    let mut count = 0;
    for (name, text) in corpus() {
        if name.starts_with("hand-") {
            continue;
        }
        let sdp = Sdp::parse(&text);
        for section in sdp.media() {
            for candidate in section.attributes("candidate") {
                let candidate = format!("candidate:{candidate}");
                assert!(ParsedCandidate::parse(&candidate).is_some(), "{name}: {candidate}");
                count += 1;
            }
        }
    }
    println!("{count} candidates");
    assert!(count > 100);
}

/// Result of an offer in a live connection.
#[derive(Debug)]
enum Outcome {
    Answered(Sdp),
    Refused(DescriptionError),
    Unusable(String),
}

async fn answer(pool: &PeerConnections, api: &Api, text: &str) -> Outcome {
    let peer = Peer::open(pool, api).await;
    let outcome = match peer.send(SetRemoteDescription(SessionDescription::offer(text))).await {
        Err(SetDescriptionError::Description(error)) => Outcome::Refused(error),
        Err(error) => Outcome::Unusable(error.to_string()),
        Ok(()) => match peer.send(CreateAnswer::default()).await {
            Err(CreateAnswerError::Engine(error)) => Outcome::Unusable(error),
            Err(error) => Outcome::Unusable(error.to_string()),
            Ok(answer) => match peer.send(SetLocalDescription(Some(answer.clone()))).await {
                Err(error) => Outcome::Unusable(error.to_string()),
                Ok(()) => Outcome::Answered(Sdp::parse(&answer.sdp)),
            },
        },
    };
    peer.connection.close().await;
    outcome
}

/// Every usable offer is answered, section by section; every other is refused with a named error.
#[actix::test]
async fn every_recorded_offer_is_answered_or_refused_by_name() {
    let pool = pool().await;
    let api = Api::default();
    let (mut answered, mut refused, mut wrong) = (0, 0, Vec::new());
    for (name, text) in corpus() {
        if !name.contains("offer") || name.contains("answer") || name.starts_with("hand-") {
            continue;
        }
        let offer = Sdp::parse(&text);
        match answer(&pool, &api, &text).await {
            Outcome::Answered(answer) => {
                answered += 1;
                let mids = |sdp: &Sdp| -> Vec<Option<String>> {
                    sdp.media().iter().map(|section| section.mid().map(str::to_owned)).collect()
                };
                let kinds = |sdp: &Sdp| -> Vec<_> {
                    sdp.media().iter().map(|section| section.kind()).collect()
                };
                if mids(&offer) != mids(&answer) || kinds(&offer) != kinds(&answer) {
                    wrong.push(format!("{name}: other sections in the answer"));
                }
                // Sections that are offered and known are accepted.
                let taken =
                    answer.media().iter().filter(|section| section.port() != Some(0)).count();
                let usable = offer.media().iter().filter(|section| {
                    (section.is_rtp() || section.is_data()) && section.port() != Some(0)
                });
                if taken == 0 && usable.count() > 0 && !EXPECTED_NOTHING.contains(&name.as_str()) {
                    wrong.push(format!("{name}: nothing was taken"));
                }
            }
            Outcome::Refused(error) => {
                refused += 1;
                println!("refused: {name}: {error}");
                if !expected_refusal(&name, &error) {
                    wrong.push(format!("{name}: {error}"));
                }
            }
            Outcome::Unusable(error) => wrong.push(format!("{name}: {error}")),
        }
    }
    println!("{answered} answered, {refused} refused");
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(answered > 100, "{answered}");
    pool.stop().await;
}

/// Odd offers, written by hand: each has a named result, and does not disturb the next one.
#[actix::test]
async fn odd_offers_disturb_no_other_connection() {
    let pool = pool().await;
    let api = Api::default();
    for (name, text) in corpus() {
        if name.starts_with("hand-") {
            match answer(&pool, &api, &text).await {
                Outcome::Answered(answer) => {
                    println!("{name}: answered, {} sections", answer.media().len())
                }
                Outcome::Refused(error) => println!("{name}: {error}"),
                Outcome::Unusable(error) => panic!("{name}: {error}"),
            }
        }
    }
    pool.stop().await;
}

/// Offers without a section that can be accepted here.
const EXPECTED_NOTHING: [&str; 0] = [];

/// Returns whether an offer of this name may be refused with this error.
fn expected_refusal(_: &str, error: &DescriptionError) -> bool {
    matches!(error, DescriptionError::NoBundle)
}
