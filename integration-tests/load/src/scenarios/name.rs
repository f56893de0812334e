//! Names of the scenarios, with what they are measured with.

use std::fmt;

use super::Scenario;

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Idle { peers, connections: false } => write!(f, "idle {peers}"),
            Self::Idle { peers, connections: true } => write!(f, "idle {peers} with connections"),
            Self::Relay { pairs, seconds } => write!(f, "relay {pairs}, {seconds} s"),
            Self::Fanout { receivers, seconds } => write!(f, "fanout {receivers}, {seconds} s"),
            Self::Churn { peers, seconds } => write!(f, "churn {peers}, {seconds} s"),
            Self::Storm { peers } => write!(f, "storm {peers}"),
            Self::Recovery { peers, seconds, busy: 0 } => {
                write!(f, "recovery {peers}, {seconds} s")
            }
            Self::Recovery { peers, seconds, busy } => {
                write!(f, "recovery {peers}, {seconds} s, beside {busy} busy processes")
            }
            Self::Messages { seconds } => write!(f, "messages, {seconds} s"),
            Self::Connect { peers, at_once } => write!(f, "connect {peers}, {at_once} at once"),
            Self::Bystander { peers } => write!(f, "bystander {peers}"),
            Self::Crowd { peers, connections, seconds } => {
                write!(f, "crowd {peers} and {connections} connections, {seconds} s")
            }
            Self::Growth { of: None, .. } => f.write_str("growth"),
            Self::Growth { of: Some(axis), .. } => write!(f, "growth of {axis}"),
            Self::Rest { peers } => write!(f, "rest {peers}"),
            Self::Data { connections, window, sizes, seconds } => {
                write!(f, "data {connections} × {window} of {sizes:?} B, {seconds} s")
            }
            Self::Rtp { publishers, receivers, rate, burst, loss, seconds, .. } => {
                write!(f, "rtp {publishers} → {receivers}, ")?;
                match burst {
                    true => f.write_str("in bursts")?,
                    false => write!(f, "{rate}/s")?,
                }
                match loss {
                    0.0 => write!(f, ", {seconds} s"),
                    loss => write!(f, ", {loss} % lost, {seconds} s"),
                }
            }
            Self::Call { participants, seconds, .. } => {
                write!(f, "call {participants} × {}, {seconds} s", participants.saturating_sub(1))
            }
            Self::Late { viewers } => write!(f, "late {viewers}"),
            Self::Interrupt { participants, seconds, .. } => {
                write!(f, "interrupt {participants}, {seconds} s")
            }
            Self::Gather { participants, seconds } => {
                write!(f, "gather {participants}, {seconds} s")
            }
            Self::Saturate { viewers, seconds } => write!(f, "saturate {viewers}, {seconds} s"),
            Self::Soak { participants, minutes } => {
                write!(f, "soak {participants}, {minutes} min")
            }
            Self::Cut => f.write_str("cut"),
            Self::Switches { viewer, times, round_trip } => {
                write!(f, "switches {times} in {viewer}, {round_trip} ms")
            }
            Self::Arrivals { viewer, times, round_trip } => {
                write!(f, "arrivals {times} in {viewer}, {round_trip} ms")
            }
            Self::Restarts { times, round_trip } => write!(f, "restarts {times}, {round_trip} ms"),
        }
    }
}
