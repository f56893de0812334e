//! The cookie `credentials`: a JSON object, raw as the guide's client sets it or percent-encoded as the page does.

use actix_web::http::header::{COOKIE, HeaderMap};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};
use thiserror::Error;

/// Reason why a request has no credentials. None of these repeats what the client sent.
#[derive(Clone, Copy, Debug, Error, PartialEq)]
pub(crate) enum CredentialsError {
    #[error("no cookie `credentials`")]
    Missing,
    #[error("the cookie `credentials` is too long")]
    TooLong,
    #[error("the cookie `credentials` is not UTF-8")]
    NotText,
    #[error("the cookie `credentials` is not a JSON object")]
    NotAnObject,
}

/// Returns the credentials of a request; of several such cookies the first, as browsers put the most specific first.
///
/// # Errors
/// [`CredentialsError`].
pub(crate) fn credentials_of(headers: &HeaderMap) -> Result<Map<String, Value>, CredentialsError> {
    let value = headers
        .get_all(COOKIE)
        .flat_map(|header| header.as_bytes().split(|&byte| byte == b';'))
        .find_map(|pair| pair.trim_ascii().strip_prefix(b"credentials="))
        .ok_or(CredentialsError::Missing)?;
    if value.len() > LONGEST_COOKIE {
        return Err(CredentialsError::TooLong);
    }
    let value = str::from_utf8(value).map_err(|_| CredentialsError::NotText)?;
    // A raw object starts with a brace; in it a `%` has no special meaning.
    if value.starts_with('{') {
        return serde_json::from_str(value).map_err(|_| CredentialsError::NotAnObject);
    }
    let value = percent_decode_str(value).decode_utf8().map_err(|_| CredentialsError::NotText)?;
    serde_json::from_str(&value).map_err(|_| CredentialsError::NotAnObject)
}

/// Longest cookie that browsers keep, in bytes (RFC 6265 §6.1).
const LONGEST_COOKIE: usize = 4096;

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;
    use serde_json::json;

    use super::*;

    fn credentials(cookies: &[&[u8]]) -> Result<Value, CredentialsError> {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(COOKIE, HeaderValue::from_bytes(cookie).unwrap());
        }
        credentials_of(&headers).map(Value::Object)
    }

    #[test]
    fn raw_json_is_taken_as_it_is() {
        let found = credentials(&[br#"a=b; credentials={"username":"u","password":"50%25"}; c=d"#]);

        assert_eq!(found, Ok(json!({"username": "u", "password": "50%25"})));
    }

    #[test]
    fn percent_encoded_json_is_decoded() {
        let found = credentials(&[b"credentials=%7B%22username%22%3A%22J%C3%B6rg%3B%22%7D"]);

        assert_eq!(found, Ok(json!({"username": "Jörg;"})));
    }

    #[test]
    fn json_of_which_only_quotes_and_commas_are_encoded_is_decoded_as_raw_json_is_not() {
        assert_eq!(credentials(&[b"credentials=%7b}"]), Ok(json!({})));
        assert_eq!(credentials(&[b"credentials={%22a%22:1}"]), Err(CredentialsError::NotAnObject));
    }

    #[test]
    fn the_cookie_may_be_in_a_second_header_and_the_first_counts() {
        let found = credentials(&[b"a=b", b"credentials={}", br#"credentials={"x":1}"#]);

        assert_eq!(found, Ok(json!({})));
    }

    #[test]
    fn no_cookie_or_one_with_a_longer_name_is_missing() {
        assert_eq!(credentials(&[]), Err(CredentialsError::Missing));
        assert_eq!(credentials(&[b"xcredentials={}"]), Err(CredentialsError::Missing));
        assert_eq!(credentials(&[b"credentials"]), Err(CredentialsError::Missing));
    }

    #[test]
    fn what_is_not_an_object_is_refused() {
        for value in ["", "x", "[]", "null", "1", "\"{}\"", "{", "%7B", "{}{}"] {
            let cookie = format!("credentials={value}");

            assert_eq!(
                credentials(&[cookie.as_bytes()]),
                Err(CredentialsError::NotAnObject),
                "{value:?}"
            );
        }
    }

    #[test]
    fn what_is_not_utf_8_is_refused() {
        assert_eq!(credentials(&[b"credentials=%FF"]), Err(CredentialsError::NotText));
        assert_eq!(credentials(&[b"credentials=\xff"]), Err(CredentialsError::NotText));
    }

    #[test]
    fn a_cookie_no_browser_would_keep_is_refused() {
        let deep = format!("credentials={}", "[".repeat(5000));

        assert_eq!(credentials(&[deep.as_bytes()]), Err(CredentialsError::TooLong));
    }
}
