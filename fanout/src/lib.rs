//! Fan-out: the log to connected clients.
//!
//! A node reads the partitions its subscribers need ([`hub`]), judges and frames each event once ([`event`]), keeps
//! the hot tail of each channel ([`ring`]), and hands events to shards that own the connections ([`shard`]). Readers
//! that are behind pull from the ring, the store or the log at their own pace ([`tier`], [`plan`]).
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod allowance;
mod chunk;
mod event;
mod footing;
mod guard;
mod history;
mod http;
mod hub;
mod kept;
mod mailbox;
mod metrics;
mod node;
mod pipe;
mod place;
mod plan;
mod pull;
mod ring;
mod shard;
#[cfg(test)]
mod sim;
mod snapshot;
mod start;
mod sub;
mod tier;

use std::{
    io,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicUsize},
    thread::JoinHandle,
    time::Duration,
};

use axum::Router;
use broker::{BrokerError, Log, PinWatch, Pins};
use protocol::{Cursors, Limits, access::Namespaces, token::Verifier};
use schemas::{Decoder, Topics};
use service::{Health, Metrics, Shutdown, origin::Origins};
use store::Store;
use tokio::{runtime::Handle, sync::mpsc};
use tokio_util::sync::CancellationToken;

use crate::{
    allowance::Allowance,
    event::Framer,
    guard::Door,
    hub::{Hub, HubConfig},
    kept::Keeper,
    mailbox::ToShard,
    metrics::{FanoutMetrics, KeptMetrics},
    node::Node,
    place::Directory,
    shard::Shard,
    tier::{CatchUp, Scanner, Tiers},
};

pub use node::{PublishPort, PublishReply};
pub use tier::SchemaPort;

/// Commands that may wait for one hub.
const COMMANDS_MAX: usize = 65_536;

/// Settings of a node. `Default` is for production.
#[derive(Debug, Clone)]
pub struct FanoutConfig {
    /// What clients are told this node is called.
    pub node: String,
    /// Threads that own connections; 0: one per core.
    pub shards: usize,
    /// Tasks that read the log; each has a share of the partitions. 0: one per four cores, at least one.
    pub hubs: usize,
    /// Bytes of recent events kept in memory, over all channels of the node.
    pub ring_bytes_max: usize,
    /// Events older than this leave the memory.
    pub ring_age_max: Duration,
    /// A channel without listeners leaves the memory after this.
    pub idle_after: Duration,
    /// Over how long connections are closed at shutdown.
    pub drain_spread: Duration,
    /// The protocol's limits.
    pub limits: Limits,
}

impl Default for FanoutConfig {
    fn default() -> Self {
        Self {
            node: "fanout".to_owned(),
            shards: 0,
            hubs: 0,
            ring_bytes_max: 64 << 20,
            ring_age_max: Duration::from_secs(600),
            idle_after: Duration::from_secs(60),
            drain_spread: Duration::from_secs(2),
            limits: Limits::default(),
        }
    }
}

