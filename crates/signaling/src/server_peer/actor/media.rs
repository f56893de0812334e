//! Media of the client: what it says of its tracks and of those of others, and what the media room says.

use actix::prelude::*;
use callboard_media_rooms::{MediaEvent, ParticipantEvent, WishError, Wishes};
use tokio::time::Instant;

use super::ServerPeer;
use crate::server_peer::{
    DescribeTracks, HandleWishes, HandleWishesError, MuteTrack, MuteTrackError, RestateMedia,
    ServerPeerEvent,
};

impl Handler<DescribeTracks> for ServerPeer {
    type Result = ();

    fn handle(&mut self, DescribeTracks(described): DescribeTracks, _: &mut Self::Context) {
        self.described = described;
    }
}

impl Handler<RestateMedia> for ServerPeer {
    type Result = ();

    fn handle(&mut self, RestateMedia: RestateMedia, _: &mut Self::Context) {
        self.participant.iter().for_each(|participant| participant.restate());
    }
}

impl Handler<MuteTrack> for ServerPeer {
    type Result = Result<(), MuteTrackError>;

    fn handle(
        &mut self,
        MuteTrack { mid, muted }: MuteTrack,
        _: &mut Self::Context,
    ) -> Self::Result {
        if !self.account.mute(Instant::now().into_std()) {
            return Err(MuteTrackError::RateLimited);
        }
        // One that is to be published begins so.
        let mut described = self.described.iter_mut();
        let described = described.find(|track| track.mid == mid);
        let known = described.map(|track| track.muted = muted).is_some();
        let published = self.participant.as_ref().is_some_and(|it| it.mute(&mid, muted));
        if known || published { Ok(()) } else { Err(MuteTrackError::NoSuchTrack) }
    }
}

impl ServerPeer {
    pub(super) fn wish(&self, wishes: Wishes) -> Result<(), WishError> {
        self.participant.as_ref().map_or(Ok(()), |participant| participant.wish(wishes))
    }
}

impl Handler<HandleWishes> for ServerPeer {
    type Result = Result<(), HandleWishesError>;

    fn handle(
        &mut self,
        HandleWishes(wishes): HandleWishes,
        _: &mut Self::Context,
    ) -> Self::Result {
        if self.seat.is_none() {
            return Err(HandleWishesError::Disabled);
        }
        // They wait for a connection, and for one whose media has failed to begin it again.
        if !wishes.is_within_limits() {
            return Err(HandleWishesError::TooMany);
        }
        self.wishes = Some(wishes.clone());
        _ = self.wish(wishes);
        Ok(())
    }
}

impl Handler<ParticipantEvent> for ServerPeer {
    type Result = ();

    fn handle(&mut self, told: ParticipantEvent, _: &mut Self::Context) {
        let ParticipantEvent { participant, event, .. } = told;
        if self.participant.as_ref().map(|participant| participant.id()) != Some(participant) {
            return; // of a peer connection that was let go
        }
        if event == MediaEvent::Failed {
            // The next offer begins media again.
            self.participant = None;
        }
        self.tell(ServerPeerEvent::Media(event));
    }
}
