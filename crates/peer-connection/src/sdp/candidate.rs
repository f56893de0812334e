//! Line of an ICE candidate (RFC 8839 §5.1), parsed as far as is needed to use it.

use serde::Serialize;

/// Type of a candidate (RFC 8445 §5.1.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[expect(clippy::exhaustive_enums, reason = "RFC 8445's")]
pub enum CandidateType {
    /// An address of the machine.
    #[serde(rename = "host")]
    Host,
    /// An address that a STUN server has seen.
    #[serde(rename = "srflx")]
    ServerReflexive,
    /// An address that the peer has seen.
    #[serde(rename = "prflx")]
    PeerReflexive,
    /// An address of a TURN server.
    #[serde(rename = "relay")]
    Relayed,
}

impl CandidateType {
    const ALL: [Self; 4] = [Self::Host, Self::ServerReflexive, Self::PeerReflexive, Self::Relayed];

    /// Returns its name in SDP and in W3C's dictionaries.
    pub fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::ServerReflexive => "srflx",
            Self::PeerReflexive => "prflx",
            Self::Relayed => "relay",
        }
    }
}

/// Fields of a candidate's line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedCandidate<'a> {
    /// Foundation; the same for candidates that are alike.
    pub foundation: &'a str,
    /// Component: 1 is RTP, 2 is RTCP.
    pub component: u16,
    /// Transport protocol, `udp` or `tcp`, as it is written.
    pub transport: &'a str,
    /// Priority; higher is better.
    pub priority: u32,
    /// An IP address, or a name (`….local`, RFC 8828's mDNS).
    pub address: &'a str,
    /// Its port.
    pub port: u16,
    /// Type of the candidate.
    pub kind: CandidateType,
    /// User fragment to which it belongs, if the line names it.
    pub ufrag: Option<&'a str>,
}

impl<'a> ParsedCandidate<'a> {
    /// Parses `candidate:…`, with or without `a=` before it. Returns none for a text of another form.
    pub fn parse(text: &'a str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_prefix("a=").unwrap_or(text);
        let mut words = text.strip_prefix("candidate:")?.split_ascii_whitespace();
        let foundation = words.next()?;
        let component = words.next()?.parse().ok()?;
        let transport = words.next()?;
        let priority = words.next()?.parse().ok()?;
        let address = words.next()?;
        let port = words.next()?.parse().ok()?;
        if words.next()? != "typ" {
            return None;
        }
        let kind = match words.next()? {
            "host" => CandidateType::Host,
            "srflx" => CandidateType::ServerReflexive,
            "prflx" => CandidateType::PeerReflexive,
            "relay" => CandidateType::Relayed,
            _ => return None,
        };
        let mut ufrag = None;
        while let (Some(name), Some(value)) = (words.next(), words.next()) {
            if name == "ufrag" {
                ufrag = Some(value);
            }
        }
        Some(Self { foundation, component, transport, priority, address, port, kind, ufrag })
    }

    /// Returns whether this would be a candidate if its type were a known one: RFC 8839 §5.1 leaves room for others.
    pub(crate) fn is_of_unknown_type(text: &str) -> bool {
        let mut words: Vec<&str> = text.split_ascii_whitespace().collect();
        match words.get_mut(7) {
            Some(kind) if !CandidateType::ALL.iter().any(|one| one.name() == *kind) => {
                *kind = CandidateType::Host.name();
                ParsedCandidate::parse(&words.join(" ")).is_some()
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_read_with_what_browsers_add() {
        let chromium = "candidate:842163049 1 udp 1677729535 203.0.113.1 46154 typ srflx raddr 0.0.0.0 rport 0 \
            generation 0 ufrag fGqd network-cost 999";
        let read = ParsedCandidate::parse(chromium).unwrap();
        assert_eq!((read.address, read.port, read.ufrag), ("203.0.113.1", 46154, Some("fGqd")));
        assert_eq!(read.kind, CandidateType::ServerReflexive);
        assert_eq!(ParsedCandidate::parse(&format!("a={chromium}\r\n")), Some(read));

        let hidden = "candidate:1 1 UDP 2122252543 f3a1.local 5 typ host";
        assert_eq!(ParsedCandidate::parse(hidden).unwrap().address, "f3a1.local");
    }

    #[test]
    fn what_is_no_candidate_is_none() {
        for text in [
            "",
            "candidate:",
            "candidate:1 1 udp",
            "candidate:1 x udp 1 1.2.3.4 5 typ host",
            "candidate:1 1 udp 1 1.2.3.4 99999 typ host",
            "candidate:1 1 udp 1 1.2.3.4 5 typ moon",
            "1 1 udp 1 1.2.3.4 5 typ host",
        ] {
            assert_eq!(ParsedCandidate::parse(text), None, "{text}");
        }
    }
}
