//! Policies of supervisors and children, in the words of OTP, and the ids of children.
//!
//! The enums are exhaustive: OTP's sets of words are closed, and a program may want to match all of one.

use std::any::Any;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::error::ParsePolicyError;

/// Restart strategy: the children that are restarted when one child fails.
///
/// In these examples `b`, the second of three, fails:
///
/// ```
/// use actix::prelude::*;
/// use callboard_supervision::*;
///
/// struct Idle;
///
/// impl Actor for Idle {
///     type Context = Context<Self>;
/// }
///
/// /// What happens when `b` panics, as `down c, start b, …`.
/// async fn log_of(flags: Flags, length: usize) -> String {
///     let root = SupervisorSpec::new(flags)
///         .child(ChildSpec::new("a", || Idle))
///         .child(ChildSpec::new("b", || Idle))
///         .child(ChildSpec::new("c", || Idle))
///         .start()
///         .await
///         .unwrap();
///     let mut events = root.events();
///     root.inject("b", Fault::Panic("oh".into())).await.unwrap();
///     let mut log = Vec::new();
///     while log.len() < length {
///         let event = events.recv().await.unwrap();
///         let what = if event.what == Lifecycle::Started { "start" } else { "down" };
///         log.push(format!("{what} {}", event.path.name()));
///     }
///     root.stop().await;
///     log.join(", ")
/// }
///
/// # #[actix::main]
/// # async fn main() {
/// assert_eq!(log_of(Flags::one_for_one(), 2).await, "down b, start b");
/// assert_eq!(
///     log_of(Flags::one_for_all(), 6).await,
///     "down b, down c, down a, start a, start b, start c"
/// );
/// assert_eq!(log_of(Flags::rest_for_one(), 4).await, "down b, down c, start b, start c");
/// # }
/// ```
///
/// The fourth, `simple_one_for_one`, is [`SupervisorSpec::dynamic`](crate::SupervisorSpec::dynamic).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "OTP's")]
pub enum Strategy {
    /// Only the child that failed. For children that do not need each other.
    #[default]
    OneForOne,
    /// All children: the others are stopped in reverse order, then all start in order. For children that share a
    /// state which is lost with any of them.
    OneForAll,
    /// The child that failed and those started after it, which are stopped in reverse order first. For children
    /// that depend on the earlier ones.
    RestForOne,
}

/// Restart type: the ends after which a child is restarted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "OTP's")]
pub enum Restart {
    /// Always, also after a normal end.
    #[default]
    Permanent,
    /// Only after an abnormal end ([`ExitReason::is_abnormal`](crate::ExitReason::is_abnormal)).
    Transient,
    /// Never; its spec is forgotten when it ends (but see [`ChildSpec::retries`](crate::ChildSpec::retries)).
    Temporary,
}

/// Way to stop a child, and its time limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "OTP's")]
pub enum Shutdown {
    /// The child is dropped at once, without a callback.
    BrutalKill,
    /// The child is asked to stop, and dropped if it has not stopped within this time.
    Timeout(Duration),
    /// The child is asked to stop, without a time limit. For supervisors.
    Infinity,
}

/// Automatic shutdown: whether a supervisor ends when its [significant](crate::ChildSpec::significant) children have
/// ended by themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "OTP's")]
pub enum AutoShutdown {
    /// No; significant children are refused.
    #[default]
    Never,
    /// When the first of them has ended and is not restarted.
    AnySignificant,
    /// When the last of them has ended and is not restarted.
    AllSignificant,
}

/// Kind of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "OTP's")]
pub enum ChildKind {
    /// An actor that does the work.
    Worker,
    /// A supervisor with children of its own.
    Supervisor,
}

/// Flags of one supervisor (OTP: `supervisor:sup_flags()`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Flags {
    /// Children that are restarted when one child fails. Default: [`Strategy::OneForOne`].
    pub strategy: Strategy,
    /// Number of restarts allowed within [`period`](Self::period); one more ends the supervisor. Default: 1.
    pub intensity: u32,
    /// Window in which restarts are counted; a restart exactly this old still counts. Default: 5 s. Never zero.
    pub period: Duration,
    /// Whether the end of significant children ends the supervisor. Default: [`AutoShutdown::Never`].
    pub auto_shutdown: AutoShutdown,
}

