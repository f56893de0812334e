//! The client for browsers (`callboard.js`), tested in real browsers.

mod calling;
mod closing;
mod elsewhere;
mod giving_up;
mod joining;
mod moving;
mod nodes;
mod offered;
mod page;
mod proxy;
mod publishing;
mod reconnecting;
mod resuming;
mod scripted;
mod server;
mod stopping;
mod streams;
mod waking;
mod watching;
