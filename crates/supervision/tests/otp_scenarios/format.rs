//! The scenarios as they are written down.

use std::collections::BTreeMap;
use std::time::Duration;

use callboard_supervision::*;
use serde::Deserialize;
use serde_json::Value;

#[derive(Clone, Deserialize)]
pub(crate) struct Scenario {
    pub(crate) id: String,
    pub(crate) title: String,
    #[serde(default)]
    pub(crate) sup: Options,
    #[serde(default)]
    pub(crate) children: Vec<Child>,
    #[serde(default)]
    pub(crate) plan: BTreeMap<String, Vec<Value>>,
    #[serde(default)]
    pub(crate) steps: Vec<String>,
    pub(crate) trace: Vec<String>,
}

/// Words and numbers by name, not checked yet: wrong ones are what some scenarios are about.
pub(crate) type Options = BTreeMap<String, Value>;

#[derive(Clone, Deserialize)]
pub(crate) struct Child {
    pub(crate) id: String,
    /// A supervisor's flags.
    pub(crate) supervisor: Option<Options>,
    #[serde(default)]
    pub(crate) kids: Vec<Child>,
    #[serde(flatten)]
    pub(crate) options: Options,
}

/// What the next start of a child does.
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

/// What a child does when it is asked to stop.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum OnStop {
    AtOnce,
    Delay(Duration),
    Ignore,
    Exit(ExitReason),
}

/// A specification that OTP refuses; here the door does, before a supervisor sees it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Refused {
    /// OTP's word for it, such as `invalid_strategy`.
    Class(String),
    /// The option does not exist here, so there is nothing to get wrong.
    NoSuchOption(String),
}

/// A supervisor's flags, and whether it is dynamic.
pub(crate) fn flags(options: &Options) -> Result<(Flags, bool), Refused> {
    let mut flags = Flags::default();
    let mut dynamic = false;
    for (name, value) in options {
        let word = word(value);
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

/// Treat the child as its options say.
pub(crate) fn with_options(mut spec: ChildSpec, options: &Options) -> Result<ChildSpec, Refused> {
    for (name, value) in options {
        let word = word(value);
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

pub(crate) fn on_stop(options: &Options) -> OnStop {
    let parts: Vec<String> = match options.get("on_stop") {
        None => return OnStop::AtOnce,
        Some(Value::Array(parts)) => parts.iter().map(word).collect(),
        Some(one) => word(one).trim_matches(['{', '}']).split(',').map(str::to_owned).collect(),
    };
    match parts.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["delay", millis] => {
            OnStop::Delay(Duration::from_millis(millis.parse().expect("a delay in milliseconds")))
        }
        ["ignore"] => OnStop::Ignore,
        ["exit", why] => OnStop::Exit(reason(why)),
        ["stop" | "ok" | "at_once"] => OnStop::AtOnce,
        _ => panic!("on_stop: {parts:?}"),
    }
}

pub(crate) fn outcome(value: &Value) -> Option<Outcome> {
    let word = match value {
        Value::Array(parts) => parts.iter().map(word).collect::<Vec<_>>().join(","),
        one => word(one),
    };
    Some(match word.trim().trim_matches(['{', '}']).split(',').collect::<Vec<_>>()[..] {
        ["ok"] => Outcome::Ok,
        ["error"] => Outcome::Error,
        ["panic"] => Outcome::Panic,
        ["ignore"] => Outcome::Ignore,
        ["info"] => Outcome::Info,
        ["garbage"] => Outcome::Garbage,
        ["hang", millis] => Outcome::Hang(Duration::from_millis(millis.trim().parse().ok()?)),
        _ => return None,
    })
}

/// A reason as the scenarios spell it.
pub(crate) fn reason(word: &str) -> ExitReason {
    match word.trim() {
        "normal" => ExitReason::Normal,
        "shutdown" => ExitReason::SHUTDOWN,
        "killed" | "kill" => ExitReason::Killed,
        "crash" | "panic" => ExitReason::Panic("crash".into()),
        other => match other.strip_prefix("shutdown(").and_then(|rest| rest.strip_suffix(')')) {
            Some(why) => ExitReason::Shutdown(Some(why.to_owned())),
            None => ExitReason::Error(other.to_owned()),
        },
    }
}

/// A reason as a class: `crash` is a panic or an error.
pub(crate) fn class(reason: &ExitReason) -> String {
    match reason {
        ExitReason::Error(_) | ExitReason::Panic(_) => "crash".into(),
        other => other.to_string(),
    }
}

/// Split at the commas that stand in no bracket.
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

fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
