//! History of a run of several nodes: what clients, nodes, and the run that breaks them have seen, on one clock, and a
//! check of what must be true of it.
//!
//! A history is one file or several, one for each process. Each line is a JSON object ([`Line`]) with `t`, the time in
//! nanoseconds of the machine's monotonic clock; `by`, the name of the client, node or run; and `is`, what it is
//! ([`Event`]), with fields of its own. The first line of each file is `begin`, with the [`VERSION`] of the format. The
//! last line may be cut off: its process was killed.
//!
//! ```json
//! {"t":71,"by":"ann","is":"begin","version":1}
//! {"t":72,"by":"ann","is":"asks","socket":1,"room":"demo","node":"a1"}
//! {"t":75,"by":"ann","is":"in","socket":1,"room":"demo","peer":"P1","peers":[]}
//! {"t":90,"by":"ann","is":"got","from":"P2","client":"bob","n":1}
//! ```
//!
//! What is told is written after it was seen; what is done is written before it is done. So what a history shows has
//! happened, and the check says nothing wrong, whenever a process stands still.
//!
//! [`check()`] goes through the lines once, in the order of their times, and names each [`Invariant`] that is violated,
//! with the lines that show it. `load check FILE…` does so for files.

mod check;
mod line;
mod record;

pub use check::{Invariant, Violation, check};
pub use line::{Bounds, Event, FaultKind, Line, OnLapse, Phase, ReadError, VERSION, read};
pub use record::{Recorder, now};
