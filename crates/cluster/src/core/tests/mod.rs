//! Tests of the core: single calls and stories, every schedule with a few faults, and random schedules with many.

mod calls;
mod gone;
mod schedules;
mod store;
mod stories;
mod world;
