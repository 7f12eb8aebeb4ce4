//! The HTTP routes of a fan-out node.

mod ack;
mod edge;
mod past;
mod poll;
mod stream;
mod ws;

use std::sync::Arc;

use axum::{
    Router,
    routing::{get, post},
};
use protocol::{ErrorName, ProtocolError};

use crate::node::Node;

/// All routes of fan-out, with JSON answers for paths and methods that nobody serves.
pub(crate) fn router(node: Arc<Node>) -> Router {
    Router::new()
        .route("/ws", get(ws::multiplexed).options(edge::preflight))
        .route(
            "/ws/session/{id}",
            get(ws::session).options(edge::preflight),
        )
        .route("/ws/user/{id}", get(ws::user).options(edge::preflight))
        .route("/ws/broadcast", get(ws::broadcast).options(edge::preflight))
        .route("/sse", get(stream::sse).options(edge::preflight))
        .route(
            "/sse/activity/{id}",
            get(stream::activity).options(edge::preflight),
        )
        .route(
            "/sse/notifications",
            get(stream::notifications).options(edge::preflight),
        )
        .route("/sse/system", get(stream::system).options(edge::preflight))
        .route(
            "/api/realtime/stream",
            get(stream::lines).options(edge::preflight),
        )
        .route(
            "/api/realtime/poll",
            get(poll::poll).options(edge::preflight),
        )
        .route(
            "/api/realtime/history",
            get(past::history).options(edge::preflight),
        )
        .route(
            "/api/realtime/activity",
            get(past::activity).options(edge::preflight),
        )
        .route(
            "/api/realtime/snapshot",
            get(past::snapshot).options(edge::preflight),
        )
        .route("/api/realtime/ack", post(ack::ack).options(edge::preflight))
        .method_not_allowed_fallback(edge::wrong_method)
        .fallback(edge::not_found)
        .with_state(node)
}

fn not_found() -> ProtocolError {
    ProtocolError::new(ErrorName::NotFound, "no such path")
}

fn wrong_method() -> ProtocolError {
    ProtocolError::new(
        ErrorName::MethodNotAllowed,
        "this path does not take the method",
    )
}
