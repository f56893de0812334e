//! Arguments of a call, read as the type that its hook takes.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::value::RawValue;
use serde_json::{Error, Map, Number, Value};

use crate::error_text::{shorten, unreadable};

/// Error: a hook cannot take the arguments of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InvalidArguments {
    /// Index of the argument, from 0; none if the error is about all of them.
    pub(crate) argument: Option<usize>,
    /// Description of what was expected.
    pub(crate) detail: String,
}

impl InvalidArguments {
    pub(crate) fn all(detail: impl Into<String>) -> Self {
        Self { argument: None, detail: detail.into() }
    }
}

/// Reads the arguments of a call, which are syntactically valid JSON.
///
/// # Errors
/// Which of them cannot be read, and why.
pub(super) fn values(args: &str) -> Result<Value, InvalidArguments> {
    serde_json::from_str(args).map_err(|error| {
        let Ok(list) = serde_json::from_str::<Vec<&RawValue>>(args) else {
            return InvalidArguments::all("args must be a list");
        };
        // Nested as deeply as in the list.
        let read =
            |one: &&RawValue| serde_json::from_str::<[Value; 1]>(&format!("[{}]", one.get()));
        let mut found =
            list.iter().enumerate().filter_map(|(at, one)| Some((at, read(one).err()?)));
        let (argument, error) = found.next().map_or((None, error), |(at, error)| (Some(at), error));
        InvalidArguments { argument, detail: unreadable(&error).to_owned() }
    })
}

/// Reads the list of a call as the type that its hook takes.
pub(super) fn arguments<A: DeserializeOwned>(args: &Value) -> Result<A, InvalidArguments> {
    read(args).or_else(|invalid| {
        // Some clients write all numbers with a point: if that was the problem, whole numbers are read as integers.
        let mut whole = args.clone();
        if whole_numbers(&mut whole) { read(&whole) } else { Err(invalid) }
    })
}

fn read<A: DeserializeOwned>(args: &Value) -> Result<A, InvalidArguments> {
    let list = args.as_array().map(Vec::as_slice).unwrap_or_default();
    let (at, wanted) = (Cell::new(None), Cell::new(None));
    let as_list = A::deserialize(List { list, at: &at, wanted: &wanted });
    let invalid = match as_list {
        Ok(args) => return Ok(args),
        Err(error) => {
            // A type that is neither list nor tuple has asked for no element of the list.
            let wanted = wanted.get().or(at.get().is_none().then_some(1));
            let is_over = at.get().is_none_or(|at| at == list.len());
            let detail = match wanted.filter(|wanted| is_over && *wanted > list.len()) {
                Some(wanted) => missing(list.len(), wanted),
                None => words(&error),
            };
            InvalidArguments { argument: at.get(), detail }
        }
    };
    // A type that is neither list nor tuple takes the only argument, or none.
    match list {
        [] => A::deserialize(&Value::Null).map_err(|_| invalid),
        [only] => A::deserialize(only).map_err(|error| {
            let detail = words(&error);
            // A type that takes an object says what is wrong with it; otherwise this is a list or a tuple, and has said
            // it.
            let takes_objects = only.is_object() && !detail.starts_with("invalid type: map");
            match at.get() {
                Some(_) if !takes_objects => invalid,
                _ => InvalidArguments { argument: Some(0), detail },
            }
        }),
        _ => Err(invalid),
    }
}

/// Returns the text of an error: fewer arguments than expected.
fn missing(given: usize, wanted: usize) -> String {
    let arguments = if given == 1 { "argument" } else { "arguments" };
    match wanted - given {
        1 => format!("{given} {arguments}, expected {wanted}: one is missing"),
        left => format!("{given} {arguments}, expected {wanted}: {left} are missing"),
    }
}

/// A list that records which of its values was read last, and how many are expected.
struct List<'a> {
    list: &'a [Value],
    at: &'a Cell<Option<usize>>,
    /// None if any number is accepted.
    wanted: &'a Cell<Option<usize>>,
}

impl List<'_> {
    fn of(self, wanted: usize) -> Self {
        self.wanted.set(Some(wanted));
        self
    }
}

impl<'de> Deserializer<'de> for List<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let Self { list, at, .. } = self;
        let mut left = Left { list: list.iter(), at };
        let value = visitor.visit_seq(&mut left)?;
        match left.list.len() {
            0 => Ok(value),
            left => {
                let taken = list.len() - left;
                at.set(Some(taken));
                Err(Error::custom(format_args!("{} arguments, expected {taken}", list.len())))
            }
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        self.of(len).deserialize_any(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.of(len).deserialize_any(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.of(1).deserialize_any(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.of(fields.len()).deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        seq map enum identifier ignored_any
    }
}

struct Left<'a> {
    list: std::slice::Iter<'a, Value>,
    at: &'a Cell<Option<usize>>,
}

impl<'de> SeqAccess<'de> for Left<'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        self.at.set(Some(self.at.get().map_or(0, |at| at + 1)));
        self.list.next().map(|value| seed.deserialize(value)).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.list.len())
    }
}

