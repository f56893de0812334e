//! The handshake of a connection that is not given one of the application's.

use callboard_ice_handshake::handshake::{
    Certificate, ComponentInfo, Dtls, Handshake, HandshakeFactory, Role, SrtpProfile,
};

use crate::api::ApiSettings;

/// DTLS as an [`ApiSettings`] says.
pub(crate) struct DefaultHandshake {
    dtls: Dtls,
    profiles: Option<Vec<SrtpProfile>>,
}

impl DefaultHandshake {
    pub(crate) fn new(certificate: Certificate, settings: &ApiSettings) -> Self {
        Self { dtls: dtls(certificate, settings), profiles: settings.srtp_profiles.clone() }
    }
}

impl HandshakeFactory for DefaultHandshake {
    fn new_handshake(&self, component: &ComponentInfo) -> Box<dyn Handshake> {
        let profiles = match (&self.profiles, component.role) {
            (Some(profiles), _) => profiles.as_slice(),
            // The server chooses, and browsers choose AES-CM as long as it is offered.
            (None, Some(Role::Client)) => &[SrtpProfile::Aes128Gcm, SrtpProfile::Aes256Gcm],
            (None, _) => &SrtpProfile::ALL,
        };
        self.dtls.clone().srtp_profiles(profiles).new_handshake(component)
    }
}

/// A connection's DTLS, for those who wrap it.
pub(crate) fn dtls(certificate: Certificate, settings: &ApiSettings) -> Dtls {
    let mut dtls = Dtls::new(certificate);
    if let Some(version) = settings.dtls_version {
        dtls = dtls.version(version);
    }
    match &settings.srtp_profiles {
        Some(profiles) => dtls.srtp_profiles(profiles),
        None => dtls,
    }
}
