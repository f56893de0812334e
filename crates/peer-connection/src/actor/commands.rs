//! Handlers of the application's commands to a peer connection.
#![allow(clippy::disallowed_methods, reason = "actors tell their cores the time")]

use std::time::Instant;

use actix::prelude::*;
use callboard_supervision::Drive;

use super::PeerConnection;
use crate::error::*;
use crate::event::CloseReason;
use crate::loss_injection::Loss;
use crate::messages::*;

/// Handlers: each is one expression of the core.
macro_rules! handle {
    ($($message:pat => $type:ty, |$session:ident, $now:pat_param| $call:expr;)*) => {$(
        impl Handler<$type> for PeerConnection {
            type Result = MessageResult<$type>;

            fn handle(&mut self, $message: $type, ctx: &mut Context<Self>) -> Self::Result {
                MessageResult(self.drive(ctx, |$session, $now| $call))
            }
        }
    )*};
}

handle! {
    CreateOffer { ice_restart, .. } => CreateOffer,
        |session, _| session.create_offer(ice_restart);
    CreateAnswer { .. } => CreateAnswer,
        |session, now| session.create_answer(now);
    SetLocalDescription(description) => SetLocalDescription,
        |session, now| session.set_local_description(now, description);
    SetRemoteDescription(description) => SetRemoteDescription,
        |session, now| session.set_remote_description(now, description);
    MakeOffer => MakeOffer,
        |session, now| session.make_offer(now);
    AcceptOffer(offer) => AcceptOffer,
        |session, now| session.accept_offer(now, offer);
    OfferSlots(slots) => OfferSlots,
        |session, now| session.offer_slots(now, slots);
    LocalDescription => LocalDescription,
        |session, _| session.with_candidates(session.jsep().local());
    CurrentLocalDescription => CurrentLocalDescription,
        |session, _| session.with_candidates(session.jsep().current_local());
    PendingLocalDescription => PendingLocalDescription,
        |session, _| session.with_candidates(session.jsep().pending_local());
    RemoteDescription => RemoteDescription,
        |session, _| session.jsep().remote_description().cloned();
    CurrentRemoteDescription => CurrentRemoteDescription,
        |session, _| session.jsep().current_remote().cloned();
    PendingRemoteDescription => PendingRemoteDescription,
        |session, _| session.jsep().pending_remote().cloned();
    GetAnsweredSections => GetAnsweredSections,
        |session, _| session.jsep().answered_sections().clone();
    AddIceCandidate(candidate) => AddIceCandidate,
        |session, now| session.add_ice_candidate(now, candidate);
    RestartIce => RestartIce,
        |session, now| session.restart_ice(now);
    AddTrack(track) => AddTrack,
        |session, now| session.add_track(now, track);
    RemoveTrack(sender) => RemoveTrack,
        |session, now| session.change(now, |all| all.remove_track(sender));
    ReplaceTrack { sender, track } => ReplaceTrack,
        |session, now| session.replace_track(now, sender, track);
    AddTransceiver { kind, direction, track, send_encodings } => AddTransceiver,
        |session, now| session.add_transceiver(now, kind, direction, track, send_encodings);
    SetDirection { transceiver, direction } => SetDirection,
        |session, now| session.change(now, |all| all.set_direction(transceiver, direction));
    SetCodecPreferences { transceiver, codecs } => SetCodecPreferences,
        |session, now| session.set_codec_preferences(now, transceiver, codecs);
    StopTransceiver(transceiver) => StopTransceiver,
        |session, now| session.change(now, |all| all.stop(transceiver));
    GetTransceivers => GetTransceivers,
        |session, _| session.transceivers();
    WriteSample { sender, sample } => WriteSample,
        |session, now| session.write_sample(now, sender, sample);
    ConfigureSender { sender, resend, paced } => ConfigureSender,
        |session, _| session.configure_sender(sender, resend, paced);
    GetSenderPosition { sender, rid } => GetSenderPosition,
        |session, _| session.sender_position(sender, rid);
    SetBitrate { minimum, desired } => SetBitrate,
        |session, now| session.set_bitrate(now, minimum, desired);
    GetBandwidthEstimate => GetBandwidthEstimate,
        |session, _| session.estimate();
    ResetEstimate { initial } => ResetEstimate,
        |session, now| session.reset_estimate(now, initial);
    RequestKeyframe { transceiver, rid, kind } => RequestKeyframe,
        |session, now| session.request_keyframe(now, transceiver, rid, kind);
    InsertDtmf { sender, tones, duration, gap } => InsertDtmf,
        |session, now| session.insert_dtmf(now, sender, &tones, duration, gap);
    CreateDataChannel { label, options } => CreateDataChannel,
        |session, now| session.create_data_channel(now, label, options);
    CloseDataChannel(channel) => CloseDataChannel,
        |session, now| session.close_data_channel(now, channel);
    SetBufferedAmountLowThreshold { channel, threshold } => SetBufferedAmountLowThreshold,
        |session, _| session.set_buffered_amount_low_threshold(channel, threshold);
    GetDataChannel(channel) => GetDataChannel,
        |session, _| session.data_channel(channel);
    GetDataChannels => GetDataChannels,
        |session, _| session.data_channels();
    GetConnectionState => GetConnectionState,
        |session, _| session.states().connection;
    GetIceConnectionState => GetIceConnectionState,
        |session, _| session.states().ice;
    GetIceGatheringState => GetIceGatheringState,
        |session, _| session.states().gathering;
    GetSignalingState => GetSignalingState,
        |session, _| session.jsep().signaling();
    GetStats => GetStats,
        |session, now| session.stats(now);
    GetCounters => GetCounters,
        |session, _| session.counters();
    Close => Close,
        |session, now| session.close(now, CloseReason::Closed);
}

