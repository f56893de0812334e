//! What the design leans on in str0m, and does not find in its documentation.
//!
//! Each test pins down what str0m was seen to do, right or wrong. One that fails after an upgrade says that str0m
//! changed, and names the probe of the design whose consequences have to be thought through again.

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
