//! Speakers of a room: who dominates the conversation, and which voices are the loudest.
//!
//! A [`Meter`] beside each publisher turns the audio levels of its packets (RFC 6464) into one [`Loudness`] every
//! 100 ms. [`Speakers`] compares them. The dominant speaker is found as I. Volfin and I. Cohen describe in "Dominant
//! speaker identification for multipoint videoconferencing" (Computer Speech & Language 27, 2013): the speech of an
//! immediate, a medium and a long window is scored, and a participant takes over only if it wins in all three.

mod meter;
mod scores;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

pub(crate) use meter::{Loudness, Meter};
use scores::{History, Scores};

/// Participants of one room whose voices are compared. It sleeps while no one speaks.
#[derive(Debug)]
pub(crate) struct Speakers<K> {
    voices: BTreeMap<K, Voice>,
    scores: Scores,
    dominant: Option<K>,
    /// Voices that are forwarded, at most `most`.
    loudest: Vec<K>,
    most: usize,
    /// End of the current step; none while no one has spoken for longer than any window.
    next_step: Option<Instant>,
    last_report: Option<(Instant, Report<K>)>,
    outputs: VecDeque<Output<K>>,
}

/// What the room does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output<K> {
    /// Forward this voice: it is one of the loudest.
    Heard(K),
    /// Forward this voice no more.
    Unheard(K),
    /// Tell the clients; at most twice a second.
    Report(Report<K>),
}

/// Current speakers, as clients are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report<K> {
    /// Participant that dominates the conversation. It keeps this place while no one speaks.
    pub(crate) dominant: Option<K>,
    /// Participants that speak, the loudest first, at most [`REPORTED`]; levels in dBov (0 is the loudest).
    pub(crate) levels: Vec<(K, i8)>,
}

/// Voice of one participant.
#[derive(Clone, Copy, Debug, Default)]
struct Voice {
    muted: bool,
    /// Latest loudness, and when it was told.
    told: Option<(Instant, Loudness)>,
    history: History,
    /// Speech above the noise in dB, smoothed over about 300 ms.
    smoothed: f32,
    /// Steps in a row in which it was clearly louder than the quietest of the loudest.
    louder_for: u8,
}

