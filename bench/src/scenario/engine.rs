//! The servers under test, started on their processor.

use std::rc::Rc;

use testbed::{Bed, Node};

use super::{Sitting, node};
use crate::dialect::{Dialect, Relay, Rivermouth};
use crate::load::{Kafka, Watched};
use crate::machine::{Pinned, SERVER_CPU};
use crate::peers::{self, Peer};
use crate::relay::{Manner, Process};

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Engine {
    /// The coalescing relay.
    Raw,
    /// The relay that writes every message by itself.
    RawNocoalesce,
    /// `rivermouth fanout`, its clients publishing over their own connections.
    Rivermouth,
    /// `rivermouth fanout`, a backend publishing into Kafka.
    RivermouthKafka,
    /// Socket.IO alone.
    Socketio,
    /// Socket.IO with Redis.
    SocketioRedis,
    /// nginx with nchan.
    Nchan,
    /// The NATS server over WebSocket.
    Nats,
}

impl Engine {
    /// Those of our own.
    pub const OWN: [Engine; 4] = [
        Engine::Raw,
        Engine::RawNocoalesce,
        Engine::Rivermouth,
        Engine::RivermouthKafka,
    ];

    /// Those of others, which are measured only when asked for.
    pub const PEERS: [Engine; 4] = [
        Engine::Socketio,
        Engine::SocketioRedis,
        Engine::Nchan,
        Engine::Nats,
    ];

    /// Its name in the results.
    pub fn name(self) -> &'static str {
        match self {
            Engine::Raw => Manner::Coalesce.name(),
            Engine::RawNocoalesce => Manner::Each.name(),
            Engine::Rivermouth => "rivermouth",
            Engine::RivermouthKafka => "rivermouth-kafka",
            Engine::Socketio => "socketio",
            Engine::SocketioRedis => "socketio-redis",
            Engine::Nchan => "nchan",
            Engine::Nats => "nats",
        }
    }
}

/// A server that runs.
pub struct Running {
    /// How it is spoken to.
    pub dialect: Rc<dyn Dialect>,
    /// Its process, and those of the Kafka or the Redis that it needs.
    pub watched: Vec<Watched>,
    /// The way into Kafka, when that is how events come.
    pub kafka: Option<Kafka>,
    /// The world of Rivermouth.
    pub river: Option<(Bed, Node)>,
    _relay: Option<Process>,
    _peer: Option<peers::Server>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running")
            .field("dialect", &self.dialect)
            .finish_non_exhaustive()
    }
}

/// What a server has to be ready for.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    /// So many users.
    pub users: u32,
    /// Publishes are answered.
    pub acknowledged: bool,
    /// How long a backend that writes to Kafka waits for company.
    pub linger_ms: u32,
}

impl Wish {
    /// So many users, who are not answered; a backend hardly waits.
    pub const fn users(users: u32) -> Wish {
        Wish {
            users,
            acknowledged: false,
            linger_ms: 1,
        }
    }
}

impl Engine {
    /// Starts it.
    pub async fn start(self, sitting: &mut Sitting, wish: Wish) -> anyhow::Result<Running> {
        match self {
            Engine::Raw => raw(Manner::Coalesce),
            Engine::RawNocoalesce => raw(Manner::Each),
            Engine::Rivermouth => {
                let bed = sitting.bed().await?;
                fanout(sitting, bed, wish, false).await
            }
            Engine::RivermouthKafka => {
                let bed = sitting.bed().await?;
                fanout(sitting, bed, wish, true).await
            }
            Engine::Socketio => peer(Peer::SocketIo),
            Engine::SocketioRedis => peer(Peer::SocketIoRedis),
            Engine::Nchan => peer(Peer::Nchan),
            Engine::Nats => peer(Peer::Nats),
        }
    }
}

fn raw(manner: Manner) -> anyhow::Result<Running> {
    let pinned = Pinned::to(SERVER_CPU)?;
    let relay = Process::start(manner)?;
    drop(pinned);
    Ok(Running {
        dialect: Rc::new(Relay {
            address: relay.address(),
        }),
        watched: vec![Watched::server(relay.pid())],
        kafka: None,
        river: None,
        _relay: Some(relay),
        _peer: None,
    })
}

fn peer(peer: Peer) -> anyhow::Result<Running> {
    let server = peer.start()?;
    let redis = server.redis.map(|pid| Watched::new("redis", pid));
    Ok(Running {
        dialect: Rc::clone(&server.dialect),
        watched: std::iter::once(Watched::server(server.pid))
            .chain(redis)
            .collect(),
        kafka: None,
        river: None,
        _relay: None,
        _peer: Some(server),
    })
}

/// A fan-out node in a world; `by_kafka` when events come from there and not from its clients.
pub(super) async fn fanout(
    sitting: &Sitting,
    bed: Bed,
    wish: Wish,
    by_kafka: bool,
) -> anyhow::Result<Running> {
    let mut node = node::start(&bed, "fanout").await?;
    let mut dialect = Rivermouth::new(node::address(&node)?, wish.users, |user| bed.token(user));
    dialect.acknowledged = wish.acknowledged;
    let kafka = by_kafka
        .then(|| {
            Kafka::new(
                bed.broker().bootstrap(),
                &bed.broker().topic("events"),
                wish.linger_ms,
            )
        })
        .transpose()?;
    Ok(Running {
        dialect: Rc::new(dialect),
        watched: sitting.watched(node.process().pid()),
        kafka,
        river: Some((bed, node)),
        _relay: None,
        _peer: None,
    })
}
