//! Scenarios in their written form, parsed once: an unknown word is an error that names it.

use std::collections::BTreeMap;
use std::time::Duration;

use callboard_supervision::*;
use serde::Deserialize;
use serde_json::Value;

use crate::script::{self, Line};

/// Scenario: its set-up, its steps, and the behaviour of OTP's supervisor.
#[derive(Clone)]
pub(crate) struct Scenario {
    pub(crate) title: String,
    /// Whether OTP did the same in every recording.
    pub(crate) stable: bool,
    pub(crate) sup: Options,
    pub(crate) children: Vec<Child>,
    pub(crate) plan: BTreeMap<String, Vec<Outcome>>,
    pub(crate) steps: Vec<Line>,
    pub(crate) trace: Vec<String>,
}

/// Form of a scenario in the file. Any other field is an unknown word.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(rename = "id")]
    _id: String,
    title: String,
    /// Place in OTP's own test suite from which it comes.
    #[serde(default, rename = "suite")]
    _suite: String,
    #[serde(default, rename = "why")]
    _why: String,
    #[serde(default = "yes")]
    stable: bool,
    #[serde(default)]
    sup: Options,
    #[serde(default)]
    children: Vec<Child>,
    #[serde(default)]
    plan: BTreeMap<String, Vec<Value>>,
    #[serde(default)]
    steps: Vec<String>,
    trace: Vec<String>,
}

/// Words and numbers by name, not checked yet: some scenarios test wrong ones.
pub(crate) type Options = BTreeMap<String, Value>;

#[derive(Clone, Deserialize)]
pub(crate) struct Child {
    pub(crate) id: String,
    /// Flags, if the child is a supervisor.
    pub(crate) supervisor: Option<Options>,
    #[serde(default)]
    pub(crate) kids: Vec<Child>,
    #[serde(flatten)]
    pub(crate) options: Options,
}

/// Outcome of the next start of a child.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    Ok,
    Error,
    Panic,
    Ignore,
    Info,
    Garbage,
    Hang(Duration),
}

/// Behaviour of a child that is asked to stop.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum OnStop {
    AtOnce,
    Delay(Duration),
    Ignore,
    Exit(ExitReason),
}

/// Reason why a specification cannot be used.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Refused {
    /// OTP refuses it with this word, such as `invalid_strategy`; here the parser does, before a supervisor gets it.
    Class(String),
    /// This option does not exist here, so it cannot be wrong.
    NoSuchOption(String),
    /// Text that is no word of these scenarios.
    NotUnderstood(String),
}

/// Returns the name of a scenario, also of one that cannot be read.
pub(crate) fn id(scenario: &Value) -> &str {
    scenario.get("id").and_then(Value::as_str).unwrap_or("a scenario without an id")
}

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    /// The first word that is unknown, with its place.
    pub(crate) fn read(written: &Value) -> Result<Self, String> {
        let written = Written::deserialize(written).map_err(|error| error.to_string())?;
        let Written { title, stable, sup, children, plan, steps, trace, .. } = written;
        let mut outcomes = BTreeMap::new();
        for (id, plan) in plan {
            let plan: Result<_, _> = plan.iter().map(|word| outcome(&term(word))).collect();
            outcomes.insert(id, plan?);
        }
        let steps = steps.iter().map(|step| script::read(step)).collect::<Result<_, _>>()?;
        Ok(Self { title, stable, sup, children, plan: outcomes, steps, trace })
    }
}

/// Returns a supervisor's flags, and whether it is dynamic.
pub(crate) fn flags(options: &Options) -> Result<(Flags, bool), Refused> {
    let mut flags = Flags::default();
    let mut dynamic = false;
    for (name, value) in options {
        let word = term(value);
        let invalid = |what: &str| Refused::Class(format!("invalid_{what}"));
        match name.as_str() {
            "strategy" if word == "simple_one_for_one" => dynamic = true,
            "strategy" => flags.strategy = word.parse().map_err(|_| invalid("strategy"))?,
            "intensity" => flags.intensity = word.parse().map_err(|_| invalid("intensity"))?,
            "period" => {
                flags.period = Duration::from_secs(word.parse().map_err(|_| invalid("period"))?);
            }
            "auto_shutdown" => {
                flags.auto_shutdown = word.parse().map_err(|_| invalid("auto_shutdown"))?
            }
            other => return Err(Refused::NoSuchOption(other.to_owned())),
        }
    }
    Ok((flags, dynamic))
}

