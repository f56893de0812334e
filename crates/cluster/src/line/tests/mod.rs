//! Lines against a network that loses, duplicates and reorders.

mod nodes;
mod schedules;
mod stories;
mod world;
