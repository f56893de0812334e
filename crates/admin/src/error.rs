//! Errors of the admin routes, as JSON.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE};
use callboard_websocket::{UpgradeError, offer_websocket, whole_seconds};
use serde_json::json;

use crate::fault::FaultError;

/// Reason why an admin request is not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    #[error("a token is needed")]
    Unauthorized,
    #[error("this token is for reading only")]
    ReadOnly,
    #[error("without a token only this machine has access")]
    LoopbackOnly,
    #[error("the host must be localhost or a loopback address")]
    ForeignHost,
    #[error("{0}")]
    ForeignOrigin(String),
    #[error("too many wrong tokens from this address")]
    TooManyAttempts(Duration),
    #[error("{0}")]
    BadRequest(String),
    #[error("no such recovery")]
    NoSuchRecovery,
    #[error("there is no route {0}")]
    NoSuchRoute(String),
    #[error("this server cannot be drained")]
    NoDrain,
    #[error("this server does not show other nodes")]
    OneNode,
    #[error("too many streams of the tree are open")]
    TooManyStreams,
    #[error(transparent)]
    NoWebSocket(UpgradeError),
    #[error(transparent)]
    Fault(#[from] FaultError),
}

impl AdminError {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::ReadOnly | Self::LoopbackOnly | Self::ForeignHost | Self::ForeignOrigin(_) => {
                StatusCode::FORBIDDEN
            }
            Self::TooManyAttempts(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::NoSuchRecovery | Self::NoSuchRoute(_) | Self::NoDrain | Self::OneNode => {
                StatusCode::NOT_FOUND
            }
            Self::TooManyStreams => StatusCode::SERVICE_UNAVAILABLE,
            Self::NoWebSocket(error) => error.status(),
            Self::Fault(error) => match error {
                FaultError::NotFound(_)
                | FaultError::OneNode
                | FaultError::NoSuchNode(_)
                | FaultError::NoSuchRoom(_)
                | FaultError::NoDrain => StatusCode::NOT_FOUND,
                FaultError::NodeFaultsOff | FaultError::MoveOff => StatusCode::FORBIDDEN,
                FaultError::NoAnswer(_) | FaultError::StillMoving => StatusCode::GATEWAY_TIMEOUT,
                FaultError::Elsewhere { status, .. } => {
                    let status = StatusCode::from_u16(*status).ok();
                    let refusal = |it: &StatusCode| it.is_client_error() || it.is_server_error();
                    status.filter(refusal).unwrap_or(StatusCode::BAD_GATEWAY)
                }
                FaultError::NoRatio
                | FaultError::BadRatio(_)
                | FaultError::NoConnection(_)
                | FaultError::OfNode
                | FaultError::BadTime(_) => StatusCode::BAD_REQUEST,
                FaultError::Root
                | FaultError::NotRunning(_)
                | FaultError::NoHandshake
                | FaultError::NoOtherNode
                | FaultError::NotMoved(_) => StatusCode::CONFLICT,
            },
        }
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::ReadOnly => "read_only",
            Self::LoopbackOnly => "loopback_only",
            Self::ForeignHost => "forbidden_host",
            Self::ForeignOrigin(_) => "forbidden_origin",
            Self::TooManyAttempts(_) => "too_many_attempts",
            Self::BadRequest(_) => "bad_request",
            Self::NoSuchRecovery | Self::NoSuchRoute(_) | Self::NoDrain => "not_found",
            Self::OneNode => "one_node",
            Self::TooManyStreams => "overloaded",
            Self::NoWebSocket(_) => "websocket_required",
            Self::Fault(error) => match error {
                FaultError::NotFound(_) | FaultError::NoDrain => "not_found",
                FaultError::OfNode => "of_node",
                FaultError::NodeFaultsOff => "node_faults_off",
                FaultError::MoveOff => "move_off",
                FaultError::NoSuchRoom(_) => "no_such_room",
                FaultError::NoOtherNode => "no_other_node",
                FaultError::NotMoved(_) => "not_moved",
                FaultError::StillMoving => "still_moving",
                FaultError::BadTime(_) => "bad_time",
                FaultError::NoRatio | FaultError::BadRatio(_) => "bad_ratio",
                FaultError::NoConnection(_) => "no_connection",
                FaultError::Root => "root",
                FaultError::NotRunning(_) => "not_running",
                FaultError::NoHandshake => "no_handshake",
                FaultError::OneNode => "one_node",
                FaultError::NoSuchNode(_) => "no_such_node",
                FaultError::NoAnswer(_) => "no_answer",
                FaultError::Elsewhere { error, .. } => error,
            },
        }
    }

    pub(crate) fn respond(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status());
        match self {
            Self::Unauthorized => _ = response.insert_header((WWW_AUTHENTICATE, "Bearer")),
            Self::TooManyAttempts(wait) => {
                response.insert_header((RETRY_AFTER, whole_seconds(*wait)));
            }
            _ => {}
        }
        if self.status() == StatusCode::UPGRADE_REQUIRED {
            offer_websocket(&mut response);
        }
        response
            .insert_header((CACHE_CONTROL, "no-store"))
            .json(json!({ "error": self.name(), "detail": self.to_string() }))
    }
}
