//! The HTTP door: the publish routes and what every one of them checks first.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use protocol::token::Verifier;
use service::origin::Origins;

use crate::Gateway;

/// What stands before the routes.
#[derive(Clone, Debug)]
pub struct Edge {
    /// Judges tokens.
    pub verifier: Arc<Verifier>,
    /// The origins that browsers may come from.
    pub origins: Arc<Origins>,
    /// Time for a request's whole body. 10 s.
    pub body_deadline: Duration,
}

/// `POST /api/realtime/publish`, `/cursor` and `/draw`, to be merged into a service's routes. Has no
/// fallback of its own, so it can be merged; see [`alone`].
pub fn router(gateway: Gateway, edge: Edge) -> Router {
    let _ = (gateway, edge);
    todo!()
}

/// The same as a whole service: every other path is answered 404 `NOT_FOUND`.
pub fn alone(gateway: Gateway, edge: Edge) -> Router {
    router(gateway, edge)
}
