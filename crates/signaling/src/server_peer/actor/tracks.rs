//! Tracks of the client, and those that the application sends to it.

use std::convert::Infallible;

use actix::prelude::*;
use callboard_peer_connection::error::AddTrackError;
use callboard_peer_connection::messages::{
    AddTrack, GetTransceivers, RemoveTrack, RequestKeyframe,
};
use callboard_peer_connection::{
    KeyframeRequestKind, LocalTrack, PeerConnectionHandle, ReceivedSample, TransceiverId,
};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::super::tracks::{Added, AskForKeyframe, Changes, NewClientTrack, TracksChanged};
use super::super::{ClientTrack, ServerPeerEvent, Tracks};
use super::ServerPeer;

impl ServerPeer {
    pub(super) fn track_added(&mut self, new: NewClientTrack, ctx: &mut Context<Self>) {
        if self.seat.is_some() {
            return; // it is the room's
        }
        let track = ClientTrack::new(new, ctx.address().recipient());
        if let Some(before) = self.tracks.receive(track.clone()) {
            self.tell(ServerPeerEvent::TrackRemoved(before));
        }
        self.tell(ServerPeerEvent::TrackAdded(track));
    }

    pub(super) fn track_removed(&mut self, transceiver: TransceiverId) {
        if let Some(track) = self.tracks.lose(transceiver) {
            self.tell(ServerPeerEvent::TrackRemoved(track));
        }
    }

    pub(super) fn sample_received(&mut self, sample: ReceivedSample) {
        if let Some(samples) = self.tracks.push(sample) {
            self.tell(ServerPeerEvent::Samples(samples));
        }
    }

    pub(super) fn keyframe_requested(&mut self, transceiver: TransceiverId) {
        if let Some(request) = self.tracks.keyframe_requested(transceiver) {
            self.tell(ServerPeerEvent::KeyframeRequested(request));
        }
    }

    /// Tells a new controller the tracks that there are.
    pub(super) fn tell_tracks(&self) {
        for track in self.tracks.received() {
            self.tell(ServerPeerEvent::TrackAdded(track));
        }
    }

    /// Adds to the connection what is to be sent to the client, and removes what is not. Offers wait meanwhile: one is
    /// enough.
    pub(super) fn send_tracks(&mut self, ctx: &mut Context<Self>) {
        let Some(Changes { connection, add, remove }) = self.tracks.changes() else { return };
        for sender in remove {
            // One whose mailbox is full keeps a track on which nothing comes.
            _ = connection.try_send(RemoveTrack(sender));
        }
        if add.is_empty() {
            return;
        }
        let (tell, all_added) = oneshot::channel::<Infallible>();
        let (tracks, user) = (self.tracks.clone(), self.options.user_id.clone());
        // A connection that is too slow is not waited for: what it adds then is noted, and offered, when it has done
        // so.
        actix::spawn(async move {
            add_all(&connection, &tracks, add, &user).await;
            drop(tell);
        });
        let waiting = timeout(self.account.limits().answer_timeout, all_added);
        ctx.wait(waiting.into_actor(self).map(|_, _, _| ()));
    }

    fn ask_for_keyframe(&self, track: &ClientTrack) {
        track.asked(Instant::now().into_std());
        let Some(connection) = &self.connection else { return };
        let rids = track.encodings().iter().map(|rid| Some(*rid));
        let rids = rids.chain(track.encodings().is_empty().then_some(None));
        for rid in rids {
            let (transceiver, kind) = (track.id(), KeyframeRequestKind::Pli);
            // A viewer that needs one asks again.
            _ = connection.try_send(RequestKeyframe { transceiver, rid, kind });
        }
    }
}

/// Adds tracks to a connection, one after the other, and notes for each where it is.
async fn add_all(
    connection: &PeerConnectionHandle,
    tracks: &Tracks,
    add: Vec<(u64, LocalTrack)>,
    user: &str,
) {
    let id = connection.id();
    for (number, track) in add {
        let added = add_one(connection, track).await;
        if let Err(error) = &added {
            log::info!("{id}: a track is not sent to {user}: {error}");
        }
        if let Some(ended) = tracks.added(id, number, added) {
            // One whose mailbox is full keeps a track on which nothing comes.
            _ = connection.try_send(RemoveTrack(ended));
        }
    }
}

async fn add_one(connection: &PeerConnectionHandle, track: LocalTrack) -> Added {
    let closed = |_| AddTrackError::Closed;
    let sender = connection.send(AddTrack(track)).await.map_err(closed)??;
    let all = connection.send(GetTransceivers).await.map_err(closed)?;
    let transceiver = all.iter().find(|one| one.sender == sender).ok_or(AddTrackError::Closed)?;
    Ok((sender, transceiver.id))
}

impl Handler<TracksChanged> for ServerPeer {
    type Result = ();

    fn handle(&mut self, _: TracksChanged, ctx: &mut Self::Context) {
        self.send_tracks(ctx);
    }
}

impl Handler<AskForKeyframe> for ServerPeer {
    type Result = ();

    fn handle(&mut self, AskForKeyframe(track): AskForKeyframe, ctx: &mut Self::Context) {
        let pause = track.pause(Instant::now().into_std());
        if pause.is_zero() {
            return self.ask_for_keyframe(&track);
        }
        // One timer for each track: further requests are one with this.
        ctx.run_later(pause, move |this, _| this.ask_for_keyframe(&track));
    }
}
