//! Core of a client: takes the server's texts and the application's, and says what follows. No I/O.

mod moves;
mod output;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value};

use self::moves::Moving;
pub(crate) use self::output::{Output, Signal};
use crate::ClientOptions;
use crate::address::Address;
use crate::calls::{CallOutput, Calls};
use crate::error::{CallFunctionError, SendMessageError, ServerError};
use crate::event::*;
use crate::roster::Roster;
use crate::send_queue::{Lifetime, SendQueue};
use crate::session::{Arrival, Loss, Session, SessionOutput};
use crate::wire::{id, is_of_server, member, members, take, text};

/// State of a client.
pub(crate) struct Core {
    session: Session,
    calls: Calls,
    roster: Roster,
    queue: SendQueue,
    /// Most messages that wait while there is no connection.
    most_waiting: usize,
    peer_id: Option<String>,
    /// Number of sessions before this one: those of other peers, and of other servers.
    session_number: u64,
    malformed: u64,
    moving: Moving,
    outputs: VecDeque<Output>,
}

impl Core {
    pub(crate) fn new(
        address: Arc<Address>,
        options: &ClientOptions,
        random: fastrand::Rng,
        now: Instant,
    ) -> Self {
        let mut core = Self {
            session: Session::new(address, options, random, now),
            calls: Calls::default(),
            roster: Roster::default(),
            queue: SendQueue::default(),
            most_waiting: options.queue,
            peer_id: None,
            session_number: 0,
            malformed: 0,
            moving: Moving::default(),
            outputs: VecDeque::new(),
        };
        core.settle();
        core
    }

    pub(crate) fn state(&self) -> ClientState {
        self.session.state()
    }

    pub(crate) fn peer_id(&self) -> &str {
        self.peer_id.as_deref().unwrap_or_default()
    }

    pub(crate) fn members(&self) -> Vec<RoomMember> {
        self.roster.members()
    }

