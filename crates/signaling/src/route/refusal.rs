//! Refusals of upgrade requests, as HTTP responses.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use callboard_room_supervisor::Rejection;
use callboard_websocket::{offer_websocket, whole_seconds};
use log::Level;
use serde_json::{Value, json};

use crate::counters::Count;

/// A refusal of an upgrade request.
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) error: &'static str,
    detail: Option<String>,
    /// More about the detail; null if there is no more.
    details: Value,
    /// Cause that is only logged.
    cause: Option<String>,
    /// The cause is no fault of the server.
    innocent: bool,
    /// The detail is the application's, and may repeat what the client has sent.
    foreign: bool,
    pub(super) count: Option<Count>,
    retry_after: Option<Duration>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, error: &'static str) -> Self {
        Self {
            status,
            error,
            detail: None,
            details: Value::Null,
            cause: None,
            innocent: false,
            foreign: false,
            count: None,
            retry_after: None,
        }
    }

    /// Sets how long the client must wait before it tries again (RFC 9110 §10.2.3).
    pub(super) fn retry_after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }

    pub(super) fn bad_request(rejection: Rejection) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request").told(rejection)
    }

    pub(super) fn detailed(self, detail: String) -> Self {
        Self { detail: Some(detail), ..self }
    }

    /// Sets a detail in the application's words: it may hold a token, and is not logged.
    pub(super) fn told(self, Rejection { code, details }: Rejection) -> Self {
        Self { foreign: true, details, ..self.detailed(code) }
    }

    /// Sets a cause that is only logged.
    pub(super) fn because(self, cause: String) -> Self {
        Self { cause: Some(cause), ..self }
    }

    /// Sets why it is refused, for the log alone; it is no fault of the server.
    pub(super) fn noted(self, note: String) -> Self {
        Self { cause: Some(note), innocent: true, ..self }
    }

    /// Returns the reason, as far as it may be logged.
    pub(super) fn reason(&self) -> Option<&str> {
        self.cause.as_deref().or(self.detail.as_deref().filter(|_| !self.foreign))
    }

    /// Returns the log level: `Error` if the fault is the server's own.
    pub(super) fn level(&self) -> Level {
        let failed = self.cause.is_some() && !self.innocent;
        if failed || self.status == StatusCode::INTERNAL_SERVER_ERROR {
            Level::Error
        } else {
            Level::Info
        }
    }

    pub(super) fn counted(self, count: Count) -> Self {
        Self { count: Some(count), ..self }
    }

    pub(super) fn respond(self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        if self.status == StatusCode::UPGRADE_REQUIRED {
            offer_websocket(&mut response);
        }
        if let Some(wait) = self.retry_after {
            response.insert_header((RETRY_AFTER, whole_seconds(wait)));
        }
        let mut body = json!({ "error": self.error });
        if let Some(detail) = self.detail {
            body["detail"] = detail.into();
        }
        if !self.details.is_null() {
            body["details"] = self.details;
        }
        response.json(body)
    }
}
