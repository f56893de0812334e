//! Subjects of a measurement: our own servers, and those of other projects.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::str::FromStr;

use clap::ValueEnum;
use thiserror::Error;

use crate::protocol::{Endpoint, Protocol};
use crate::scenarios::Scenario;
use crate::servers::{Process, Server};

/// Server that is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Ours(Server),
    /// The server, with an estimate of each subscriber's bandwidth.
    Estimating(Server),
    Other(Other),
}

/// Server of another project, which runs already and goes on running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Other {
    name: String,
    endpoint: Endpoint,
    /// Ids of its processes; their descendants are counted too.
    pids: Vec<u32>,
}

/// Error in a server's description.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum ParseOtherError {
    #[error("this is not NAME=PROTOCOL@ADDRESS#PID")]
    Shape,
    #[error("{0:?} is not a name of letters, digits, '-', '.' and '_'")]
    Name(String),
    #[error("there is no protocol {0:?}: {1}")]
    Protocol(String, String),
    #[error("{0:?} is not an address and a port")]
    Address(String),
    #[error("{0:?} is not the id of a process")]
    Pid(String),
}

/// Reason why servers cannot be measured.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Refusal {
    #[error("{scenario}: {name}, which speaks {protocol}, does not support it")]
    Protocol { scenario: String, name: String, protocol: Protocol },
    #[error("{0} is the name of two servers")]
    Name(String),
    #[error("{0}: a server that goes on running takes its memory once only; ask for --rounds 1")]
    Rounds(String),
}

impl Other {
    pub(crate) fn protocol(&self) -> Protocol {
        self.endpoint.protocol
    }
}

impl Subject {
    /// Returns all subjects, ours first, or why they cannot be measured in so many rounds of this scenario.
    pub(crate) fn all(
        ours: &[Server],
        others: &[Other],
        scenario: &Scenario,
        rounds: u32,
    ) -> Result<Vec<Self>, Refusal> {
        let mut all: Vec<Self> = ours.iter().copied().map(Self::Ours).collect();
        if scenario.estimates() {
            let estimating = ours.iter().copied().filter(|server| server.can_estimate());
            all.extend(estimating.map(Self::Estimating));
        }
        for other in others {
            let Other { name, endpoint: Endpoint { protocol, .. }, .. } = other;
            if !protocol.serves(scenario) {
                let (scenario, name) = (scenario.to_string(), name.clone());
                return Err(Refusal::Protocol { scenario, name, protocol: *protocol });
            }
            if rounds > 1 && scenario.is_about_memory() {
                return Err(Refusal::Rounds(scenario.to_string()));
            }
            // The names of our servers are taken, too.
            let taken = Server::from_str(name, true).is_ok();
            if taken || all.iter().any(|one| one.to_string() == *name) {
                return Err(Refusal::Name(name.clone()));
            }
            all.push(Self::Other(other.clone()));
        }
        Ok(all)
    }

    pub(crate) async fn start(&self) -> io::Result<Process> {
        match self {
            Self::Ours(server) => Process::start(*server, false).await,
            Self::Estimating(server) => Process::start(*server, true).await,
            Self::Other(Other { endpoint, pids, .. }) => Process::attach(*endpoint, pids),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours(server) => server.fmt(f),
            Self::Estimating(server) => write!(f, "{server}+estimate"),
            Self::Other(other) => f.write_str(&other.name),
        }
    }
}

impl FromStr for Other {
    type Err = ParseOtherError;

    fn from_str(text: &str) -> Result<Self, ParseOtherError> {
        let (name, rest) = text.split_once('=').ok_or(ParseOtherError::Shape)?;
        let (protocol, rest) = rest.split_once('@').ok_or(ParseOtherError::Shape)?;
        let (address, pids) = rest.split_once('#').ok_or(ParseOtherError::Shape)?;
        let usual = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if name.is_empty() || !name.chars().all(usual) {
            return Err(ParseOtherError::Name(name.to_owned()));
        }
        let protocol = Protocol::from_str(protocol, false)
            .map_err(|_| ParseOtherError::Protocol(protocol.to_owned(), protocols()))?;
        let address: SocketAddr =
            address.parse().map_err(|_| ParseOtherError::Address(address.to_owned()))?;
        let pids = pids.split(',').map(|pid| match pid.parse() {
            Ok(pid @ 1..) => Ok(pid),
            _ => Err(ParseOtherError::Pid(pid.to_owned())),
        });
        let pids = pids.collect::<Result<_, _>>()?;
        Ok(Self { name: name.to_owned(), endpoint: Endpoint { protocol, address }, pids })
    }
}

fn protocols() -> String {
    let all = Protocol::value_variants().iter().filter_map(ValueEnum::to_possible_value);
    let names: Vec<String> = all.map(|one| one.get_name().to_owned()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_of_another_maker_is_described_in_one_word() {
        let other: Other = "theirs=offers@127.0.0.1:9000#12,34".parse().unwrap();

        assert_eq!(other.name, "theirs");
        assert_eq!(other.endpoint.protocol, Protocol::Offers);
        assert_eq!(other.endpoint.address, "127.0.0.1:9000".parse().unwrap());
        assert_eq!(other.pids, [12, 34]);
    }

    #[test]
    fn what_is_wrong_with_a_description_is_said() {
        let error = |text: &str| text.parse::<Other>().unwrap_err();

        assert_eq!(error("theirs=offers@127.0.0.1:9000"), ParseOtherError::Shape);
        assert_eq!(error("a b=offers@127.0.0.1:9000#1"), ParseOtherError::Name("a b".to_owned()));
        assert!(
            matches!(error("a=smtp@127.0.0.1:9000#1"), ParseOtherError::Protocol(name, _) if name == "smtp")
        );
        // This protocol is for our own server only.
        assert!(matches!(error("a=udp@127.0.0.1:9000#1"), ParseOtherError::Protocol(..)));
        assert_eq!(error("a=offers@localhost#1"), ParseOtherError::Address("localhost".to_owned()));
        assert_eq!(error("a=offers@127.0.0.1:9000#1,0"), ParseOtherError::Pid("0".to_owned()));
    }

    #[test]
    fn a_name_is_one_servers() {
        let data = Scenario::Connect { peers: 2, at_once: 1 };
        let others =
            ["a=offers@127.0.0.1:1#1", "a=offers@127.0.0.1:2#1", "str0m=offers@127.0.0.1:3#1"];
        let [a, again, ours] = others.map(|text| text.parse::<Other>().unwrap());
        let all = |others: &[Other]| Subject::all(&[Server::Callboard], others, &data, 3);

        assert_eq!(all(std::slice::from_ref(&a)).unwrap().len(), 2);
        assert_eq!(all(&[a, again]), Err(Refusal::Name("a".to_owned())));
        assert_eq!(all(&[ours]), Err(Refusal::Name("str0m".to_owned())));
    }

    #[test]
    fn what_a_protocol_has_no_words_for_is_refused() {
        let other: Other = "a=offers@127.0.0.1:1#1".parse().unwrap();
        let relay = Scenario::Relay { pairs: 1, seconds: 1 };
        let rest = Scenario::Rest { peers: 2 };
        let all =
            |scenario, rounds| Subject::all(&[], std::slice::from_ref(&other), scenario, rounds);

        assert!(matches!(all(&relay, 1), Err(Refusal::Protocol { .. })));
        assert!(matches!(all(&rest, 3), Err(Refusal::Rounds(_))));
        assert!(all(&rest, 1).is_ok());
    }
}
