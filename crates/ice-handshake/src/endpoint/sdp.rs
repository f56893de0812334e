//! Parsing and writing of candidates and credentials in SDP.

use callboard_transport::gather::check_remote;
use is::Candidate;
use str0m::net::Protocol;

use super::{Credentials, ParseRemoteSdpError, SetRemoteCandidateError};
use crate::handshake::ComponentId;

/// Parses a peer's candidate for this component into the form that an ICE agent takes: each agent has one component and
/// numbers it 1.
pub(super) fn parse_candidate(
    component: ComponentId,
    text: &str,
) -> Result<Candidate, SetRemoteCandidateError> {
    let malformed = |why: &str| SetRemoteCandidateError::Malformed(why.to_owned());
    let text = text.trim();
    let text = text.strip_prefix("a=").unwrap_or(text);
    if text.len() > LONGEST {
        return Err(malformed("longer than 1,000 characters"));
    }
    let mut words: Vec<&str> = text.split_ascii_whitespace().collect();
    if words.len() < 8 || !words[0].starts_with("candidate:") {
        return Err(malformed("it has too few words"));
    }
    if words[1].parse() != Ok(component.0) {
        return Err(SetRemoteCandidateError::OtherComponent);
    }
    if !words[2].eq_ignore_ascii_case("udp") {
        return Err(SetRemoteCandidateError::NotUdp);
    }
    if words[4].to_ascii_lowercase().ends_with(".local") {
        return Err(SetRemoteCandidateError::Mdns);
    }
    words[1] = "1";
    let candidate = Candidate::from_sdp_string(&words.join(" "))
        .map_err(|error| malformed(&error.to_string()))?;
    if candidate.proto() != Protocol::Udp {
        return Err(SetRemoteCandidateError::NotUdp);
    }
    check_remote(candidate.addr()).map_err(SetRemoteCandidateError::Remote)?;
    Ok(candidate)
}

/// Returns the text of a candidate of this side for this component.
pub(super) fn write_candidate(component: ComponentId, candidate: &Candidate) -> String {
    let text = candidate.to_sdp_string();
    match text
        .split_once(' ')
        .and_then(|(foundation, rest)| Some((foundation, rest.split_once(' ')?.1)))
    {
        Some((foundation, rest)) => format!("{foundation} {component} {rest}"),
        None => text,
    }
}

/// Returns the ICE lines of an SDP: the credentials, and each candidate with its component.
pub(super) fn parse_sdp(
    text: &str,
) -> Result<(Credentials, Vec<(ComponentId, String)>), ParseRemoteSdpError> {
    if text.len() > LONGEST_SDP {
        return Err(ParseRemoteSdpError::TooLong);
    }
    let value = |line: &str, name: &str| {
        let rest = line.strip_prefix("a=").unwrap_or(line).strip_prefix(name)?;
        Some(rest.trim().to_owned())
    };
    let lines = || text.split(['\r', '\n']);
    let (Some(ufrag), Some(password)) = (
        lines().find_map(|line| value(line, "ice-ufrag:")),
        lines().find_map(|line| value(line, "ice-pwd:")),
    ) else {
        return Err(ParseRemoteSdpError::NoCredentials);
    };
    let candidates = lines().filter_map(|line| {
        let rest = value(line, "candidate:")?;
        let component = rest.split_ascii_whitespace().nth(1)?.parse().ok()?;
        Some((ComponentId(component), format!("candidate:{rest}")))
    });
    Ok((Credentials::new(ufrag, password)?, candidates.take(MOST_CANDIDATES).collect()))
}

const LONGEST: usize = 1_000;
const LONGEST_SDP: usize = 1 << 20;
/// Most candidates read from one SDP: more than any endpoint accepts.
const MOST_CANDIDATES: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use callboard_transport::gather::CheckRemoteError;

    #[test]
    fn a_candidate_keeps_its_component_and_an_agent_calls_it_one() {
        let text = "candidate:1 2 udp 2113929471 203.0.113.100 10100 typ host";
        let candidate = parse_candidate(ComponentId(2), text).unwrap();
        assert_eq!(candidate.addr(), "203.0.113.100:10100".parse().unwrap());
        assert!(
            write_candidate(ComponentId(2), &candidate)
                .starts_with("candidate:1 2 udp 2113929471 203.0.113.100")
        );
        assert_eq!(
            parse_candidate(ComponentId(1), text).unwrap_err(),
            SetRemoteCandidateError::OtherComponent
        );
    }

    #[test]
    fn t8_candidates_that_lead_nowhere_are_refused_with_the_reason() {
        use SetRemoteCandidateError::*;
        let refused = |address: &str, port: &str| {
            let text = format!("a=candidate:1 1 UDP 1 {address} {port} typ host generation 0");
            parse_candidate(ComponentId(1), &text).map(|candidate| candidate.addr())
        };
        assert!(refused("192.0.2.1", "9").is_ok());
        assert_eq!(refused("192.0.2.1", "0"), Err(Remote(CheckRemoteError::NoPort)));
        assert_eq!(refused("169.254.169.254", "80"), Err(Remote(CheckRemoteError::LinkLocal)));
        assert_eq!(refused("0.0.0.0", "80"), Err(Remote(CheckRemoteError::Unspecified)));
        assert_eq!(refused("::", "80"), Err(Remote(CheckRemoteError::Unspecified)));
        assert_eq!(refused("3f9c.local", "80"), Err(Mdns));
        assert!(matches!(refused("example.org", "80"), Err(Malformed(_))));
        assert!(matches!(refused("192.0.2.1", "65536"), Err(Malformed(_))));
        let tcp = "candidate:1 1 tcp 1 192.0.2.1 9 typ host tcptype active";
        assert_eq!(parse_candidate(ComponentId(1), tcp).unwrap_err(), NotUdp);
        for text in [
            "",
            "candidate:",
            "nonsense",
            "candidate:1 1 udp 1 192.0.2.1 9 typ",
            &"x ".repeat(1_000),
        ] {
            assert!(matches!(parse_candidate(ComponentId(1), text), Err(Malformed(_))), "{text}");
        }
    }

    #[test]
    fn an_sdp_gives_credentials_and_candidates() {
        let sdp = "v=0\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n\
            a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\na=candidate:1 2 udp 1 192.0.2.1 10 typ host\nm=x";
        let (credentials, candidates) = parse_sdp(sdp).unwrap();
        assert_eq!((credentials.ufrag.as_str(), candidates.len()), ("abcd", 2));
        assert_eq!(candidates[1].0, ComponentId(2));
        assert_eq!(parse_sdp("v=0"), Err(ParseRemoteSdpError::NoCredentials));
        assert!(matches!(
            parse_sdp("a=ice-ufrag:a\na=ice-pwd:b"),
            Err(ParseRemoteSdpError::Credentials(_))
        ));
        assert_eq!(parse_sdp(&"a".repeat((1 << 20) + 1)), Err(ParseRemoteSdpError::TooLong));
    }
}
