//! Default handshake of a connection, for which the application gives no other.

use callboard_ice_handshake::handshake::{
    Certificate, ComponentInfo, Dtls, Handshake, HandshakeFactory, Role, SrtpProfile,
};

use crate::api::ApiSettings;

/// DTLS with the roles, versions and profiles of an [`ApiSettings`].
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
            // The server chooses, and browsers choose AES-CM whenever it is offered.
            (None, Some(Role::Client)) => &[SrtpProfile::Aes128Gcm, SrtpProfile::Aes256Gcm],
            (None, _) => &SrtpProfile::ALL,
        };
        self.dtls.clone().srtp_profiles(profiles).new_handshake(component)
    }
}

/// Returns a connection's DTLS, for handshakes that wrap it.
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
