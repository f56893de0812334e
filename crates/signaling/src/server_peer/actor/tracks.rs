//! What the client says of its own tracks.

use actix::prelude::*;
use tokio::time::Instant;

use super::ServerPeer;
use crate::server_peer::{DescribeTracks, MuteTrack, MuteTrackError};

impl Handler<DescribeTracks> for ServerPeer {
    type Result = ();

    fn handle(&mut self, DescribeTracks(described): DescribeTracks, _: &mut Self::Context) {
        self.described = described;
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