/// Rewrites whole numbers with a point as integers; returns whether there was one.
fn whole_numbers(value: &mut Value) -> bool {
    let all = |values: &mut dyn Iterator<Item = &mut Value>| {
        values.fold(false, |found, value| whole_numbers(value) | found)
    };
    match value {
        Value::Number(number) => match whole(number) {
            Some(whole) => {
                *number = whole;
                true
            }
            None => false,
        },
        Value::Array(list) => all(&mut list.iter_mut()),
        Value::Object(map) => all(&mut Map::values_mut(map)),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}

fn whole(number: &Number) -> Option<Number> {
    let float = number.as_f64().filter(|float| number.is_f64() && float.fract() == 0.0)?;
    // Up to here every whole number has a float of its own.
    (float.abs() <= EXACT).then(|| Number::from(float as i64))
}

/// Returns the text of an error, which may repeat text of the client's.
fn words(error: &impl fmt::Display) -> String {
    shorten(&error.to_string(), LONGEST_DETAIL).to_owned()
}

/// 2 to the power of 53.
const EXACT: f64 = 9_007_199_254_740_992.0;
/// Length limit of a detail, in bytes.
const LONGEST_DETAIL: usize = 200;

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde_json::json;

    use super::*;

    #[derive(serde::Deserialize, Debug, PartialEq)]
    struct Move {
        from: String,
        to: u8,
    }

    #[derive(serde::Deserialize, Debug, PartialEq)]
    struct Square(u8);

    fn refused<A: DeserializeOwned + fmt::Debug>(args: Value) -> (Option<usize>, String) {
        let InvalidArguments { argument, detail } = arguments::<A>(&args).unwrap_err();
        (argument, detail)
    }

    #[test]
    fn arguments_are_read_as_what_the_hook_takes() {
        let e2e4 = || Move { from: "e2".into(), to: 4 };

        assert_eq!(arguments::<(String, u8)>(&json!(["a", 1])), Ok(("a".into(), 1)));
        assert_eq!(arguments::<()>(&json!([])), Ok(()));
        assert_eq!(arguments::<Option<u8>>(&json!([])), Ok(None));
        assert_eq!(arguments::<Option<u8>>(&json!([1])), Ok(Some(1)));
        assert_eq!(arguments::<String>(&json!(["a"])), Ok("a".into()));
        assert_eq!(arguments::<Value>(&json!([1, 2])), Ok(json!([1, 2])));
        assert_eq!(arguments::<Vec<u8>>(&json!([1, 2])), Ok(vec![1, 2]));
        assert_eq!(arguments::<Vec<u8>>(&json!([[1, 2]])), Ok(vec![1, 2]));
        assert_eq!(arguments::<Move>(&json!(["e2", 4])), Ok(e2e4()));
        assert_eq!(arguments::<Square>(&json!([7])), Ok(Square(7)));
        assert_eq!(arguments::<Move>(&json!([{"from": "e2", "to": 4}])), Ok(e2e4()));
        assert_eq!(arguments::<(Move, u8)>(&json!([{"from": "e2", "to": 4}, 1])), Ok((e2e4(), 1)));
    }

    #[test]
    fn whole_numbers_may_be_written_with_a_point_at_any_depth() {
        assert_eq!(arguments::<(i64, u8)>(&json!([10.0, 3])), Ok((10, 3)));
        assert_eq!(arguments::<i8>(&json!([-10.0])), Ok(-10));
        assert_eq!(arguments::<usize>(&json!([0.0])), Ok(0));
        assert_eq!(arguments::<Option<u8>>(&json!([1.0])), Ok(Some(1)));
        assert_eq!(arguments::<Vec<u8>>(&json!([1.0, 2.0])), Ok(vec![1, 2]));
        let moves = json!([[{"from": "e2", "to": 4.0}, {"from": "e7", "to": 5}]]);
        assert_eq!(arguments::<(Vec<Move>,)>(&moves).unwrap().0[0].to, 4);
        let table = arguments::<HashMap<String, (u8, f64)>>(&json!([{"a": [1.0, 1.5]}])).unwrap();
        assert_eq!(table["a"], (1, 1.5));
        // Floats, and values of any type, stay as they are.
        assert_eq!(arguments::<(f64, Value)>(&json!([2.0, 10.0])), Ok((2.0, json!(10.0))));
        assert_eq!(arguments::<(f64, u8)>(&json!([2.0, 1.0])), Ok((2.0, 1)));
    }

    #[test]
    fn what_has_no_value_says_which_argument_it_is_and_why() {
        let deep = format!("[1, {}{}]", "[".repeat(200), "]".repeat(200));
        let (number, unicode) = ("not a number that can be represented", "not valid Unicode");
        for (args, argument, detail) in [
            ("[1e400]", Some(0), number),
            ("[1, -1e999]", Some(1), number),
            (r#"["a", {"b": [1e400]}]"#, Some(1), number),
            (r#"["\ud800"]"#, Some(0), unicode),
            (r#"[1, 2, "\udc00 and"]"#, Some(2), unicode),
            (r#"[1, "\ud800\u0041"]"#, Some(1), unicode),
            (r#"[{"\ud800": 1}]"#, Some(0), unicode),
            (&deep, Some(1), "nested too deeply to be read"),
            (r#"{"a": 1e400}"#, None, "args must be a list"),
            ("1e400", None, "args must be a list"),
        ] {
            let detail = detail.to_owned();
            assert_eq!(values(args), Err(InvalidArguments { argument, detail }), "{args}");
        }
        // The list is a level of its own.
        for depth in 120..130 {
            let args = format!("[{}{}]", "[".repeat(depth), "]".repeat(depth));
            match values(&args) {
                Ok(_) => assert!(depth < 127, "{depth}"),
                Err(error) => {
                    assert_eq!((error.argument, depth > 126), (Some(0), true), "{depth}");
                    assert_eq!(error.detail, "nested too deeply to be read");
                }
            }
        }
        assert_eq!(values(r#"[1.5, "\ud83d\ude00", 1e-400]"#), Ok(json!([1.5, "\u{1f600}", 0.0])));
    }

    #[test]
    fn what_cannot_be_read_says_which_argument_and_what_was_expected() {
        let (argument, detail) = refused::<(i64, i64)>(json!([1, "2"]));
        assert_eq!(argument, Some(1));
        assert_eq!(detail, "invalid type: string \"2\", expected i64");
        let (argument, detail) = refused::<(i64, u8)>(json!([10.5, 1]));
        assert_eq!((argument, detail.contains("expected i64")), (Some(0), true), "{detail}");
        let (argument, detail) = refused::<(i64, u8)>(json!([1.0, 10.5]));
        assert_eq!((argument, detail.contains("expected u8")), (Some(1), true), "{detail}");
        assert_eq!(refused::<u8>(json!([300])).0, Some(0));
        assert_eq!(refused::<u8>(json!([1e300])).0, Some(0));
        assert_eq!(refused::<u8>(json!([-1.0])).0, Some(0));
        assert_eq!(refused::<Vec<u8>>(json!([1, 2, "x"])).0, Some(2));
        assert!(refused::<(Move,)>(json!([{"from": "e2"}])).1.contains("missing field `to`"));
        let (argument, detail) = refused::<Move>(json!([{"from": "e2", "to": 4.5}]));
        assert_eq!((argument, detail.contains("expected u8")), (Some(0), true), "{detail}");
        let (argument, detail) = refused::<(i64,)>(json!([{}]));
        assert_eq!((argument, &*detail), (Some(0), "invalid type: map, expected i64"));

        let (argument, detail) = refused::<(i64, i64)>(json!([1]));
        assert_eq!((argument, &*detail), (Some(1), "1 argument, expected 2: one is missing"));
        let (argument, detail) = refused::<(i64, i64)>(json!([1, 2, 3]));
        assert_eq!((argument, &*detail), (Some(2), "3 arguments, expected 2"));
        assert!(arguments::<()>(&json!([1])).is_err());
        assert!(arguments::<u8>(&json!([])).is_err());
        let none = "0 arguments, expected 2: 2 are missing";
        assert_eq!(refused::<(i64, i64)>(json!([])), (Some(0), none.to_owned()));
        assert_eq!(refused::<(i64, i64)>(json!(null)), (Some(0), none.to_owned()));
        assert_eq!(refused::<Move>(json!([])), (Some(0), none.to_owned()));
        let two = "2 arguments, expected 4: 2 are missing";
        assert_eq!(refused::<(u8, u8, u8, u8)>(json!([1, 2])), (Some(2), two.to_owned()));
        // Also where numbers are written with a point.
        assert_eq!(refused::<(u8, u8, u8, u8)>(json!([1.0, 2])), (Some(2), two.to_owned()));
        assert_eq!(refused::<Move>(json!(["e2"])).1, "1 argument, expected 2: one is missing");
        let one = "0 arguments, expected 1: one is missing";
        for (argument, detail) in [
            refused::<u8>(json!([])),
            refused::<String>(json!([])),
            refused::<HashMap<String, u8>>(json!([])),
            refused::<(u8,)>(json!([])),
            refused::<Square>(json!([])),
        ] {
            assert_eq!((argument.unwrap_or(0), &*detail), (0, one));
        }
        // Of the given arguments, the first wrong one is reported.
        assert_eq!(
            refused::<(u8, u8)>(json!(["x"])),
            (Some(0), "invalid type: string \"x\", expected u8".to_owned())
        );
        let long = refused::<(i64,)>(json!(["x".repeat(10_000)])).1;
        assert!(long.len() <= LONGEST_DETAIL, "{}", long.len());
    }
}
