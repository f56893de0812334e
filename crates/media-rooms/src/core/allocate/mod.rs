//! Allocation of a viewer's bandwidth: an estimate and what the viewer wishes in, a layer for each track out.
//!
//! Audio is not allocated: its bitrate is taken off the budget before.

mod bitrate;
mod guide;
mod ladder;
mod speaker_first;
mod starvation;
mod targets;
#[cfg(test)]
mod tests;

pub use bitrate::Bitrate;
pub(crate) use guide::Guide;
pub use speaker_first::SpeakerFirst;
use starvation::Starvation;
pub(crate) use targets::Targets;

/// Policy by which one viewer's bandwidth is divided among the video tracks that it watches. Each viewer has an
/// allocator of its own. The default is [`SpeakerFirst`].
///
/// It is called whenever the estimate, the wishes, the speaker or the layers of a track have changed. It must not
/// block. If it panics, this viewer's subscriber restarts with a new allocator; no one else notices.
pub trait Allocator: Send + 'static {
    /// Fills `grants`, which is empty, with one grant for each demand, in the same order. `budget` is the estimate of
    /// the bandwidth to the viewer without what audio takes; an allocator should leave a margin.
    ///
    /// Where it grants less than the budget bears, no bandwidth is looked for beyond what it grants.
    ///
    /// Demands for which there is no grant, or one of a layer that does not exist, are paused.
    fn allocate(&mut self, budget: Bitrate, demands: &[Demand], grants: &mut Vec<Grant>);
}

/// One video track that a viewer watches, as its [`Allocator`] sees it. Demands come in the order that the viewer
/// prefers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Demand {
    /// Whether the track's publisher is the dominant speaker.
    pub is_speaker: bool,
    /// Wish of the viewer for this track.
    pub wish: Wish,
    /// Layers that the track has at the moment, in ascending quality.
    pub layers: Vec<Layer>,
    /// Index in `layers` of the layer that was granted last; none if the track is paused or that layer is gone.
    pub current: Option<usize>,
}

impl Demand {
    /// Creates a demand for a camera with these layers. None was granted yet.
    pub fn new(layers: Vec<Layer>) -> Self {
        Self { layers, ..Self::default() }
    }
}

/// Wish of a viewer for one track. The default is: as large and smooth as the track is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Wish {
    /// Height in pixels at which the track is shown. The lowest layer that reaches it is enough; none for the highest
    /// layer.
    pub height: Option<u32>,
    /// Frames per second that are enough; none for all.
    pub fps: Option<u32>,
    /// Priority: the higher comes first, as a screen that is shared or a pinned track. Default 0.
    pub priority: u8,
    /// Whether the track is not to flow at all. Default `false`.
    pub pause: bool,
}

impl Wish {
    /// Creates the wish for the lowest layer that has this height in pixels.
    pub fn height(height: u32) -> Self {
        Self { height: Some(height), ..Self::default() }
    }

    /// Creates the wish for nothing.
    pub fn pause() -> Self {
        Self { pause: true, ..Self::default() }
    }
}

/// Layer of a track that can be forwarded: a simulcast encoding, up to one of its temporal layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Layer {
    /// Index of the simulcast encoding in the publisher's offer; 0 without simulcast.
    pub encoding: usize,
    /// Highest temporal layer that is forwarded; 0 without temporal layers.
    pub temporal: u8,
    /// Measured bitrate, with all temporal layers below.
    pub bitrate: Bitrate,
    /// Height of its pictures in pixels; none if it is unknown.
    pub height: Option<u32>,
    /// Measured frames per second; none if they are unknown.
    pub fps: Option<u32>,
}

impl Layer {
    /// Creates the only temporal layer of an encoding.
    pub fn new(encoding: usize, bitrate: Bitrate) -> Self {
        Self { encoding, bitrate, ..Self::default() }
    }
}

/// Decision on one [`Demand`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Grant {
    /// Forward the layer with this index in [`Demand::layers`].
    Layer(usize),
    /// Forward nothing; the viewer is told so.
    Paused,
}

impl Grant {
    /// Returns the index of the granted layer.
    pub fn layer(self) -> Option<usize> {
        match self {
            Self::Layer(index) => Some(index),
            Self::Paused => None,
        }
    }
}

/// Asks an allocator, and pauses what it has not answered properly.
pub(crate) fn allocate(
    allocator: &mut dyn Allocator,
    budget: Bitrate,
    demands: &[Demand],
    grants: &mut Vec<Grant>,
) {
    grants.clear();
    allocator.allocate(budget, demands, grants);
    grants.resize(demands.len(), Grant::Paused);
    for (grant, demand) in grants.iter_mut().zip(demands) {
        if grant.layer().is_some_and(|layer| layer >= demand.layers.len()) {
            *grant = Grant::Paused;
        }
    }
}

/// Calculates the bitrate of all grants together.
fn total(demands: &[Demand], grants: &[Grant]) -> Bitrate {
    let granted = demands.iter().zip(grants);
    granted.filter_map(|(demand, grant)| Some(demand.layers[grant.layer()?].bitrate)).sum()
}
