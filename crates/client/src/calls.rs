//! Core of the calls in both directions: which run, and how each ends.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::error::{CallFunctionError, ServerError};

/// Calls that run.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    last: u64,
    pending: BTreeSet<u64>,
    /// Names of the functions that the server may call.
    functions: BTreeSet<String>,
    /// Number of running calls by the server.
    running: usize,
}

/// What follows from a frame of the server.
#[derive(Debug, PartialEq)]
pub(crate) enum CallOutput {
    /// A call of this client has ended.
    Done(u64, Result<Value, CallFunctionError>),
    /// The server calls a function. The answer is due.
    Run { id: Value, function: String, args: Vec<Value> },
    /// A text to the server.
    Post(String),
    /// The server could not read a frame.
    Error(ServerError),
}

impl Calls {
    /// Begins a call; returns its number, and the text to the server.
    pub(crate) fn begin(&mut self, plugin: &str, function: &str, args: &Value) -> (u64, String) {
        #[derive(Serialize)]
        struct Call<'a> {
            r#type: &'static str,
            id: u64,
            plugin: &'a str,
            r#fn: &'a str,
            args: &'a Value,
        }
        self.last += 1;
        let id = self.last;
        self.pending.insert(id);
        let call = Call { r#type: "call_hook", id, plugin, r#fn: function, args };
        (id, serde_json::to_string(&call).expect("strings and values can be written as JSON"))
    }

    /// Ends a call whose caller has gone; returns the text to the server, if the call still ran.
    pub(crate) fn cancel(&mut self, id: u64) -> Option<String> {
        let text = || json!({ "type": "cancel_hook", "id": id }).to_string();
        self.pending.remove(&id).then(text)
    }

    /// Forgets all pending calls, which will not be answered; returns their numbers.
    pub(crate) fn lost(&mut self) -> BTreeSet<u64> {
        std::mem::take(&mut self.pending)
    }

    pub(crate) fn register(&mut self, function: &str) {
        self.functions.insert(function.to_owned());
    }

    pub(crate) fn unregister(&mut self, function: &str) {
        self.functions.remove(function);
    }

    /// Handles a frame; returns none if it is not one of RPC.
    pub(crate) fn handle(&mut self, frame: &mut Map<String, Value>) -> Option<Option<CallOutput>> {
        let output = match frame.get("type")?.as_str()? {
            "call_hook" => Some(self.handle_call(frame)),
            "hook_reply" => {
                let data = frame.remove("data").unwrap_or_default();
                self.ended(frame).map(|id| CallOutput::Done(id, Ok(data)))
            }
            "hook_error" => self.handle_error(frame),
            // The server no longer waits. The function runs on, and its answer is ignored.
            "cancel_hook" => None,
            _ => return None,
        };
        Some(output)
    }

    /// Ends a call by the server; returns the text that answers it.
    pub(crate) fn answer(&mut self, id: &Value, outcome: Result<Value, String>) -> String {
        self.running = self.running.saturating_sub(1);
        let text = match outcome {
            Ok(data) => json!({ "type": "hook_reply", "id": id, "data": data }).to_string(),
            Err(error) => refusal(id, &error),
        };
        if text.len() > MAX_ANSWER { refusal(id, "too_large") } else { text }
    }

    fn handle_call(&mut self, frame: &mut Map<String, Value>) -> CallOutput {
        let id = frame.remove("id").unwrap_or_default();
        let function = match frame.remove("fn") {
            Some(Value::String(function)) if self.functions.contains(&function) => function,
            _ => return CallOutput::Post(refusal(&id, "unknown_function")),
        };
        let args = match frame.remove("args") {
            Some(Value::Array(args)) => args,
            None => Vec::new(),
            Some(_) => return CallOutput::Post(refusal(&id, "invalid_args")),
        };
        if self.running >= MAX_RUNNING {
            return CallOutput::Post(refusal(&id, "overloaded"));
        }
        self.running += 1;
        CallOutput::Run { id, function, args }
    }

    fn handle_error(&mut self, frame: &mut Map<String, Value>) -> Option<CallOutput> {
        let error = match frame.remove("error") {
            Some(Value::String(error)) => error,
            _ => "unknown".to_owned(),
        };
        if frame.get("id").is_none_or(Value::is_null) {
            return Some(CallOutput::Error(ServerError::new(&error, Value::Null)));
        }
        let id = self.ended(frame)?;
        let argument = frame.get("argument").and_then(Value::as_u64);
        let detail = frame.get("detail").and_then(Value::as_str).map(str::to_owned);
        let details = frame.remove("details").unwrap_or_default();
        let error = CallFunctionError::Hook { error, argument, detail, details };
        Some(CallOutput::Done(id, Err(error)))
    }