impl Default for Flags {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            intensity: DEFAULT_INTENSITY,
            period: DEFAULT_PERIOD,
            auto_shutdown: AutoShutdown::default(),
        }
    }
}

impl Flags {
    /// Returns flags with [`Strategy::OneForOne`] and the defaults.
    pub fn one_for_one() -> Self {
        Self::default()
    }

    /// Returns flags with [`Strategy::OneForAll`] and the defaults.
    pub fn one_for_all() -> Self {
        Self { strategy: Strategy::OneForAll, ..Self::default() }
    }

    /// Returns flags with [`Strategy::RestForOne`] and the defaults.
    pub fn rest_for_one() -> Self {
        Self { strategy: Strategy::RestForOne, ..Self::default() }
    }

    /// Sets the limit: `intensity` restarts within `period`.
    pub fn intensity(self, intensity: u32, period: Duration) -> Self {
        Self { intensity, period, ..self }
    }

    /// Sets whether the end of significant children ends the supervisor.
    pub fn auto_shutdown(self, auto_shutdown: AutoShutdown) -> Self {
        Self { auto_shutdown, ..self }
    }
}

/// Pause before each restart, so that a child which fails at once does not spin (ours; OTP restarts at once).
///
/// The `n`-th restart in a row waits `first × factorⁿ⁻¹`, at most `max`, shortened by up to `jitter` of itself at
/// random. An instance that ran for `reset_after` starts the row anew.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Backoff {
    /// Pause before the first restart. Default: 100 ms.
    pub first: Duration,
    /// Factor by which each further pause is multiplied. Default: 2.
    pub factor: f64,
    /// Longest pause. Default: 10 s.
    pub max: Duration,
    /// Largest share of a pause that is taken off at random, 0 to 1. Default: 0.2.
    pub jitter: f64,
    /// Time that an instance must have run for the row to start anew. Default: 30 s.
    pub reset_after: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(100),
            factor: 2.0,
            max: Duration::from_secs(10),
            jitter: 0.2,
            reset_after: Duration::from_secs(30),
        }
    }
}

impl Backoff {
    /// Sets the pause before the first restart.
    pub fn first(self, first: Duration) -> Self {
        Self { first, ..self }
    }

    /// Sets the factor by which each further pause is multiplied; less than 1 counts as 1.
    pub fn factor(self, factor: f64) -> Self {
        Self { factor, ..self }
    }

    /// Sets the longest pause.
    pub fn max(self, max: Duration) -> Self {
        Self { max, ..self }
    }

    /// Sets the largest share of a pause that is taken off at random, 0 to 1.
    pub fn jitter(self, jitter: f64) -> Self {
        Self { jitter, ..self }
    }

    /// Sets the time that an instance must have run for the row to start anew.
    pub fn reset_after(self, reset_after: Duration) -> Self {
        Self { reset_after, ..self }
    }

    /// Returns the pause before the `nth` restart in a row (1 is the first); `chance` is between 0 and 1.
    pub(crate) fn pause(&self, nth: u32, chance: f64) -> Duration {
        let longest = self.max.as_secs_f64();
        let grown =
            self.first.as_secs_f64() * self.factor.max(1.0).powf(f64::from(nth.saturating_sub(1)));
        let pause = grown.min(longest) * (1.0 - self.jitter.clamp(0.0, 1.0) * chance);
        Duration::try_from_secs_f64(pause).unwrap_or(self.max)
    }
}

/// Policy by which a supervisor starts, restarts and stops a child; set through [`ChildSpec`](crate::ChildSpec).
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct ChildPolicy {
    /// Worker or supervisor.
    pub kind: ChildKind,
    /// Restart type. Default: [`Restart::Permanent`].
    pub restart: Restart,
    /// Way to stop the child. Default: within 5 s for a worker, [`Shutdown::Infinity`] for a supervisor.
    pub shutdown: Shutdown,
    /// Whether the child's end may end its supervisor. Default: no.
    pub significant: bool,
    /// Pause before each restart. Default: none.
    pub backoff: Option<Backoff>,
    /// Number of restarts of the child alone, although it is temporary. Default: 0.
    pub retries: u32,
    /// Longest time for a start. Default: 30 s; for a supervisor as long as its children take.
    pub start_timeout: Duration,
}

