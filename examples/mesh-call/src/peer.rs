//! Peer of the call: admits clients with a user's name and password in a cookie.

use std::sync::Arc;

use actix_web::HttpRequest;
use callboard_room_supervisor::AuthData;
use callboard_signaling::{InitContext, JoinRequest, Peer, PeerInit, Rejection};

use crate::config::Config;
use crate::credentials::credentials_of;

/// Session of a browser in the call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller;

impl Peer for Caller {
    type Options = Arc<Config>;

    fn parse_request(request: &HttpRequest) -> Result<JoinRequest, Rejection> {
        let credentials = credentials_of(request.headers())?;
        let room = request.match_info().query("room").to_owned();
        Ok(JoinRequest { credentials, room, ..JoinRequest::default() })
    }

    async fn on_init(
        _: &InitContext,
        auth: &AuthData,
        config: &Arc<Config>,
    ) -> Result<PeerInit<Self>, Rejection> {
        if config.admits(&auth.credentials) {
            Ok(Caller.into())
        } else {
            Err("wrong_credentials".into())
        }
    }
}
