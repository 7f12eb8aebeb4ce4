//! `GET /api/realtime/history` and `/snapshot`, and `/activity` beside them.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::StatusCode;
use protocol::{
    ProtocolError,
    access::may_read_history,
    client::{History, Snapshot},
    token::Use,
};
use service::http::json;

use super::{edge, edge::Asked};
use crate::{history as pages, node::Node, snapshot as states};

pub(super) async fn history(State(node): State<Arc<Node>>, request: Request) -> Response {
    answer(node, request, |asked| {
        History::from_query(asked.query.iter().map(|(n, v)| (n.as_str(), v.as_str())))
    })
    .await
}

pub(super) async fn activity(State(node): State<Arc<Node>>, request: Request) -> Response {
    answer(node, request, |asked| {
        let session = asked
            .value("sessionId")
            .ok_or_else(|| ProtocolError::invalid("sessionId is missing"))?;
        let channel = format!("activity.{session}");
        let others = asked
            .query
            .iter()
            .filter(|(name, _)| ["before", "after", "limit"].contains(&name.as_str()))
            .map(|(n, v)| (n.as_str(), v.as_str()));
        History::from_query(std::iter::once(("channel", channel.as_str())).chain(others))
    })
    .await
}

pub(super) async fn snapshot(State(node): State<Arc<Node>>, request: Request) -> Response {
    let asked = match edge::enter(&node, &request) {
        Ok(asked) => asked,
        Err(response) => return response,
    };
    let headers = request.headers().clone();
    let state = async {
        let who = asked.who(&node, &headers, Use::Request)?;
        let pairs = asked.query.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        let snapshot = Snapshot::from_query(pairs)?;
        let read = may_read_history(&node.namespaces, &who, &snapshot.channel)?;
        states::answer(&node, &who, read, snapshot).await
    };
    match state.await {
        Ok(state) => asked.finish(json(StatusCode::OK, state)),
        Err(error) => asked.refuse(error),
    }
}

async fn answer(
    node: Arc<Node>,
    request: Request,
    read: impl FnOnce(&Asked) -> Result<History, ProtocolError>,
) -> Response {
    let asked = match edge::enter(&node, &request) {
        Ok(asked) => asked,
        Err(response) => return response,
    };
    let headers = request.headers().clone();
    let history = read(&asked);
    let page = async {
        let who = asked.who(&node, &headers, Use::Request)?;
        let history = history?;
        let read = may_read_history(&node.namespaces, &who, &history.channel)?;
        pages::answer(&node, &who, read, history).await
    };
    match page.await {
        Ok(page) => asked.finish(json(StatusCode::OK, page)),
        Err(error) => asked.refuse(error),
    }
}