/// Name of a child among its siblings.
pub type ChildId = Arc<str>;

/// Value that a start function hands to the caller of [`start_child`](crate::SupervisorRef::start_child).
pub type StartInfo = Box<dyn Any + Send>;

/// Key of a child in its supervisor; the order of the keys is the start order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key(pub(crate) u64);

/// Number of one start of a child; distinguishes the reports of its instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Attempt(pub(crate) u64);

/// Implements `Display` and `FromStr` for a type, in OTP's spelling.
macro_rules! spelled {
    ($type:ty, $what:literal, $($word:literal = $value:expr),+ $(,)?) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $(if *self == $value { return f.write_str($word); })+
                Ok(())
            }
        }

        impl FromStr for $type {
            type Err = ParsePolicyError;

            fn from_str(word: &str) -> Result<Self, ParsePolicyError> {
                match word {
                    $($word => Ok($value),)+
                    _ => Err(ParsePolicyError { what: $what, word: word.to_owned() }),
                }
            }
        }
    };
}

spelled!(
    Strategy,
    "strategy",
    "one_for_one" = Strategy::OneForOne,
    "one_for_all" = Strategy::OneForAll,
    "rest_for_one" = Strategy::RestForOne,
);
spelled!(
    Restart,
    "restart type",
    "permanent" = Restart::Permanent,
    "transient" = Restart::Transient,
    "temporary" = Restart::Temporary,
);
spelled!(
    AutoShutdown,
    "auto shutdown",
    "never" = AutoShutdown::Never,
    "any_significant" = AutoShutdown::AnySignificant,
    "all_significant" = AutoShutdown::AllSignificant,
);
spelled!(
    ChildKind,
    "child type",
    "worker" = ChildKind::Worker,
    "supervisor" = ChildKind::Supervisor,
);

impl fmt::Display for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shutdown::BrutalKill => f.write_str("brutal_kill"),
            Shutdown::Infinity => f.write_str("infinity"),
            Shutdown::Timeout(timeout) => write!(f, "{}", timeout.as_millis()),
        }
    }
}

impl FromStr for Shutdown {
    type Err = ParsePolicyError;

    /// Parses `brutal_kill`, `infinity`, or a whole number of milliseconds.
    fn from_str(word: &str) -> Result<Self, ParsePolicyError> {
        match word {
            "brutal_kill" => Ok(Shutdown::BrutalKill),
            "infinity" => Ok(Shutdown::Infinity),
            _ => match word.parse() {
                Ok(millis) => Ok(Shutdown::Timeout(Duration::from_millis(millis))),
                Err(_) => Err(ParsePolicyError { what: "shutdown", word: word.to_owned() }),
            },
        }
    }
}

/// OTP's default of the intensity: one restart …
const DEFAULT_INTENSITY: u32 = 1;
/// … in a period of five seconds.
const DEFAULT_PERIOD: Duration = Duration::from_secs(5);
/// Longest time for a worker's stop, as in OTP.
pub(crate) const DEFAULT_SHUTDOWN: Shutdown = Shutdown::Timeout(Duration::from_secs(5));
/// Longest time for a worker's start.
pub(crate) const START_TIMEOUT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_spelled_as_in_otp_both_ways() {
        for word in ["one_for_one", "one_for_all", "rest_for_one"] {
            assert_eq!(word.parse::<Strategy>().unwrap().to_string(), word);
        }
        for word in ["brutal_kill", "infinity", "250"] {
            assert_eq!(word.parse::<Shutdown>().unwrap().to_string(), word);
        }
        assert_eq!(
            "prmanent".parse::<Restart>().unwrap_err().to_string(),
            "invalid restart type: `prmanent`"
        );
        assert!("-1".parse::<Shutdown>().is_err());
    }

    #[test]
    fn a_pause_grows_to_its_maximum_and_chance_only_shortens_it() {
        let backoff = Backoff { jitter: 0.5, ..Backoff::default() };
        assert_eq!(backoff.pause(1, 0.0), Duration::from_millis(100));
        assert_eq!(backoff.pause(3, 0.0), Duration::from_millis(400));
        assert_eq!(backoff.pause(3, 1.0), Duration::from_millis(200));
        assert_eq!(backoff.pause(u32::MAX, 0.0), backoff.max);
    }
}
