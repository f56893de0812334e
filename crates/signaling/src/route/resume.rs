//! Session resumption: requests of clients that come back to their peers.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};
use callboard_room_supervisor::{CloseFrame, PeerId};
use callboard_websocket::{LinkOptions, ResumeError, TokenDigest};

use super::{Refusal, UpgradeRoute, open, screen, too_many};
use crate::counters::Count;
use crate::options::Policy;
use crate::peer::Peer;

/// Returns the resume token in the request's query, if there is one and resumption is enabled. ResumeTokens hold no
/// character that is escaped in a query.
pub(super) fn token<'a>(policy: &Policy, request: &'a HttpRequest) -> Option<&'a str> {
    let query = request.query_string().split('&');
    query.filter(|_| !policy.resume_grace.is_zero()).find_map(|pair| pair.strip_prefix("resume="))
}

/// Lets a client come back to its peer, without authenticating it again: the token proves that it is the same client.
pub(super) async fn try_resume<P: Peer>(
    route: &Arc<UpgradeRoute<P>>,
    request: &HttpRequest,
    payload: Payload,
    (address, token): (IpAddr, &str),
    may_guess: impl Fn() -> Result<(), Refusal>,
) -> Result<HttpResponse, Refusal> {
    let UpgradeRoute { policy, connections, tokens, .. } = &**route;
    screen(policy, request)?;
    may_guess()?;
    let cannot_resume =
        || Refusal::new(StatusCode::GONE, "cannot_resume").counted(Count::CannotResume);
    let (text, token) = (token, TokenDigest::of(token));
    if let Some(close) = tokens.closed(token) {
        return tell_closed(route, request, payload, address, close);
    }
    let link = match tokens.find(token) {
        Some(link) => link,
        None => {
            let (route, text) = (Arc::clone(route), text.to_owned());
            // To its end, also if the request is given up: the other node has the peer no more.
            let taking = actix::spawn(async move { route.take(&text).await });
            let taken = taking.await.unwrap_or(Ok(None))?;
            taken.ok_or_else(cannot_resume)?
        }
    };
    let opened = open(route, request, payload, link.max_frame())?;
    let (in_all, from_there) = (policy.max_connections, policy.max_connections_per_address);
    let (number, admission) = link
        .resume(token, opened.socket(), |old| connections.readmit(old, address, in_all, from_there))
        .map_err(|error| match error {
            ResumeError::TooMany(many) => too_many(many),
            _ => cannot_resume(),
        })?;
    Ok(opened.resumed().respond(link, number, admission))
}

/// Opens a WebSocket only to tell the client that it was closed for good: a browser shows its page nothing of a
/// refusal.
fn tell_closed<P: Peer>(
    route: &UpgradeRoute<P>,
    request: &HttpRequest,
    payload: Payload,
    address: IpAddr,
    close: CloseFrame,
) -> Result<HttpResponse, Refusal> {
    let admission = route.admit(address)?;
    let options = route.link_options(address, route.policy.max_message);
    let options = LinkOptions { resume_grace: Duration::ZERO, ..options };
    let opened = open(route, request, payload, options.max_frame)?;
    let (link, number) = route.link(options, PeerId::random(), &opened);
    link.outbox().close(close);
    route.counters.add(Count::CannotResume);
    Ok(opened.respond(link, number, admission))
}
