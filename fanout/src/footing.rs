//! When a topic is no longer the pinned one, everybody is sent away: who listens on would wait for ever, and who came
//! with an old cursor would be told of the new topic as if it were the old one (D2).

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::{mailbox::ToShard, node::Node};

/// Sends all connections away each time that a topic is found lost, until `stop`. While it is, nobody new is let in.
pub(crate) async fn stand(node: Arc<Node>, stop: CancellationToken) {
    let mut changes = node.directory.watch().subscribe();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = changes.changed() => if changed.is_err() { return },
        }
        if node.directory.is_moved() {
            tracing::error!("a topic is not the pinned one: every connection is closed");
            for shard in &node.shards {
                shard.post(ToShard::Dismiss);
            }
        }
    }
}
