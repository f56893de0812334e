//! Tests of the core: single stories, every schedule with a few faults, and random schedules with many.

mod schedules;
mod stories;
mod world;
