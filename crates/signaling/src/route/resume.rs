//! Session resumption: requests of clients that come back to their peers.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};
use callboard_room_supervisor::{CloseFrame, PeerId};

use super::{Door, Refusal, open, screen, too_many};
use crate::attachment::{Attachment, ResumeError, Terms};
use crate::cable::{Cable, Descriptor};
use crate::counters::Count;
use crate::options::Policy;
use crate::peer::Peer;
use crate::tokens::Digest;

/// Returns the resume token in the request's query, if there is one and resumption is enabled. Tokens hold no character
/// that is escaped in a query.
pub(super) fn token<'a>(policy: &Policy, request: &'a HttpRequest) -> Option<&'a str> {
    let query = request.query_string().split('&');
    query.filter(|_| !policy.resume_grace.is_zero()).find_map(|pair| pair.strip_prefix("resume="))
}

/// Lets a client come back to its peer, without authenticating it again: the token proves that it is the same client.
pub(super) fn try_resume<P: Peer>(
    door: &Door<P>,
    request: &HttpRequest,
    payload: Payload,
    (address, token): (IpAddr, &str),
    may_guess: impl Fn() -> Result<(), Refusal>,
) -> Result<HttpResponse, Refusal> {
    let Door { policy, connections, tokens, counters, .. } = door;
    screen(policy, request)?;
    may_guess()?;
    let cannot_resume =
        || Refusal::new(StatusCode::GONE, "cannot_resume").counted(Count::CannotResume);
    let token = Digest::of(token);
    if let Some(close) = tokens.closed(token) {
        return tell_closed(door, request, payload, address, close);
    }
    let attachment = tokens.find(token).ok_or_else(cannot_resume)?;
    let opened = open(door, request, payload, attachment.peer_id(), attachment.max_message())?;
    let cable = Cable::new(request.conn_data::<Descriptor>());
    let (in_all, from_there) = (policy.max_connections, policy.max_connections_per_address);
    let (number, admission) = attachment
        .resume(token, opened.plug(&cable), |old| {
            connections.readmit(old, address, in_all, from_there)
        })
        .map_err(|error| match error {
            ResumeError::CannotResume => cannot_resume(),
            ResumeError::TooMany(many) => too_many(many),
        })?;
    counters.add(Count::Opened);
    Ok(opened.resumed().respond((attachment, number), cable, admission, Arc::clone(counters)))
}

/// Opens a WebSocket only to tell the client that it was closed for good: a browser shows its page nothing of a
/// refusal.
fn tell_closed<P: Peer>(
    door: &Door<P>,
    request: &HttpRequest,
    payload: Payload,
    address: IpAddr,
    close: CloseFrame,
) -> Result<HttpResponse, Refusal> {
    let Door { policy, tokens, counters, .. } = door;
    let admission = door.admit(address)?;
    let (peer_id, max_message) = (PeerId::random(), policy.max_message);
    let opened = open(door, request, payload, peer_id, max_message)?;
    let cable = Cable::new(request.conn_data::<Descriptor>());
    let terms = Terms { resume_grace: Duration::ZERO, ..door.terms(peer_id, address, max_message) };
    let (attachment, number) =
        Attachment::new(terms, opened.plug(&cable), Arc::clone(tokens), Arc::clone(counters));
    attachment.outbox.close(close);
    counters.add(Count::CannotResume);
    counters.add(Count::Opened);
    Ok(opened.respond((attachment, number), cable, admission, Arc::clone(counters)))
}
