//! Level meter of one audio track: audio levels of packets (RFC 6464) in, one loudness per 100 ms out.

use std::time::Instant;

use super::STEP;

/// Loudness of a voice in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Loudness {
    /// Mean level in dBov, from −127 (silence) to 0.
    pub(crate) level: i8,
    /// Speech above the noise of this microphone, in dB; 0 for what is not speech.
    pub(crate) speech: u8,
}

impl Loudness {
    /// Loudness of a participant that says nothing.
    pub(crate) const SILENT: Self = Self { level: -127, speech: 0 };

    /// Returns whether someone speaks.
    pub(crate) fn is_speech(self) -> bool {
        self.speech > 0
    }
}

/// Meter of one audio track: sums of the current step, and the noise of the microphone.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    /// End of the current step; none before its first packet.
    step_end: Option<Instant>,
    /// Sum of the levels in this step, as −dBov.
    sum: u32,
    packets: u32,
    /// A packet of this step was marked as voice.
    is_voice: bool,
    /// The sender marks voice: then what is not marked is none. Some senders never do.
    marks_voice: bool,
    /// Level of the noise in dBov.
    noise: f32,
    /// Speech was told in this step or in the one before.
    speaks: bool,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            step_end: None,
            sum: 0,
            packets: 0,
            is_voice: false,
            marks_voice: false,
            noise: QUIETEST_NOISE,
            speaks: false,
        }
    }
}

impl Meter {
    /// Handles the audio level of one packet: `attenuation` in −dBov (0 the loudest, 127 silence), and whether the
    /// sender says that it contains voice (RFC 6464 §3).
    ///
    /// Returns a loudness at the end of each step with speech, once where speech ends, and at once where it begins.
    pub(crate) fn handle_level(
        &mut self,
        now: Instant,
        attenuation: u8,
        voice: Option<bool>,
    ) -> Option<Loudness> {
        let ended = self.handle_timeout(now);
        self.step_end.get_or_insert(now + STEP);
        let attenuation = attenuation.min(127);
        self.sum = self.sum.saturating_add(attenuation.into());
        self.packets = self.packets.saturating_add(1);
        self.is_voice |= voice == Some(true);
        self.marks_voice |= voice == Some(true);
        if self.speaks {
            return ended;
        }
        let onset = self.judge(f32::from(attenuation), voice == Some(true));
        if !onset.is_speech() {
            return ended;
        }
        self.speaks = true;
        Some(onset)
    }

    /// Ends the step, if that is due. Where nothing comes any more, [`Speakers`](super::Speakers) notices the end of
    /// speech a little later.
    fn handle_timeout(&mut self, now: Instant) -> Option<Loudness> {
        let end = self.step_end.filter(|&end| end <= now)?;
        let loudness = if self.packets == 0 {
            Loudness::SILENT
        } else {
            let attenuation = self.sum as f32 / self.packets as f32;
            let loudness = self.judge(attenuation, self.is_voice);
            self.learn_noise(-attenuation);
            loudness
        };
        // Packets that are late do not make more steps; a step without packets ends speech, and the meter sleeps.
        self.step_end =
            (self.packets > 0).then(|| if end + STEP > now { end + STEP } else { now + STEP });
        (self.sum, self.packets, self.is_voice) = (0, 0, false);
        let spoke = std::mem::replace(&mut self.speaks, loudness.is_speech());
        (spoke || self.speaks).then_some(loudness)
    }

    fn judge(&self, attenuation: f32, is_voice: bool) -> Loudness {
        let level = -attenuation;
        let above = level - self.noise;
        let is_speech = above >= SPEECH_DB && (is_voice || !self.marks_voice);
        Loudness { level: level as i8, speech: if is_speech { above as u8 } else { 0 } }
    }

    /// Follows the quietest that was heard: at once downwards, slowly upwards, so that pauses between words count and
    /// words do not.
    fn learn_noise(&mut self, level: f32) {
        let noise = if level < self.noise { level } else { self.noise + NOISE_RISE_DB };
        self.noise = noise.min(level).clamp(QUIETEST_NOISE, LOUDEST_NOISE);
    }
}

/// By how much speech is louder than noise, in dB.
const SPEECH_DB: f32 = 10.0;

/// Rise of the noise in a step, in dB: 1 dB a second.
const NOISE_RISE_DB: f32 = 0.1;

/// Lowest noise that is assumed, in dBov: microphones with noise suppression send digital silence between words, and
/// what is a little above that is no speech.
const QUIETEST_NOISE: f32 = -65.0;

/// Highest noise that is assumed, in dBov: what is much louder for a long time is music, and is heard.
const LOUDEST_NOISE: f32 = -45.0;
