//! Tests of str0m's behaviour that the design relies on, and that its documentation does not describe.
//!
//! Each test pins down one observed behaviour of str0m, right or wrong. A test that fails after an upgrade means that
//! str0m has changed, and that what relies on the old behaviour must be considered again.

#![allow(clippy::disallowed_methods, reason = "simulated time starts at one real instant per wire")]

mod channels;
mod descriptions;
mod hostile;
mod ice;
mod loss;
mod media;
mod negotiation;
mod text;
mod wire;
