//! What every part of a fan-out node shares: who may come in, where the hubs and shards are.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use protocol::{
    Identity, Limits, Position, ProtocolError, access::Namespaces, client::Publish, token::Verifier,
};
use schemas::Channel;
use serde_json::Value;
use service::origin::Origins;
use tokio::{runtime::Handle, sync::mpsc};
use tokio_util::sync::CancellationToken;

use crate::{
    allowance::Allowance, guard::Door, kept::Keeper, mailbox::Mailbox, metrics::FanoutMetrics,
    place::Directory, pull::Command, tier::Tiers,
};

/// Hears what became of a publish, exactly once.
pub type PublishReply = Box<dyn FnOnce(Result<Value, ProtocolError>) + Send>;
/// Hands a client's publish to ingest. Never blocks; answers of one (channel, producer) come in order.
pub type PublishPort = Arc<dyn Fn(&Arc<Identity>, Publish, PublishReply) + Send + Sync>;

/// The parts of a node that its shards and HTTP handlers use.
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) verifier: Verifier,
    pub(crate) namespaces: Namespaces,
    pub(crate) limits: Limits,
    pub(crate) origins: Origins,
    pub(crate) tiers: Arc<Tiers>,
    pub(crate) keeper: Arc<Keeper>,
    pub(crate) allowance: Allowance,
    pub(crate) directory: Arc<Directory>,
    pub(crate) hubs: Vec<mpsc::Sender<Command>>,
    pub(crate) shards: Vec<Arc<Mailbox>>,
    pub(crate) publish: Option<PublishPort>,
    pub(crate) runtime: Handle,
    pub(crate) door: Door,
    pub(crate) metrics: FanoutMetrics,
    /// Cancelled when the node says goodbye.
    pub(crate) draining: CancellationToken,
    pub(crate) next_shard: AtomicUsize,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Node {
    /// Which hub reads the channel's partition.
    pub(crate) fn hub_of(&self, channel: &Channel) -> usize {
        self.directory.durable(channel).partition as usize % self.hubs.len()
    }

    /// Whether the position is one of the channel as it is pinned now, not of a topic before it.
    pub(crate) fn is_present(&self, channel: &Channel, position: Position) -> bool {
        let place = self.directory.durable(channel);
        position == self.directory.position(&place, position.next)
    }

    /// The shard of the next connection.
    pub(crate) fn shard(&self) -> &Arc<Mailbox> {
        let next = self.next_shard.fetch_add(1, Ordering::Relaxed);
        &self.shards[next % self.shards.len()]
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }
}
