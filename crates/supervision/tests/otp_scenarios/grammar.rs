//! Test of the runner itself: it must reject wrong scenarios, and name the reason.

use serde_json::{Value, json};

use crate::judge;
use crate::play::Verdict;

/// Plays wrong scenarios and a right one; returns the wrong verdicts.
pub(crate) fn wrong_verdicts() -> Vec<String> {
    let mut wrong = Vec::new();
    let right = with(|_| {});
    if !matches!(judge(&right).1, Verdict::Holds) {
        wrong.push("runner: a scenario that holds is said not to".to_owned());
    }
    for (word, change) in UNKNOWN {
        match judge(&with(change)).1 {
            Verdict::NotUnderstood(what) if what.contains(word) => {}
            verdict => wrong.push(format!("runner: unknown word `{word}`: {verdict:?}")),
        }
    }
    for (what, change) in DIFFERENT {
        let verdict = judge(&with(change)).1;
        if !matches!(verdict, Verdict::Differs(_)) {
            wrong.push(format!("runner: {what} passes: {verdict:?}"));
        }
    }
    wrong
}

/// Returns a scenario that holds, after a change to it.
fn with(change: impl FnOnce(&mut Value)) -> Value {
    let mut scenario = json!({
        "id": "RIGHT", "title": "a crash", "sup": {"intensity": 2},
        "children": [{"id": "a", "on_stop": ["delay", 300]}, {"id": "b"}],
        "plan": {"b": ["ok"]},
        "steps": ["b exits crash", "terminate_child(a)"],
        "trace": [
            "start a#1", "start b#1", "-- supervisor started",
            "> b exits crash", "down b#1 crash", "start b#2",
            "> terminate_child(a)", "down a#1 shutdown", "= ok",
        ],
    });
    change(&mut scenario);
    scenario
}

type Change = fn(&mut Value);

/// Changes that make a scenario wrong, each with the word that the verdict must name.
const UNKNOWN: [(&str, Change); 12] = [
    ("links", |s| s["links"] = json!(["a"])),
    ("priority", |s| s["children"][1]["priority"] = json!(3)),
    ("hibernate", |s| s["sup"]["hibernate"] = json!(true)),
    ("explode", |s| s["plan"]["b"] = json!(["explode"])),
    ("explode", |s| s["steps"][0] = json!("next starts of b will be ok,explode")),
    ("dance", |s| s["children"][0]["on_stop"] = json!(["dance", 3])),
    ("soon", |s| s["children"][0]["on_stop"] = json!(["delay", "soon"])),
    ("b hops", |s| s["steps"][0] = json!("b hops")),
    ("which_child", |s| s["steps"][0] = json!("which_child")),
    ("eagerly", |s| s["steps"][0] = json!("start_child(c,eagerly)")),
    ("zoe", |s| s["steps"][0] = json!("zoe exits crash")),
    ("Very Bad", |s| s["steps"][0] = json!("b exits Very Bad")),
];

const DIFFERENT: [(&str, Change); 4] = [
    ("an end that did not come", |s| s["trace"][5] = json!("down a#1 shutdown")),
    ("another reason", |s| s["trace"][4] = json!("down b#1 other")),
    ("a line too few in the recording", |s| _ = s["trace"].as_array_mut().map(|t| t.remove(5))),
    ("a line too many in the recording", |s| {
        _ = s["trace"].as_array_mut().map(|t| t.insert(6, json!("start b#3")));
    }),
];
