//! Component for which a handshake is created.

use std::fmt;

use crate::Label;

/// Number of an ICE component (RFC 8445 §3), from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ComponentId(pub u16);

impl fmt::Display for ComponentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Component for which a handshake is created.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ComponentInfo {
    /// Number of the component.
    pub id: ComponentId,
    /// Whether this side is the controlling ICE agent (RFC 8445 §6.1.1): usually the offerer.
    pub controlling: bool,
    /// Negotiated DTLS role of this side (`a=setup`, RFC 8842); `None` where nothing negotiates it.
    pub role: Option<Role>,
    /// Prefix of log lines about its handshake. Default: none.
    pub label: Label,
}

impl ComponentInfo {
    /// Creates a component with this number, on the controlling side or not.
    pub fn new(id: ComponentId, controlling: bool) -> Self {
        Self { id, controlling, role: None, label: Label::default() }
    }

    /// Sets the negotiated role.
    pub fn with_role(mut self, role: Role) -> Self {
        self.role = Some(role);
        self
    }

    /// Sets the name in the log.
    pub fn with_label(mut self, label: Label) -> Self {
        self.label = label;
        self
    }
}

/// Side of a DTLS handshake (RFC 8842 §5.2: `active` and `passive`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "RFC 6347: two roles")]
pub enum Role {
    /// Side that sends the ClientHello: `active`.
    Client,
    /// Side that waits for the ClientHello: `passive`.
    Server,
}
