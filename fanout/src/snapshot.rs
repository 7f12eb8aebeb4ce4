//! The state of a channel, as of now or as of a cursor: the method `snapshot` and its HTTP form.

use std::sync::Arc;

use protocol::{
    Identity, ProtocolError,
    access::Read,
    client::Snapshot,
    server::{self, GapReason},
};
use schemas::Channel;
use state::Fold;
use tokio::{sync::oneshot, time::Instant};

use crate::{
    chunk::{Room, away, erased},
    history::ask,
    node::Node,
    place::Place,
    pull::{Pull, Reply, Want},
    sub::From,
};

/// Answers `{"cursor","state"}`. Everything acknowledged before the request is in the present state.
pub(crate) async fn answer(
    node: &Arc<Node>,
    who: &Identity,
    read: Read,
    asked: Snapshot,
) -> Result<Vec<u8>, ProtocolError> {
    let Snapshot { channel, at } = asked;
    if !Fold::of(&channel).is_served() {
        return Err(ProtocolError::unserved("snapshot"));
    }
    let place = node.directory.durable(&channel);
    let from = match &at {
        None => From::Latest,
        Some(text) => position(node, &channel, &place, text)?,
    };
    let (reply, answer) = oneshot::channel();
    let pull = Pull {
        channel: channel.clone(),
        from,
        want: Want::StateOnly,
        barrier: true,
        attach: None,
        park: false,
        owner: matches!(read, Read::IfJobOwner).then(|| who.sub.as_str().into()),
        wanted: Node::wanted(who, None),
        room: Room::of(0),
        passing: false,
        asked: Instant::now(),
        reply: Reply::Once(reply),
    };
    let deadline = Instant::now() + node.limits.request_timeout;
    let chunk = ask(node, pull, answer, deadline).await?;
    let state = chunk.state.ok_or_else(away)?;
    let cursor = node.tiers.framer.cursor(&channel, &place, state.at);
    Ok(server::snapshot(&cursor, &state.json))
}

/// Where in the present topic a cursor is. What one of an earlier topic saw is gone with that.
fn position(
    node: &Node,
    channel: &Channel,
    place: &Place,
    text: &str,
) -> Result<From, ProtocolError> {
    let framer = &node.tiers.framer;
    let position = framer.cursors.decode(channel, text)?;
    let present = node.directory.position(place, position.next);
    if position.generation < present.generation {
        let first = framer.cursor(channel, place, 0);
        return Err(erased(text, &first, GapReason::Epoch));
    }
    if position != present {
        return Err(ProtocolError::cursor());
    }
    Ok(From::Next(position.next))
}
