//! Authorization of the operator, who may see the tree and inject faults.

use std::net::SocketAddr;
use std::sync::Arc;

use subtle::ConstantTimeEq;

/// Clients that count as the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    /// Every client on this machine.
    Local,
    /// Every client with this token.
    Token(Arc<str>),
    /// No client: strangers can reach this server, and no token was chosen.
    Nobody,
}

impl Operator {
    /// Returns the operator of a server that listens on this address.
    pub(crate) fn new(listen: SocketAddr, token: Option<&str>) -> Self {
        match token {
            Some(token) => Self::Token(token.into()),
            None if listen.ip().to_canonical().is_loopback() => Self::Local,
            None => Self::Nobody,
        }
    }

    /// Returns whether a client with this token, or with none, is the operator. It must be able to reach the server.
    pub(crate) fn is(&self, shown: Option<&str>) -> bool {
        match self {
            Self::Local => true,
            Self::Token(token) => {
                shown.is_some_and(|shown| shown.as_bytes().ct_eq(token.as_bytes()).into())
            }
            Self::Nobody => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn away_from_loopback_there_is_no_operator_without_a_token() {
        let operator = |listen: &str, token| Operator::new(listen.parse().unwrap(), token);

        assert_eq!(operator("127.0.0.1:80", None), Operator::Local);
        assert_eq!(operator("[::1]:80", None), Operator::Local);
        for elsewhere in ["0.0.0.0:80", "[::]:80", "192.0.2.1:80"] {
            assert_eq!(operator(elsewhere, None), Operator::Nobody);
            assert!(!operator(elsewhere, None).is(Some("")));
        }
        let known = operator("0.0.0.0:80", Some("a secret"));
        assert!(known.is(Some("a secret")));
        assert!(!known.is(Some("another")) && !known.is(None));
        assert!(!operator("127.0.0.1:80", Some("a secret")).is(None));
    }
}