    pub(crate) fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Returns how many texts were ever to be sent, and how many of them wait no more.
    pub(crate) fn counts(&self) -> (u64, u64) {
        self.queue.counts()
    }

    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.session.poll_timeout()
    }

    /// Returns the next text to the server, if it may be sent now.
    pub(crate) fn poll_text(&mut self) -> Option<String> {
        if self.is_open() && !self.is_held() { self.queue.pop() } else { None }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.session.handle_timeout(now);
        self.settle();
    }

    pub(crate) fn handle_loss(&mut self, loss: Loss, now: Instant) {
        self.session.handle_loss(loss, now);
        self.settle();
    }

    pub(crate) fn wake(&mut self, now: Instant) {
        self.session.wake(now);
        self.settle();
    }

    /// Leaves for good.
    pub(crate) fn close(&mut self) {
        if !self.is_open() {
            // Nothing can be sent any more.
            self.clear_queue();
        }
        self.session.close();
        self.settle();
    }

    /// Queues a message to others, or to the server.
    pub(crate) fn send(&mut self, text: String, now: Instant) -> Result<(), SendMessageError> {
        let open = match self.state() {
            ClientState::Closed => return Err(SendMessageError::Closed),
            state => state == ClientState::Open,
        };
        if let Some(max_bytes) = self.session.largest(now).filter(|most| text.len() > *most) {
            return Err(SendMessageError::TooLarge { max_bytes });
        }
        if self.queue.is_full() || (!open && self.queue.len() >= self.most_waiting) {
            return Err(SendMessageError::QueueFull);
        }
        self.queue.push(Lifetime::Any, text);
        Ok(())
    }

    /// Begins a call; returns its number.
    pub(crate) fn call(
        &mut self,
        plugin: &str,
        function: &str,
        args: &Value,
    ) -> Result<u64, CallFunctionError> {
        match self.state() {
            ClientState::Open if self.queue.is_full() => Err(CallFunctionError::QueueFull),
            ClientState::Open => {
                let (id, text) = self.calls.begin(plugin, function, args);
                self.queue.push(Lifetime::Session, text);
                Ok(id)
            }
            ClientState::Closed => Err(CallFunctionError::Closed),
            _ => Err(CallFunctionError::Disconnected),
        }
    }

    /// Ends a call whose caller has gone.
    pub(crate) fn cancel(&mut self, id: u64) {
        if let Some(text) = self.calls.cancel(id) {
            self.post(text);
        }
    }

    pub(crate) fn register(&mut self, function: &str) {
        self.calls.register(function);
    }

    pub(crate) fn unregister(&mut self, function: &str) {
        self.calls.unregister(function);
    }

    /// Answers a call by the server.
    pub(crate) fn answer(&mut self, id: &Value, outcome: Result<Value, String>) {
        let text = self.calls.answer(id, outcome);
        self.post(text);
    }

    /// Returns the number of the session, which a peer connection belongs to.
    #[cfg(feature = "webrtc")]
    pub(crate) fn session_number(&self) -> u64 {
        self.session_number
    }

    /// Sends a `webrtc:…` event of this session now; returns whether that is possible. It is not if there is another
    /// session by now: the peer connection, which has not heard of that yet, will be replaced.
    #[cfg(feature = "webrtc")]
    pub(crate) fn signal(&mut self, session: u64, event: &str, data: &Value) -> bool {
        let is_possible = self.is_open() && session == self.session_number && !self.queue.is_full();
        if is_possible {
            let text = serde_json::json!({ "event": event, "data": data }).to_string();
            self.queue.push(Lifetime::Session, text);
        }
        is_possible
    }

    /// Handles a text of the data channel for calls; returns whether it is one of RPC.
    #[cfg(feature = "webrtc")]
    pub(crate) fn handle_channel_text(&mut self, text: &str) -> bool {
        let Ok(Value::Object(mut frame)) = serde_json::from_str(text) else { return false };
        let Some(output) = self.calls.handle(&mut frame) else { return false };
        output.into_iter().for_each(|output| self.handle_call_output(output));
        true
    }

    /// Handles a frame that is no text.
    pub(crate) fn handle_other_frame(&mut self) {
        self.session.heard();
        self.malformed += 1;
    }

    /// Handles a ping, a pong, or a part of a message.
    pub(crate) fn handle_control_frame(&mut self) {
        self.session.heard();
    }

    /// Handles a text of the server.
    pub(crate) fn handle_text(&mut self, text: &str, now: Instant) {
        self.session.heard();
        if text == "pong" {
            return self.handle_pong(now);
        }
        if self.keeps(text, now) {
            return;
        }
        let understood = match serde_json::from_str(text) {
            Ok(Value::Object(frame)) => self.handle_frame(frame, now),
            _ => None,
        };
        if understood.is_none() {
            self.malformed += 1;
        }
        self.settle();
    }

    /// Handles a frame; returns none if it is not understood.
    fn handle_frame(&mut self, mut frame: Map<String, Value>, now: Instant) -> Option<()> {
        let from = match frame.remove("from") {
            None | Some(Value::Null) => None,
            Some(Value::String(from)) => Some(from),
            Some(_) => return None,
        };
        let event = frame.get("event").and_then(Value::as_str);
        let joins = matches!(event, Some("authenticated" | "resumed"));
        if from.is_none() && joins && !self.is_open() {
            let arrival = self.session.arrive(false, false);
            return self.handle_join(frame.remove("data")?, arrival, now);
        }
        if from.is_none() && self.is_own_arrival(&frame) {
            self.session.switch(now);
            return Some(());
        }
        match self.calls.handle(&mut frame) {
            Some(output) => output.into_iter().for_each(|output| self.handle_call_output(output)),
            None => self.handle_event(frame, from, now)?,
        }
        Some(())
    }

    fn handle_call_output(&mut self, output: CallOutput) {
        match output {
            CallOutput::Done(id, outcome) => self.outputs.push_back(Output::Done(id, outcome)),
            CallOutput::Run { id, function, args } => {
                self.outputs.push_back(Output::Run { id, function, args });
            }
            CallOutput::Post(text) => self.post(text),
            CallOutput::Error(error) => self.tell(ClientEvent::Error(error)),
        }
    }

    fn handle_event(
        &mut self,
        mut frame: Map<String, Value>,
        from: Option<String>,
        now: Instant,
    ) -> Option<()> {
        let event = match frame.remove("event")? {
            Value::String(event) => event,
            _ => return None,
        };
        let data = frame.remove("data").unwrap_or_default();
        if from.is_none() && event == "moved" {
            self.session.handle_order(&data, now);
            return Some(());
        }
        if from.is_none() && is_of_server(&event) {
            return self.handle_server_event(&event, data);
        }
        let to = match frame.remove("to") {
            Some(Value::Array(peers)) => {
                Recipients::Peers(peers.into_iter().filter_map(id).collect())
            }
            _ => Recipients::All,
        };
        self.tell(ClientEvent::Message(ClientMessage { event, data, from, to }));
        Some(())
    }

    /// Handles joining: for the first time, again with the same id, or as a new peer.
    fn handle_join(&mut self, mut data: Value, arrival: Arrival, now: Instant) -> Option<()> {
        let peer_id = id(take(&mut data, "peer_id"))?;
        let present = members(&mut data).unwrap_or_default();
        let previous = self.peer_id.as_ref();
        let is_other = |id: &String| *id != peer_id && Some(id) != previous;
        let present = present.into_iter().filter(|member| is_other(&member.peer_id)).collect();
        self.session.joined(data.get("resume"), now);
        self.settle();
        match self.peer_id.replace(peer_id.clone()) {
            Some(previous) if previous == peer_id => {
                if !arrival.is_seamless {
                    self.tell(ClientEvent::Resumed);
                }
                if arrival.replaces {
                    self.begin_session();
                } else {
                    self.outputs.push_back(Output::Signal(Signal::Resumed));
                }
            }
            Some(previous) => {
                self.session_lost(&CallFunctionError::Disconnected);
                self.present_are(present);
                self.tell(ClientEvent::Rejoined { peer_id, previous });
                self.begin_session();
            }
            None => _ = self.roster.replace(present),
        }
        if let Some((from, to)) = arrival.moved {
            self.tell(ClientEvent::Moved { from, to });
        }
        if !arrival.is_seamless {
            self.session.announce_open();
            self.settle();
        }
        Some(())
    }

    /// Tells the peer connection that the server knows none of this client.
    fn begin_session(&mut self) {
        self.session_number += 1;
        self.outputs.push_back(Output::Signal(Signal::NewSession(self.session_number)));
    }

    /// Handles an event of the server itself; returns none if its data does not have the form that the event requires.
    fn handle_server_event(&mut self, event: &str, mut data: Value) -> Option<()> {
        match event {
            "joined" => {
                let member = member(&mut data)?;
                if Some(&member.peer_id) != self.peer_id.as_ref() {
                    let events = self.roster.join(member)?;
                    self.tell_all(events);
                }
            }
            "left" => {
                let events = self.roster.leave(data["peer_id"].as_str()?);
                self.tell_all(events);
            }
            "room_restarted" | "room_members" => {
                let mut present = members(&mut data)?;
                present.retain(|one| Some(&one.peer_id) != self.peer_id.as_ref());
                self.present_are(present);
                if event == "room_restarted" {
                    self.tell(ClientEvent::RoomRestarted);
                }
            }
            "error" => {
                let details = take(&mut data, "details");
                let error = ServerError::new(data["description"].as_str()?, details);
                self.session.note_closing_error(&error);
                if error.code == "webrtc_failed" {
                    let say = |field| error.details[field].as_str().unwrap_or_default().to_owned();
                    let (event, error) = (say("event"), say("error"));
                    self.outputs.push_back(Output::Signal(Signal::Refused { event, error }));
                }
                self.tell(ClientEvent::Error(error));
            }
            "webrtc:data" => {
                let channel = text(take(&mut data, "channel"))?;
                let data = ChannelData::Text(text(take(&mut data, "data"))?);
                self.tell(ClientEvent::Data { channel, data });
            }
            "webrtc:state" if data["state"] == "rate_limited" => {
                let error = ServerError::new("Rate limited", take(&mut data, "state"));
                self.tell(ClientEvent::Error(error));
            }
            // A second welcome on one connection.
            "authenticated" | "resumed" => return None,
            _ => {
                let event = event.to_owned();
                self.outputs.push_back(Output::Signal(Signal::Event { event, data }));
            }
        }
        Some(())
    }

    fn present_are(&mut self, present: Vec<RoomMember>) {
        let events = self.roster.replace(present);
        self.tell_all(events);
    }

    fn is_open(&self) -> bool {
        self.state() == ClientState::Open
    }

    /// Queues a text that is about this session, if there is place.
    fn post(&mut self, text: String) {
        let alive = self.is_open() || self.session.is_resumable();
        if alive && !self.queue.is_full() {
            self.queue.push(Lifetime::Session, text);
        }
    }

    /// Ends what the session has begun, and no other can complete.
    fn session_lost(&mut self, error: &CallFunctionError) {
        self.queue.end(Lifetime::Session);
        for id in self.calls.lost() {
            self.outputs.push_back(Output::Done(id, Err(error.clone())));
        }
    }

    fn tell(&mut self, event: ClientEvent) {
        self.outputs.push_back(Output::Event(event));
    }

    fn tell_all(&mut self, events: Vec<ClientEvent>) {
        self.outputs.extend(events.into_iter().map(Output::Event));
    }

    /// Carries out what the session has decided.
    fn settle(&mut self) {
        while let Some(output) = self.session.poll_output() {
            let output = match output {
                SessionOutput::Open { to, resume } => Output::Open { to, resume },
                SessionOutput::OpenNext { to, resume } => Output::OpenNext { to, resume },
                SessionOutput::DropNext { code } => {
                    self.moving.forget_next();
                    Output::DropNext { code }
                }
                SessionOutput::Switch(now) => {
                    self.switch(now);
                    continue;
                }
                SessionOutput::Drain => {
                    self.drain();
                    continue;
                }
                SessionOutput::MoveFailed(failure) => {
                    Output::Event(ClientEvent::MoveFailed(failure))
                }
                SessionOutput::Drop { code } => {
                    self.moving.forget_connection();
                    // Only a client that leaves sends what is left.
                    let left = if code == Some(1000) { self.texts_left() } else { Vec::new() };
                    Output::Drop { code, left }
                }
                SessionOutput::Ping => {
                    self.ping();
                    continue;
                }
                SessionOutput::Admitted => Output::Admitted,
                SessionOutput::Failed(error) => Output::Failed(error),
                SessionOutput::GaveUp(error) => Output::Event(ClientEvent::GaveUp(error)),
                SessionOutput::Changed(change) => {
                    self.state_changed(change.state);
                    Output::Event(ClientEvent::State(change))
                }
            };
            self.outputs.push_back(output);
        }
        self.release();
    }

    fn state_changed(&mut self, state: ClientState) {
        match state {
            ClientState::Waiting => {
                self.queue.end(Lifetime::Connection);
                if !self.session.is_resumable() {
                    self.session_lost(&CallFunctionError::Disconnected);
                }
            }
            ClientState::Closed => {
                self.session_lost(&CallFunctionError::Closed);
                self.clear_queue();
            }
            ClientState::Connecting | ClientState::Open => {}
        }
    }

    fn clear_queue(&mut self) {
        while self.queue.pop().is_some() {}
    }

    fn texts_left(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.queue.pop()).collect()
    }
}

#[cfg(test)]
mod tests;