/// Applies these options to the child's spec.
pub(crate) fn with_options(mut spec: ChildSpec, options: &Options) -> Result<ChildSpec, Refused> {
    for (name, value) in options {
        let word = term(value);
        let invalid = |what: &str| Refused::Class(format!("invalid_{what}"));
        spec = match name.as_str() {
            "restart" => spec.restart(word.parse().map_err(|_| invalid("restart_type"))?),
            "shutdown" => spec.shutdown(word.parse().map_err(|_| invalid("shutdown"))?),
            "significant" => spec.significant(word.parse().map_err(|_| invalid("significant"))?),
            "type" => word.parse::<ChildKind>().map(|_| spec).map_err(|_| invalid("child_type"))?,
            "on_stop" => spec,
            other => return Err(Refused::NoSuchOption(other.to_owned())),
        };
    }
    Ok(spec)
}

pub(crate) fn on_stop(options: &Options) -> Result<OnStop, Refused> {
    let Some(value) = options.get("on_stop") else { return Ok(OnStop::AtOnce) };
    let text = term(value);
    let unknown = || Refused::NotUnderstood(format!("on_stop `{text}`"));
    Ok(match parts(&text)[..] {
        ["delay", millis] => OnStop::Delay(number(millis).ok_or_else(unknown)?),
        ["ignore"] => OnStop::Ignore,
        ["exit", why] => OnStop::Exit(reason(why).map_err(Refused::NotUnderstood)?),
        ["stop" | "ok" | "at_once"] => OnStop::AtOnce,
        _ => return Err(unknown()),
    })
}

/// Parses the outcome of a start in a plan.
///
/// # Errors
/// The unknown word.
pub(crate) fn outcome(text: &str) -> Result<Outcome, String> {
    let unknown = || format!("outcome `{text}`");
    Ok(match parts(text)[..] {
        ["ok"] => Outcome::Ok,
        ["error"] => Outcome::Error,
        ["panic"] => Outcome::Panic,
        ["ignore"] => Outcome::Ignore,
        ["info"] => Outcome::Info,
        ["garbage"] => Outcome::Garbage,
        ["hang", millis] => Outcome::Hang(number(millis).ok_or_else(unknown)?),
        _ => return Err(unknown()),
    })
}

/// Parses a reason in the spelling of the scenarios: a word, `shutdown(x)`, or a tuple `{shutdown,x}`.
///
/// # Errors
/// The text that is none of these.
pub(crate) fn reason(text: &str) -> Result<ExitReason, String> {
    let text = text.trim();
    let inner = text.strip_prefix("shutdown(").and_then(|rest| rest.strip_suffix(')'));
    if let Some(why) = inner {
        return Ok(ExitReason::Shutdown(Some(why.to_owned())));
    }
    Ok(match parts(text)[..] {
        ["shutdown", why] => ExitReason::Shutdown(Some(why.to_owned())),
        ["normal"] => ExitReason::Normal,
        ["shutdown"] => ExitReason::SHUTDOWN,
        ["killed" | "kill"] => ExitReason::Killed,
        ["crash" | "panic"] => ExitReason::Panic("crash".into()),
        // Any other atom or tuple is a reason that the child chose.
        [atom] if is_atom(atom) => ExitReason::Error(atom.to_owned()),
        [tag, ..] if is_atom(tag) && text.starts_with('{') => ExitReason::Error(text.to_owned()),
        _ => return Err(format!("reason `{text}`")),
    })
}

/// Returns a reason in the spelling of the recordings.
pub(crate) fn class(reason: &ExitReason) -> String {
    match reason {
        ExitReason::Panic(_) => "crash".into(),
        ExitReason::Error(why) if is_atom(why) => why.clone(),
        ExitReason::Error(_) => "crash".into(),
        // A supervisor that gives up reports this to its own supervisor, as in OTP.
        ExitReason::ReachedMaxRestartIntensity => "shutdown".into(),
        other => other.to_string(),
    }
}

/// Splits at the commas that stand in no bracket.
pub(crate) fn split(list: &str) -> Vec<&str> {
    let mut depth = 0;
    list.split(|c: char| {
        depth += match c {
            '{' | '(' | '[' => 1,
            '}' | ')' | ']' => -1,
            _ => 0,
        };
        c == ',' && depth == 0
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
    .collect()
}

pub(crate) fn is_atom(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_@".contains(c))
}

/// Returns a value in Erlang's spelling: an array is a tuple.
fn term(value: &Value) -> String {
    match value {
        Value::Array(parts) => {
            format!("{{{}}}", parts.iter().map(term).collect::<Vec<_>>().join(","))
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Returns the parts of a tuple; any other text is one part.
fn parts(text: &str) -> Vec<&str> {
    match text.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        Some(inner) => split(inner),
        None => vec![text.trim()],
    }
}

fn number(millis: &str) -> Option<Duration> {
    millis.parse().ok().map(Duration::from_millis)
}

fn yes() -> bool {
    true
}
