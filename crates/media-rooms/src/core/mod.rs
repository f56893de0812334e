//! Cores of a media room: they take packets, numbers and `now`, do no I/O, and know no actors.

pub(crate) mod allocate;
mod av1;
pub(crate) mod frames;
mod h264;
pub(crate) mod hold;
pub(crate) mod keyframes;
pub(crate) mod layers;
pub(crate) mod packet;
pub(crate) mod red;
pub(crate) mod reports;
pub(crate) mod rewrite;
mod shifts;
pub(crate) mod speaker;
pub(crate) mod switch;
pub(crate) mod traffic;
pub(crate) mod voices;
mod vp8;
mod vp9;