impl<K: Copy + Ord> Speakers<K> {
    /// Creates an empty room, whose `most` loudest voices are forwarded.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            voices: BTreeMap::new(),
            scores: Scores::new(),
            dominant: None,
            loudest: Vec::with_capacity(most),
            most,
            next_step: None,
            last_report: None,
            outputs: VecDeque::new(),
        }
    }

    /// Adds a participant, silent at first. One that is there already stays as it is.
    pub(crate) fn add(&mut self, key: K) {
        self.voices.entry(key).or_default();
    }

    /// Removes a participant that is gone.
    pub(crate) fn remove(&mut self, now: Instant, key: K) {
        if self.voices.remove(&key).is_some() {
            self.drop_out(now, key);
        }
    }

    /// Mutes a participant, or ends that. A muted one is not heard, however loud it is.
    pub(crate) fn set_muted(&mut self, now: Instant, key: K, muted: bool) {
        let Some(voice) = self.voices.get_mut(&key) else { return };
        if voice.muted != muted {
            *voice = Voice { muted, ..Voice::default() };
            self.drop_out(now, key);
        }
    }

    fn drop_out(&mut self, now: Instant, key: K) {
        if self.dominant == Some(key) {
            self.dominant = None;
            self.next_step.get_or_insert(now + STEP);
        }
        self.end_place(key);
    }

    /// Handles what a participant's [`Meter`] tells. A voice is heard at once if fewer than the allowed number are.
    pub(crate) fn handle_loudness(&mut self, now: Instant, key: K, loudness: Loudness) {
        let Some(voice) = self.voices.get_mut(&key) else { return };
        if voice.muted {
            return;
        }
        voice.told = Some((now, loudness));
        if loudness.is_speech() {
            self.next_step.get_or_insert(now + STEP);
            if self.loudest.len() < self.most && !self.loudest.contains(&key) {
                self.give_place(key);
            }
        }
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.next_step
    }

    /// Compares the voices, if a step has ended.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let Some(first) = self.next_step.filter(|&at| at <= now) else { return };
        // Of a long delay only the last steps matter: all windows are shorter.
        let late = now.saturating_duration_since(first);
        let steps = (late.as_millis() / STEP.as_millis()) as u32;
        let mut at = first + STEP * steps.saturating_sub(History::STEPS);
        while at <= now {
            self.step(at);
            at += STEP;
        }
        let is_asleep = self.loudest.is_empty()
            && self.voices.values().all(|voice| voice.history.is_blank() && !voice.speaks(now));
        let is_told = self.report(now);
        self.next_step = if is_asleep && is_told { None } else { Some(at) };
    }

    /// Returns the next output, until there is none.
    pub(crate) fn poll_output(&mut self) -> Option<Output<K>> {
        self.outputs.pop_front()
    }

    /// Returns the participant that dominates the conversation.
    #[cfg(test)]
    fn dominant(&self) -> Option<K> {
        self.dominant
    }

    /// Returns the voices that are forwarded, in no order.
    pub(crate) fn loudest(&self) -> &[K] {
        &self.loudest
    }

    fn step(&mut self, at: Instant) {
        for voice in self.voices.values_mut() {
            voice.step(at);
        }
        self.choose_dominant();
        self.choose_loudest();
    }

    fn choose_dominant(&mut self) {
        let scores = &self.scores;
        let best = match self.dominant.and_then(|key| self.voices.get(&key)) {
            None => self
                .voices
                .iter()
                .filter(|(_, voice)| voice.history.speaks())
                .max_by(|(_, a), (_, b)| {
                    let weigh = |voice: &Voice| scores.medium(&voice.history);
                    weigh(a).total_cmp(&weigh(b)).then(a.smoothed.total_cmp(&b.smoothed))
                })
                .map(|(&key, _)| key),
            Some(dominant) => self
                .voices
                .iter()
                .filter_map(|(&key, voice)| {
                    Some((key, scores.advantage(&voice.history, &dominant.history)?))
                })
                .max_by(|(_, a), (_, b)| a.total_cmp(b))
                .map(|(key, _)| key),
        };
        self.dominant = best.or(self.dominant);
    }

    fn choose_loudest(&mut self) {
        for place in (0..self.loudest.len()).rev() {
            let key = self.loudest[place];
            if self.voices[&key].history.is_blank() {
                self.end_place(key);
            }
        }
        let waits = |(key, voice): &(&K, &Voice), loudest: &[K]| {
            voice.history.is_active() && !loudest.contains(key)
        };
        while self.loudest.len() < self.most {
            let next = self.voices.iter().filter(|entry| waits(entry, &self.loudest));
            let Some((&key, _)) = next.max_by(|a, b| a.1.smoothed.total_cmp(&b.1.smoothed)) else {
                return;
            };
            self.give_place(key);
        }
        self.displace();
    }

    /// Gives the place of the quietest of the loudest to a voice that is clearly louder for some time.
    fn displace(&mut self) {
        let quietest = self.loudest.iter().map(|key| (*key, self.voices[key]));
        let Some((quietest, weak)) = quietest.min_by(|a, b| a.1.smoothed.total_cmp(&b.1.smoothed))
        else {
            return;
        };
        let mut best: Option<(K, f32)> = None;
        for (&key, voice) in &mut self.voices {
            let is_louder = voice.smoothed >= weak.smoothed + LOUDER_DB;
            if !voice.history.is_active() || self.loudest.contains(&key) || !is_louder {
                voice.louder_for = 0;
                continue;
            }
            voice.louder_for = voice.louder_for.saturating_add(1);
            let is_clear = voice.louder_for >= LOUDER_STEPS;
            if is_clear && best.is_none_or(|(_, smoothed)| voice.smoothed > smoothed) {
                best = Some((key, voice.smoothed));
            }
        }
        if let Some((key, _)) = best {
            self.end_place(quietest);
            self.give_place(key);
        }
    }

    fn give_place(&mut self, key: K) {
        self.loudest.push(key);
        self.outputs.push_back(Output::Heard(key));
        if let Some(voice) = self.voices.get_mut(&key) {
            voice.history.hold();
            voice.louder_for = 0;
        }
    }

    fn end_place(&mut self, key: K) {
        if let Some(place) = self.loudest.iter().position(|&heard| heard == key) {
            self.loudest.swap_remove(place);
            self.outputs.push_back(Output::Unheard(key));
        }
    }

    /// Queues a report if something has changed and the last one is old enough. Returns whether all is told.
    fn report(&mut self, now: Instant) -> bool {
        let speaking = self.voices.iter().filter(|(_, voice)| voice.history.speaks());
        let mut levels: Vec<_> = speaking.map(|(&key, voice)| (key, voice.level(now))).collect();
        levels.sort_by_key(|&(_, level)| std::cmp::Reverse(level));
        levels.truncate(REPORTED);
        let report = Report { dominant: self.dominant, levels };
        let is_told = match &self.last_report {
            Some((_, last)) => *last == report,
            None => report.dominant.is_none() && report.levels.is_empty(),
        };
        let is_early = |(at, _): &(Instant, Report<K>)| now < *at + REPORT_INTERVAL;
        if is_told || self.last_report.as_ref().is_some_and(is_early) {
            return is_told;
        }
        self.outputs.push_back(Output::Report(report.clone()));
        self.last_report = Some((now, report));
        true
    }
}

impl Voice {
    fn current(&self, at: Instant) -> Loudness {
        match self.told {
            Some((told, loudness)) if at.saturating_duration_since(told) < STALE => loudness,
            _ => Loudness::SILENT,
        }
    }

    fn speaks(&self, at: Instant) -> bool {
        self.current(at).is_speech()
    }

    fn level(&self, at: Instant) -> i8 {
        self.current(at).level
    }

    fn step(&mut self, at: Instant) {
        let speech = self.current(at).speech;
        self.history.push(speech);
        self.smoothed += (f32::from(speech) - self.smoothed) * SMOOTHING;
    }
}

/// Length of a step: the immediate window.
pub(crate) const STEP: Duration = Duration::from_millis(100);

/// Time after which a loudness that was not told again counts as silence: a meter tells it every step.
const STALE: Duration = Duration::from_millis(300);

/// Shortest time between two reports.
const REPORT_INTERVAL: Duration = Duration::from_millis(500);

/// Most participants whose level is reported.
pub(crate) const REPORTED: usize = 5;

/// Share of a new loudness in the smoothed one.
const SMOOTHING: f32 = 0.4;

/// By how much a voice is louder than the quietest of the loudest before it takes its place, in dB: a doubled
/// amplitude.
const LOUDER_DB: f32 = 6.0;

/// For how many steps it is.
const LOUDER_STEPS: u8 = 3;