impl Handler<SendData> for PeerConnection {
    type Result = MessageResult<SendData>;

    fn handle(&mut self, message: SendData, ctx: &mut Context<Self>) -> Self::Result {
        let SendData { channel, message } = message;
        let sent = self.driver.core_mut().send_data(Instant::now(), channel, message);
        self.flush_soon(1, ctx);
        MessageResult(sent)
    }
}

impl Handler<SendLossy> for PeerConnection {
    type Result = MessageResult<SendLossy>;

    fn handle(&mut self, message: SendLossy, ctx: &mut Context<Self>) -> Self::Result {
        let SendLossy { channel, message, max_buffered_amount: most } = message;
        let sent = self.driver.core_mut().send_lossy(Instant::now(), channel, message, most);
        self.flush_soon(1, ctx);
        MessageResult(sent)
    }
}

impl Handler<DeliverData> for PeerConnection {
    type Result = ();

    fn handle(&mut self, message: DeliverData, ctx: &mut Context<Self>) {
        let DeliverData { channel, message, told } = message;
        match self.driver.core_mut().deliver_data(Instant::now(), channel, message) {
            Ok(receipt) => {
                self.receipts.insert(receipt, told);
            }
            // Who has sent it may wait no more.
            Err(error) => _ = told.send(Err(error.into())),
        }
        self.flush_soon(1, ctx);
    }
}

impl Handler<WriteRtp> for PeerConnection {
    type Result = MessageResult<WriteRtp>;

    fn handle(&mut self, message: WriteRtp, ctx: &mut Context<Self>) -> Self::Result {
        let WriteRtp { sender, packet } = message;
        let written = self.driver.core_mut().write_packet(sender, packet);
        self.flush_soon(1, ctx);
        MessageResult(written)
    }
}

impl Handler<WriteRtpBatch> for PeerConnection {
    type Result = ();

    fn handle(&mut self, WriteRtpBatch(packets): WriteRtpBatch, ctx: &mut Context<Self>) {
        let count = packets.len();
        self.driver.core_mut().write_packets(packets);
        self.flush_soon(count, ctx);
    }
}

impl Handler<SetMediaSink> for PeerConnection {
    type Result = ();

    fn handle(&mut self, SetMediaSink(sink): SetMediaSink, _: &mut Context<Self>) {
        let dropped = self.media_sink.set(sink);
        self.driver.core_mut().media_dropped(dropped);
    }
}

impl Handler<SetPacketSource> for PeerConnection {
    type Result = ();

    fn handle(&mut self, SetPacketSource(source): SetPacketSource, _: &mut Context<Self>) {
        // It is polled in this wake-up, after the mailbox.
        self.packet_source = source;
    }
}

impl Handler<GetMediaThread> for PeerConnection {
    type Result = MessageResult<GetMediaThread>;

    fn handle(&mut self, _: GetMediaThread, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.thread.index)
    }
}

impl Handler<InjectLoss> for PeerConnection {
    type Result = Result<(), InjectLossError>;

    fn handle(&mut self, InjectLoss { ratio }: InjectLoss, _: &mut Context<Self>) -> Self::Result {
        self.loss = Loss::of(ratio, self.id)?;
        Ok(())
    }
}
