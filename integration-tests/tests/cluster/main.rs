//! Nodes of a cluster around a real NATS server: what it does at its worst, and what becomes of nodes, costs time, and
//! no room is held twice.

mod gone;
mod lines;
mod nats;
mod processes;
