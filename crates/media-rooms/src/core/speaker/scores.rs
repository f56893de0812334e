//! Speech scores of three windows (Volfin and Cohen 2013): how much likelier what was observed is if the participant
//! speaks than if it does not.

/// Steps of one voice in which there was speech, as bits, the latest lowest.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct History {
    /// Bands of [`BAND_DB`] above the noise in the latest step.
    bands: u8,
    /// Steps with speech.
    steps: u32,
    /// Steps in which the medium window before them was mostly speech.
    mediums: u32,
    /// Steps until a voice that was given a place may lose it for silence.
    held: u8,
}

impl History {
    /// Steps that are remembered: the longest window, and the time after which a silent voice is no more forwarded.
    pub(super) const STEPS: u32 = 20;

    /// Adds a step with speech so many dB above the noise.
    pub(super) fn push(&mut self, speech: u8) {
        self.bands = (speech / BAND_DB).min(IMMEDIATE as u8);
        self.steps = (self.steps << 1 | u32::from(speech > 0)) & mask(Self::STEPS as usize);
        let is_medium = self.medium() >= MEDIUM_SPEECH;
        self.mediums = (self.mediums << 1 | u32::from(is_medium)) & mask(LONG);
        self.held = self.held.saturating_sub(1);
    }

    /// Keeps the voice from being [blank](Self::is_blank) as if it had spoken now.
    pub(super) fn hold(&mut self) {
        self.held = Self::STEPS as u8;
    }

    /// Returns whether there was speech in the latest step.
    pub(super) fn is_active(&self) -> bool {
        self.steps & 1 == 1
    }

    /// Returns whether there was speech in the medium window.
    pub(super) fn speaks(&self) -> bool {
        self.medium() > 0
    }

    /// Returns whether there was no speech in any window.
    pub(super) fn is_blank(&self) -> bool {
        self.steps == 0 && self.mediums == 0 && self.held == 0
    }

    fn medium(&self) -> usize {
        (self.steps & mask(MEDIUM)).count_ones() as usize
    }

    fn long(&self) -> usize {
        self.mediums.count_ones() as usize
    }
}

/// Scores of all counts that a window can have.
#[derive(Debug)]
pub(super) struct Scores {
    immediate: [f32; IMMEDIATE + 1],
    medium: [f32; MEDIUM + 1],
    long: [f32; LONG + 1],
}

impl Scores {
    pub(super) fn new() -> Self {
        Self {
            immediate: table(IMMEDIATE_RATE),
            medium: table(MEDIUM_RATE),
            long: table(LONG_RATE),
        }
    }

    /// Returns the score of the medium window.
    pub(super) fn medium(&self, voice: &History) -> f32 {
        self.medium[voice.medium()]
    }

    /// Returns by how much a voice beats the dominant one in the medium window; none if it does not beat it in all.
    pub(super) fn advantage(&self, voice: &History, dominant: &History) -> Option<f32> {
        let ratio = |score: f32, other: f32| (score / other).ln();
        let immediate = ratio(
            self.immediate[usize::from(voice.bands)],
            self.immediate[usize::from(dominant.bands)],
        );
        let medium = ratio(self.medium(voice), self.medium(dominant));
        let long = ratio(self.long[voice.long()], self.long[dominant.long()]);
        let wins = immediate > IMMEDIATE_WIN && medium > MEDIUM_WIN && long > LONG_WIN;
        wins.then_some(medium)
    }
}

/// Calculates the scores of 0 to `N - 1` active parts of a window with `N - 1` parts: the logarithm of a binomial
/// likelihood with p = ½ (speech) over an exponential one (no speech), not below [`LEAST`].
fn table<const N: usize>(rate: f64) -> [f32; N] {
    let parts = N - 1;
    let mut choose = 0.0_f64; // ln C(parts, active)
    std::array::from_fn(|active| {
        if active > 0 {
            choose += ((parts - active + 1) as f64 / active as f64).ln();
        }
        let speech = choose - parts as f64 * std::f64::consts::LN_2;
        let silence = rate.ln() - rate * active as f64;
        ((speech - silence) as f32).max(LEAST)
    })
}

const fn mask(bits: usize) -> u32 {
    (1 << bits) - 1
}

/// Parts of the immediate window: bands above the noise in one step of 100 ms.
const IMMEDIATE: usize = 10;

/// Width of a band in dB.
const BAND_DB: u8 = 5;

/// Steps of the medium window: 0.5 s.
const MEDIUM: usize = 5;

/// Steps with speech that make a medium window one of speech.
const MEDIUM_SPEECH: usize = 3;

/// Steps of the long window: 1.5 s.
const LONG: usize = 15;

/// Rates of the exponential likelihoods of the three windows, as in the paper's experiments.
const IMMEDIATE_RATE: f64 = 0.78;
const MEDIUM_RATE: f64 = 24.0;
const LONG_RATE: f64 = 47.0;

/// Logarithms of the score ratios above which a window is won, as in the paper's experiments.
const IMMEDIATE_WIN: f32 = 3.0;
const MEDIUM_WIN: f32 = 2.0;
const LONG_WIN: f32 = 0.0;

/// Score of a window without speech.
const LEAST: f32 = 1e-10;
