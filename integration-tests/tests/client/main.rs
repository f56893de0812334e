//! The client for browsers (`callboard.js`), in browsers.

mod calling;
mod joining;
mod page;
mod proxy;
mod reconnecting;
mod resuming;
mod server;
