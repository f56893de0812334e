//! States of a connection's transports, and their changes by time alone.

use std::time::{Duration, Instant};

use crate::api::ApiSettings;
use crate::engine::IceProgress;
use crate::event::{ConnectionEvent, FailureReason};
use crate::state::*;

/// States as they were last reported, and what they follow from.
#[derive(Debug)]
pub(crate) struct States {
    pub(crate) ice: IceConnectionState,
    pub(crate) gathering: IceGatheringState,
    pub(crate) connection: PeerConnectionState,
    pub(super) dtls: DtlsTransportState,
    closed: bool,
    progress: IceProgress,
    /// Whether the peer is known: before, there is nothing to check.
    begun: bool,
    /// Time since which a path is looked for, or since which the path is silent.
    searching_since: Option<Instant>,
    last_received: Option<Instant>,
    /// Whether there are no more candidates of this side, and of the peer.
    pub(super) all_local: bool,
    pub(super) all_remote: bool,
    /// Whether ICE restarts, and has not found a path yet.
    restarting: bool,
    /// Reason why the handshake, the engine or ICE has failed.
    failure: Option<FailureReason>,
    failed_since: Option<Instant>,
    disconnected_timeout: Duration,
    failed_timeout: Duration,
    failed_close_timeout: Option<Duration>,
}

impl States {
    pub(super) fn new(settings: &ApiSettings) -> Self {
        Self {
            ice: IceConnectionState::New,
            gathering: IceGatheringState::New,
            connection: PeerConnectionState::New,
            dtls: DtlsTransportState::New,
            closed: false,
            progress: IceProgress::New,
            begun: false,
            searching_since: None,
            last_received: None,
            all_local: false,
            all_remote: false,
            restarting: false,
            failure: None,
            failed_since: None,
            disconnected_timeout: settings.disconnected_timeout,
            failed_timeout: settings.failed_timeout,
            failed_close_timeout: settings.failed_close_timeout,
        }
    }

    pub(crate) fn dtls(&self) -> DtlsTransportState {
        self.dtls
    }

    pub(super) fn has_path(&self) -> bool {
        matches!(self.progress, IceProgress::Connected | IceProgress::Completed)
    }

    /// Returns when something has come from the peer.
    pub(super) fn last_received(&self) -> Option<Instant> {
        self.last_received
    }

    /// Returns when something has come from the peer, if there is a path and DTLS is complete.
    pub(super) fn heard_on_path(&self) -> Option<Instant> {
        let secured = self.dtls == DtlsTransportState::Connected;
        self.last_received.filter(|_| secured && self.has_path())
    }

    /// Notes the progress of the engine's ICE agent.
    pub(super) fn progress(&mut self, now: Instant, progress: IceProgress) {
        self.progress = progress;
        match progress {
            IceProgress::Connected | IceProgress::Completed => {
                // The engine may move to a pair that is as dead as the one before: only traffic from the peer shows
                // that a pair works.
                let last = *self.last_received.get_or_insert(now);
                if last + self.disconnected_timeout > now {
                    self.found();
                }
            }
            IceProgress::Checking | IceProgress::Disconnected if self.begun => {
                self.searching_since.get_or_insert(now);
            }
            _ => {}
        }
    }

    fn found(&mut self) {
        self.searching_since = None;
        self.restarting = false;
    }

