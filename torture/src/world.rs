//! The world that is tortured: brokers, PostgreSQL, two or three of each service, a proxy before everything.

use std::time::Duration;

use anyhow::Context as _;
use client::Endpoint;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use testbed::{Bed, Node, Proxy, Server};
use tokio::sync::{Mutex, MutexGuard};

/// What to build.
#[derive(Debug, Clone)]
pub struct Size {
    /// The `rivermouth` to start.
    pub binary: String,
    /// 1 or 3.
    pub brokers: u32,
    /// Processes of each service.
    pub copies: usize,
    /// Settings of every process over those of every run: name and value.
    pub settings: Vec<(String, String)>,
}

/// Everything that runs. Gone when dropped.
#[derive(Debug)]
pub struct World {
    // Processes end before what they stand on.
    /// The fan-out nodes.
    pub fanout: Vec<Member>,
    /// The gateways.
    pub ingest: Vec<Member>,
    /// The persisters.
    pub persister: Vec<Member>,
    /// The way to PostgreSQL, for the services; the judge goes past it.
    pub store: Proxy,
    /// Brokers (behind proxies of their own), settings, tokens.
    pub bed: Bed,
    /// PostgreSQL.
    pub server: Mutex<Server>,
}

/// One process with the proxy that clients come through.
#[derive(Debug)]
pub struct Member {
    /// `fanout-0`.
    pub name: String,
    /// The way in.
    pub door: Proxy,
    /// The door's address.
    pub endpoint: Endpoint,
    node: Mutex<Node>,
}

impl Member {
    /// The process, for whoever does something to it; nobody else does meanwhile.
    pub async fn node(&self) -> MutexGuard<'_, Node> {
        self.node.lock().await
    }
}

/// Partitions of each topic.
pub const PARTITIONS: i32 = 4;

/// Settings that bring into minutes what usually takes hours, and lift what keeps single users in bounds.
const SETTINGS: [(&str, &str); 9] = [
    ("RIVERMOUTH_HEARTBEAT_INTERVAL", "2s"),
    ("RIVERMOUTH_HEARTBEAT_TIMEOUT", "8s"),
    ("RIVERMOUTH_STUCK_TIMEOUT", "20s"),
    ("RIVERMOUTH_QUEUE_KIB", "64"),
    ("RIVERMOUTH_RING_MIB", "4"),
    ("RIVERMOUTH_SHUTDOWN_DEADLINE", "15s"),
    ("RATE_LIMIT_MESSAGES_PER_SECOND", "2000"),
    ("RIVERMOUTH_PUBLISH_BURST", "5000"),
    ("RATE_LIMIT_CONNECTIONS_PER_IP", "5000"),
];

impl World {
    /// Starts everything and waits until it is ready.
    pub async fn start(size: &Size) -> anyhow::Result<World> {
        let server = Server::start().await;
        let mut bed = Bed::beside(&size.binary, size.brokers, &server).await;
        let direct = bed.database().url().to_owned();
        let (at, port) = address(&direct).context("our own database URL names a port")?;
        let store = Proxy::to(at);
        bed.set(
            "DATABASE_URL",
            direct.replace(&format!(":{port}/"), &format!(":{}/", store.port())),
        );
        bed.set("RIVERMOUTH_PARTITIONS", PARTITIONS.to_string());
        for (name, value) in SETTINGS {
            bed.set(name, value);
        }
        for (name, value) in &size.settings {
            bed.set(name, value);
        }
        let world = World {
            // The first one makes the topics; the others find them.
            fanout: members(&bed, "fanout", size.copies).await?,
            ingest: members(&bed, "ingest", size.copies).await?,
            persister: members(&bed, "persister", size.copies).await?,
            store,
            bed,
            server: Mutex::new(server),
        };
        world.small_segments();
        Ok(world)
    }

    /// So small that retention has something to take within minutes.
    fn small_segments(&self) {
        for topic in self.topics() {
            let settings = ["segment.bytes=1048576", "segment.ms=15000"];
            self.bed.broker().cluster().set(&topic, &settings);
        }
    }

    /// Makes every way free again.
    pub fn open_all_ways(&self) {
        use testbed::Way;
        let doors = self
            .fanout
            .iter()
            .chain(&self.ingest)
            .map(|member| &member.door);
        for way in doors
            .chain([&self.store])
            .chain(self.bed.broker().proxies())
        {
            way.back();
            for direction in [Way::Up, Way::Down] {
                way.release(direction);
                way.delay(direction, Duration::ZERO);
            }
        }
    }

    /// A token for a user of every session and document.
    pub fn user(&self, sub: &str) -> String {
        self.bed
            .token(sub)
            .role("session.*", "gm")
            .role("docs.*", "editor")
            .expires_in(DAY_S)
            .mint()
    }

    /// A token of a backend.
    pub fn backend(&self) -> String {
        self.bed
            .token("backend")
            .cap("backend")
            .expires_in(DAY_S)
            .mint()
    }

    /// A connection or two to the tables, past the proxy. It survives restarts of the server.
    pub fn tables(&self) -> anyhow::Result<PgPool> {
        let options: PgConnectOptions = self.bed.database().url().parse()?;
        Ok(PgPoolOptions::new()
            .max_connections(2)
            .acquire_timeout(Duration::from_secs(5))
            .connect_lazy_with(options))
    }

    /// The full names of the durable topics.
    pub fn topics(&self) -> [String; 2] {
        ["events", "jobs"].map(|name| self.bed.broker().topic(name))
    }
}

/// Longer than any run.
const DAY_S: i64 = 20 * 3600;

async fn members(bed: &Bed, service: &str, copies: usize) -> anyhow::Result<Vec<Member>> {
    let mut members = Vec::new();
    for copy in 0..copies {
        let node = bed.start(service).await;
        let door = Proxy::to(node.url().trim_start_matches("http://"));
        let endpoint = Endpoint::parse(&format!("http://{}", door.address()))?;
        members.push(Member {
            name: format!("{service}-{copy}"),
            door,
            endpoint,
            node: Mutex::new(node),
        });
    }
    Ok(members)
}

/// `host:port` and the port of a `postgres://user@host:port/name`.
fn address(url: &str) -> Option<(String, String)> {
    let at = url.split('@').nth(1)?.split('/').next()?;
    let port = at.split(':').nth(1)?;
    Some((at.to_owned(), port.to_owned()))
}