    fn ended(&mut self, frame: &Map<String, Value>) -> Option<u64> {
        frame.get("id")?.as_u64().filter(|id| self.pending.remove(id))
    }
}

fn refusal(id: &Value, error: &str) -> String {
    json!({ "type": "hook_error", "id": id, "error": error }).to_string()
}

/// Size limit of an answer to a call by the server, in bytes.
const MAX_ANSWER: usize = 65_536;
/// Number of calls by the server that may run at the same time.
const MAX_RUNNING: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn handle(calls: &mut Calls, frame: Value) -> Option<Option<CallOutput>> {
        let Value::Object(mut frame) = frame else { panic!() };
        calls.handle(&mut frame)
    }

    fn refused(id: u64, error: &str) -> Option<Option<CallOutput>> {
        let text = json!({ "type": "hook_error", "id": id, "error": error }).to_string();
        Some(Some(CallOutput::Post(text)))
    }

    #[test]
    fn a_call_ends_once_with_its_own_answer() {
        let mut calls = Calls::default();
        let (first, text) = calls.begin("chess", "move", &json!(["e2"]));
        assert_eq!(
            text,
            r#"{"type":"call_hook","id":1,"plugin":"chess","fn":"move","args":["e2"]}"#
        );
        let (second, _) = calls.begin("chess", "move", &json!([]));

        let reply = json!({ "type": "hook_reply", "id": second, "data": 7 });
        let done = handle(&mut calls, reply.clone());
        assert_eq!(done, Some(Some(CallOutput::Done(second, Ok(json!(7))))));
        assert_eq!(handle(&mut calls, reply), Some(None), "a second answer");
        assert!(calls.cancel(first).unwrap().contains("cancel_hook"));
        assert_eq!(calls.cancel(first), None);
        let late = json!({ "type": "hook_error", "id": first, "error": "late" });
        assert_eq!(handle(&mut calls, late), Some(None));
    }

    #[test]
    fn an_error_says_which_argument_was_wrong() {
        let mut calls = Calls::default();
        let (id, _) = calls.begin("a", "b", &json!([]));
        let frame = json!({
            "type": "hook_error", "id": id, "error": "invalid_args", "argument": 1, "detail": "u8",
            "details": [7],
        });
        let error = CallFunctionError::Hook {
            error: "invalid_args".into(),
            argument: Some(1),
            detail: Some("u8".into()),
            details: json!([7]),
        };
        assert_eq!(handle(&mut calls, frame), Some(Some(CallOutput::Done(id, Err(error)))));

        let unread = handle(&mut calls, json!({ "type": "hook_error", "error": "malformed" }));
        let error = ServerError::new("malformed", Value::Null);
        assert_eq!(unread, Some(Some(CallOutput::Error(error))));
    }

    #[test]
    fn a_call_by_the_server_is_run_or_refused() {
        let mut calls = Calls::default();
        let call = |function: &str, args: Value| json!({ "type": "call_hook", "id": 1, "fn": function, "args": args });
        assert_eq!(handle(&mut calls, call("hi", json!([]))), refused(1, "unknown_function"));
        calls.register("hi");
        assert_eq!(handle(&mut calls, call("hi", json!({}))), refused(1, "invalid_args"));

        for _ in 0..MAX_RUNNING {
            let run = handle(&mut calls, call("hi", json!([1])));
            let (id, function, args) = (json!(1), "hi".to_owned(), vec![json!(1)]);
            assert_eq!(run, Some(Some(CallOutput::Run { id, function, args })));
        }
        assert_eq!(handle(&mut calls, call("hi", json!([]))), refused(1, "overloaded"));
        assert!(calls.answer(&json!(1), Ok(json!("x"))).contains(r#""data":"x""#));
        let large = calls.answer(&json!(1), Ok(json!("x".repeat(MAX_ANSWER))));
        assert_eq!(Some(Some(CallOutput::Post(large))), refused(1, "too_large"));
        assert!(matches!(
            handle(&mut calls, call("hi", json!([]))),
            Some(Some(CallOutput::Run { .. }))
        ));
        calls.unregister("hi");
        assert_eq!(handle(&mut calls, call("hi", json!([]))), refused(1, "unknown_function"));
    }

    #[test]
    fn frames_of_other_kinds_are_left_alone() {
        let mut calls = Calls::default();
        for frame in [json!({}), json!({ "type": 1 }), json!({ "type": "chat" })] {
            assert_eq!(handle(&mut calls, frame), None);
        }
        for id in [json!(null), json!("x"), json!({}), json!(-1), json!(99)] {
            let reply = json!({ "type": "hook_reply", "id": id });
            assert_eq!(handle(&mut calls, reply), Some(None), "{id}");
        }
        assert_eq!(handle(&mut calls, json!({ "type": "cancel_hook", "id": "s1" })), Some(None));
    }
}