    /// Notes that candidates of both sides can be checked from now on.
    pub(super) fn begin(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.begun, true) {
            self.searching_since.get_or_insert(now);
        }
    }

    /// Returns to the state before anything was negotiated.
    pub(super) fn unbegin(&mut self) {
        self.begun = false;
        self.searching_since = None;
        self.progress = IceProgress::New;
    }

    /// Notes that the peer has sent something.
    pub(super) fn received(&mut self, now: Instant) {
        self.last_received = Some(now);
        if self.has_path() {
            self.found();
        }
    }

    /// Notes that ICE restarts.
    pub(super) fn restarted(&mut self, now: Instant) {
        (self.all_local, self.all_remote) = (false, false);
        self.restarting = true;
        if self.searching_since.is_some() {
            self.searching_since = Some(now);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let closes = self.failed_since.zip(self.failed_close_timeout);
        if let Some((since, timeout)) = closes {
            return since.checked_add(timeout);
        }
        match self.ice {
            IceConnectionState::Connected | IceConnectionState::Completed => {
                self.last_received.map(|last| last + self.disconnected_timeout)
            }
            IceConnectionState::Checking | IceConnectionState::Disconnected => {
                self.searching_since.map(|since| since + self.failed_timeout)
            }
            _ => None,
        }
    }

    fn is_silent(&self, now: Instant) -> bool {
        self.last_received.is_some_and(|last| last + self.disconnected_timeout <= now)
    }

    fn ice_now(&self, now: Instant) -> IceConnectionState {
        let overdue = self.searching_since.is_some_and(|since| since + self.failed_timeout <= now);
        let silent = self.is_silent(now);
        let was_connected = self.last_received.is_some() && self.dtls != DtlsTransportState::New;
        match self.progress {
            _ if !self.begun => IceConnectionState::New,
            _ if overdue => IceConnectionState::Failed,
            IceProgress::Disconnected if self.all_local && self.all_remote => {
                IceConnectionState::Failed
            }
            IceProgress::Connected | IceProgress::Completed if silent && !self.restarting => {
                IceConnectionState::Disconnected
            }
            IceProgress::Connected if !silent => IceConnectionState::Connected,
            IceProgress::Completed if !silent => IceConnectionState::Completed,
            // The engine has no pair left; a new candidate may bring one.
            IceProgress::Disconnected if was_connected => IceConnectionState::Disconnected,
            // It looks for a path that it had before.
            _ if was_connected && silent && !self.restarting => IceConnectionState::Disconnected,
            _ => IceConnectionState::Checking,
        }
    }

    /// Returns what has changed, as events.
    pub(super) fn update(&mut self, now: Instant) -> Vec<ConnectionEvent> {
        let mut events = Vec::new();
        if self.has_path() && self.is_silent(now) {
            let silent_at = self.last_received.map(|last| last + self.disconnected_timeout);
            self.searching_since = self.searching_since.or(silent_at);
        }
        let ice = self.ice_now(now);
        if std::mem::replace(&mut self.ice, ice) != ice {
            events.push(ConnectionEvent::IceConnectionStateChange(ice));
        }
        let connection = PeerConnectionState::of(self.closed, ice, self.dtls);
        if std::mem::replace(&mut self.connection, connection) != connection {
            if connection == PeerConnectionState::Failed {
                self.failed_since = Some(now);
                let reason = self.failure.clone().unwrap_or_else(|| self.ice_failure(now));
                self.failure = Some(reason.clone());
                events.push(ConnectionEvent::Failed(reason));
            } else {
                (self.failed_since, self.failure) = (None, None);
            }
            events.push(ConnectionEvent::ConnectionStateChange(connection));
        }
        events
    }

    fn ice_failure(&self, now: Instant) -> FailureReason {
        match (self.last_received, self.searching_since) {
            (Some(last), _) if self.dtls == DtlsTransportState::Connected => {
                FailureReason::PathLost(now.saturating_duration_since(last))
            }
            (_, Some(since)) if since + self.failed_timeout <= now => {
                FailureReason::NoPath(now.saturating_duration_since(since))
            }
            _ => FailureReason::NoPairLeft,
        }
    }

    /// Notes that the handshake or the engine has failed, for good.
    pub(super) fn fail_dtls(&mut self, reason: FailureReason) {
        self.dtls = DtlsTransportState::Failed;
        self.failure = Some(reason);
    }

    /// Returns why the connection has failed, if that was so long ago that it must be closed.
    pub(super) fn overdue_failure(&self, now: Instant) -> Option<FailureReason> {
        let (since, timeout) = self.failed_since.zip(self.failed_close_timeout)?;
        let overdue = since.checked_add(timeout).is_some_and(|due| due <= now);
        self.failure.clone().filter(|_| overdue)
    }

    pub(super) fn set_gathering(&mut self, state: IceGatheringState) -> Option<ConnectionEvent> {
        (std::mem::replace(&mut self.gathering, state) != state)
            .then_some(ConnectionEvent::IceGatheringStateChange(state))
    }

    pub(super) fn close(&mut self) -> Vec<ConnectionEvent> {
        self.closed = true;
        self.ice = IceConnectionState::Closed;
        self.connection = PeerConnectionState::Closed;
        if self.dtls != DtlsTransportState::Failed {
            self.dtls = DtlsTransportState::Closed;
        }
        vec![
            ConnectionEvent::IceConnectionStateChange(self.ice),
            ConnectionEvent::ConnectionStateChange(self.connection),
        ]
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a beginning for times to be counted from")]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn states() -> (States, Instant) {
        (States::new(&ApiSettings::default()), Instant::now())
    }

    fn connected() -> (States, Instant) {
        let (mut states, start) = states();
        states.begin(start);
        states.progress(start, IceProgress::Checking);
        states.update(start);
        states.progress(start, IceProgress::Completed);
        states.dtls = DtlsTransportState::Connected;
        states.update(start);
        (states, start)
    }

    #[test]
    fn silence_disconnects_and_a_datagram_connects_again() {
        let (mut states, start) = connected();
        assert_eq!(states.connection, PeerConnectionState::Connected);
        assert_eq!(states.poll_timeout(), Some(start + 5 * SECOND));

        states.update(start + 5 * SECOND);
        assert_eq!(states.ice, IceConnectionState::Disconnected);
        assert_eq!(states.connection, PeerConnectionState::Disconnected);

        states.received(start + 6 * SECOND);
        states.update(start + 6 * SECOND);
        assert_eq!(states.connection, PeerConnectionState::Connected);
    }

    /// ICE may move to a pair that once worked, and is as dead as the one before.
    #[test]
    fn another_pair_counts_only_once_something_has_come() {
        let (mut states, start) = connected();
        states.update(start + 5 * SECOND);
        assert_eq!(states.connection, PeerConnectionState::Disconnected);

        for progress in [IceProgress::Checking, IceProgress::Connected, IceProgress::Completed] {
            states.progress(start + 15 * SECOND, progress);
            states.update(start + 15 * SECOND);
            assert_eq!(states.connection, PeerConnectionState::Disconnected, "{progress:?}");
        }

        states.received(start + 16 * SECOND);
        states.update(start + 16 * SECOND);
        assert_eq!(states.connection, PeerConnectionState::Connected);
    }

    #[test]
    fn a_killed_peer_has_failed_in_time_even_if_ice_says_connected() {
        let (mut states, start) = connected();
        states.update(start + 5 * SECOND);
        states.progress(start + 15 * SECOND, IceProgress::Connected);
        assert_eq!(states.update(start + 34 * SECOND).len(), 0);

        let told = states.update(start + 35 * SECOND);
        let reason = FailureReason::PathLost(35 * SECOND);
        let failed = |event: &ConnectionEvent| matches!(event, ConnectionEvent::Failed(one) if *one == reason);
        assert!(told.iter().any(failed), "{told:?}");
        assert_eq!(states.overdue_failure(start + 64 * SECOND), None);
        assert_eq!(states.overdue_failure(start + 65 * SECOND), Some(reason));
    }

    #[test]
    fn a_search_without_end_fails_in_time() {
        let (mut states, start) = states();
        states.begin(start);
        states.progress(start, IceProgress::Checking);
        states.update(start);
        assert_eq!(states.poll_timeout(), Some(start + 30 * SECOND));

        states.progress(start + 19 * SECOND, IceProgress::Disconnected);
        states.update(start + 19 * SECOND);
        assert_eq!(states.ice, IceConnectionState::Checking, "a candidate may still come");

        states.update(start + 30 * SECOND);
        assert_eq!(states.connection, PeerConnectionState::Failed);
    }

    #[test]
    fn when_no_candidate_is_to_come_there_is_nothing_to_wait_for() {
        let (mut states, start) = states();
        states.begin(start);
        states.progress(start, IceProgress::Checking);
        (states.all_local, states.all_remote) = (true, true);
        states.progress(start + 16 * SECOND, IceProgress::Disconnected);
        states.update(start + 16 * SECOND);

        assert_eq!(states.ice, IceConnectionState::Failed);
    }
}
