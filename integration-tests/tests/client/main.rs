//! The client for browsers (`callboard.js`), in browsers.

mod joining;
mod page;
mod proxy;
mod reconnecting;
mod server;
