//! The HTTP door: the publish routes and what every one of them checks first.

mod batch;
mod edge;
mod publish;
mod shortcuts;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::post;
use service::origin::Origins;

pub use tokens::Tokens;

use crate::Gateway;

/// What stands before the routes.
#[derive(Clone, Debug)]
pub struct Edge {
    /// Judges tokens.
    pub tokens: Arc<Tokens>,
    /// The origins that browsers may come from.
    pub origins: Arc<Origins>,
    /// Time for a request's whole body. 10 s.
    pub body_deadline: Duration,
}

/// What every route works with.
#[derive(Clone, Debug)]
struct Door {
    gateway: Gateway,
    edge: Arc<Edge>,
}

/// `POST /api/realtime/publish`, `/cursor` and `/draw`, to be merged into a service's routes. Has no
/// fallback of its own, so it can be merged; see [`alone`].
pub fn router(gateway: Gateway, edge: Edge) -> Router {
    let door = Door {
        gateway,
        edge: Arc::new(edge),
    };
    let guard = from_fn_with_state(Arc::clone(&door.edge), edge::guard);
    routes(door).layer(guard)
}

/// The same as a whole service: every other path is answered 404 `NOT_FOUND`. Add further routes with
/// [`Router::merge`].
pub fn alone(gateway: Gateway, edge: Edge) -> Router {
    let door = Door {
        gateway,
        edge: Arc::new(edge),
    };
    let guard = from_fn_with_state(Arc::clone(&door.edge), edge::guard);
    routes(door).fallback(edge::no_such_path).layer(guard)
}

fn routes(door: Door) -> Router {
    let route = |handler: axum::routing::MethodRouter<Door>| handler.fallback(edge::wrong_method);
    Router::new()
        .route("/api/realtime/publish", route(post(publish::publish)))
        .route("/api/realtime/cursor", route(post(shortcuts::cursor)))
        .route("/api/realtime/draw", route(post(shortcuts::draw)))
        .with_state(door)
}