/// What a node is given.
pub struct Parts {
    /// The log.
    pub log: Log,
    /// History and checkpoints; without it the log answers alone.
    pub store: Option<Store>,
    /// Topic names.
    pub topics: Topics,
    /// Record decoding, shared with whoever else reads in this process.
    pub decoder: Arc<Decoder>,
    /// Where Avro schemas come from.
    pub schemas: SchemaPort,
    /// Pinned topics.
    pub pins: Pins,
    /// Whether they are still what was pinned; somebody runs it.
    pub watch: PinWatch,
    /// Makes and reads cursors.
    pub cursors: Cursors,
    /// Which namespaces there are.
    pub namespaces: Namespaces,
    /// Judges tokens.
    pub verifier: Verifier,
    /// Which pages may connect.
    pub origins: Origins,
    /// Where clients' publishes go; `None`: they are refused.
    pub publish: Option<PublishPort>,
    /// The process's figures.
    pub metrics: Metrics,
    /// The process's health.
    pub health: Health,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log gives no reader. Retry when it does.
    #[error("the log cannot be read: {0}")]
    Log(#[from] BrokerError),
    /// The system gives no thread or no epoll. Stop.
    #[error("a shard cannot be started: {0}")]
    Shard(#[from] io::Error),
}

/// A running node.
#[derive(Debug)]
pub struct Fanout {
    node: Arc<Node>,
    spread: Duration,
    threads: Mutex<Vec<JoinHandle<()>>>,
    hubs: CancellationToken,
}

impl Fanout {
    /// Starts hubs and shards. The hubs run until [`Fanout::drain`] is done, so that nobody misses an event before
    /// the goodbye; `shutdown` only waits for them.
    pub fn start(
        config: FanoutConfig,
        parts: Parts,
        shutdown: &Shutdown,
    ) -> Result<Self, StartError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let shards = if config.shards == 0 {
            cores
        } else {
            config.shards
        };
        let hubs = if config.hubs == 0 {
            cores.div_ceil(4)
        } else {
            config.hubs
        };
        let watch = parts.watch.clone();
        let directory = Arc::new(Directory::new(parts.topics, parts.pins, parts.watch));
        let metrics = FanoutMetrics::new(&parts.metrics);
        let below = metrics.catch_up.clone();
        let scanner = Scanner::new(
            parts.log.clone(),
            parts.decoder,
            parts.schemas,
            below,
            watch,
        );
        let framer = Framer {
            cursors: parts.cursors,
            directory: Arc::clone(&directory),
        };
        let tiers = Tiers::new(parts.log.clone(), parts.store, scanner, framer);
        let tiers = Arc::new(tiers);
        let mut opened = Vec::with_capacity(shards);
        for index in 0..shards {
            opened.push(Shard::open(index)?);
        }
        let mailboxes: Vec<_> = opened
            .iter()
            .map(|(_, mailbox)| Arc::clone(mailbox))
            .collect();
        let stop = CancellationToken::new();
        let (catch_up, catching_up) =
            CatchUp::start(Arc::clone(&tiers), metrics.catch_up.clone(), stop.clone());
        shutdown.spawn("fanout catch-up", catching_up);
        let keeper = Keeper::start(
            Arc::clone(&tiers),
            config.limits.request_timeout,
            KeptMetrics::new(&parts.metrics),
            &stop,
            shutdown,
        )?;
        let mut senders = Vec::with_capacity(hubs);
        for _ in 0..hubs {
            let (sender, commands) = mpsc::channel(COMMANDS_MAX);
            senders.push(sender);
            let hub = Hub::new(
                HubConfig {
                    ring_bytes_max: config.ring_bytes_max / hubs,
                    ring_age_max: config.ring_age_max,
                    idle_after: config.idle_after,
                    request_timeout: config.limits.request_timeout,
                },
                Arc::clone(&tiers),
                catch_up.clone(),
                mailboxes.clone(),
                metrics.clone(),
            );
            let heartbeat = parts
                .health
                .heartbeat("fanout hub", Duration::from_secs(30));
            let reader = parts.log.reader()?;
            shutdown.spawn(
                "fanout hub",
                hub.run(reader, commands, heartbeat, stop.clone()),
            );
        }
        let node = Arc::new(Node {
            name: config.node,
            verifier: parts.verifier,
            namespaces: parts.namespaces,
            door: Door::new(config.limits.connections_per_ip_max),
            allowance: Allowance::new(config.limits.methods),
            limits: config.limits,
            origins: parts.origins,
            tiers,
            keeper,
            directory,
            hubs: senders,
            shards: mailboxes,
            publish: parts.publish,
            runtime: Handle::current(),
            metrics,
            draining: CancellationToken::new(),
            next_shard: AtomicUsize::new(0),
        });
        shutdown.spawn(
            "fanout topics",
            footing::stand(Arc::clone(&node), stop.clone()),
        );
        let threads = opened
            .into_iter()
            .map(|(poll, mailbox)| {
                let name = format!("fanout shard {}", mailbox.shard());
                let heartbeat = parts.health.heartbeat(name, Duration::from_secs(30));
                Shard::start(Arc::clone(&node), poll, mailbox, heartbeat)
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            node,
            spread: config.drain_spread,
            threads: Mutex::new(threads),
            hubs: stop,
        })
    }

    /// The node's routes, with JSON answers for unknown paths and methods.
    pub fn router(&self) -> Router {
        http::router(Arc::clone(&self.node))
    }

    /// Says goodbye to everybody, spread over the configured time, and stops. Streams end, WebSockets are closed with
    /// 3001. Call it once nothing new is accepted; ends when the last connection is gone or at the deadline, and says
    /// whether all were.
    pub async fn drain(&self, deadline: Duration) -> bool {
        self.node.draining.cancel();
        let spread_ms = self.spread.as_millis() as u64;
        for shard in &self.node.shards {
            shard.post(ToShard::Drain { spread_ms });
        }
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let ended = tokio::task::spawn_blocking(move || {
            for thread in threads {
                if thread.join().is_err() {
                    tracing::error!("a shard had died");
                }
            }
        });
        let all = tokio::time::timeout(deadline, ended).await.is_ok();
        self.hubs.cancel();
        all
    }
}
