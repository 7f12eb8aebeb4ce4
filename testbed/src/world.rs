//! A whole Rivermouth for one test: its log, its database, its processes, its tokens.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use client::{Endpoint, Http};
use protocol::token::Claims;
use tempfile::TempDir;
use uuid::Uuid;

use crate::checker::Checker;
use crate::kafka::{Broker, Cluster};
use crate::node::{Node, command};
use crate::postgres::Database;
use crate::process::{Exited, Process};
use crate::server::Server;
use crate::token::Token;

/// Unix milliseconds.
pub fn unix_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("the clock is past 1970");
    i64::try_from(since.as_millis()).expect("for a while")
}

/// One test's world. Everything in it is gone when it is dropped.
#[derive(Debug)]
pub struct Bed {
    // Processes end before what they stand on: nodes are dropped by the test, then these in order.
    settings: BTreeMap<String, String>,
    binary: PathBuf,
    secret: String,
    broker: Option<Broker>,
    database: Database,
    dir: TempDir,
    started: AtomicU16,
}

impl Bed {
    /// On the shared Kafka. `binary` is the `rivermouth` to test.
    pub async fn on_kafka(binary: &str) -> Bed {
        Bed::new(binary, None, |prefix| Some(Broker::shared(prefix))).await
    }

    /// On brokers of its own, which may be killed.
    pub async fn on_own_kafka(binary: &str, brokers: u32) -> Bed {
        Bed::new(binary, None, |prefix| Some(Broker::own(brokers, prefix))).await
    }

    /// On the shared Kafka, with a database on a PostgreSQL of its own.
    pub async fn on_kafka_and(binary: &str, server: &Server) -> Bed {
        let broker = |prefix: &str| Some(Broker::shared(prefix));
        Bed::new(binary, Some(server), broker).await
    }

    /// As [`Bed::behind_proxies`], beside a PostgreSQL of its own: everything may be killed.
    pub async fn beside(binary: &str, brokers: u32, server: &Server) -> Bed {
        Bed::new(binary, Some(server), |prefix| {
            Some(Broker::proxied(brokers, prefix))
        })
        .await
    }

    /// On brokers of its own, with a proxy before each ([`Broker::proxies`]): they may be killed, and what the
    /// services hear of them may be cut, held and delayed. The checker goes past the proxies.
    pub async fn behind_proxies(binary: &str, brokers: u32) -> Bed {
        Bed::new(binary, None, |prefix| {
            Some(Broker::proxied(brokers, prefix))
        })
        .await
    }

    /// On brokers and a PostgreSQL that outlive it.
    pub async fn on(binary: &str, cluster: &Cluster, server: &Server) -> Bed {
        Bed::new(binary, Some(server), |prefix| {
            Some(Broker::of(cluster, prefix))
        })
        .await
    }

    /// On the embedded log: only `rivermouth dev` runs on it.
    pub async fn embedded(binary: &str) -> Bed {
        Bed::new(binary, None, |_| None).await
    }

    async fn new(
        binary: &str,
        server: Option<&Server>,
        broker: impl FnOnce(&str) -> Option<Broker>,
    ) -> Bed {
        let name = format!("t{}", &Uuid::new_v4().simple().to_string()[..12]);
        let database = match server {
            Some(server) => Database::on(server, &name).await,
            None => Database::create(&name).await,
        };
        let broker = broker(&name);
        let secret = Uuid::new_v4().to_string() + &Uuid::new_v4().to_string();
        let mut settings = BTreeMap::from([
            ("DATABASE_URL".to_owned(), database.url().to_owned()),
            ("JWT_SECRET".to_owned(), secret.clone()),
            ("RIVERMOUTH_BIND".to_owned(), "127.0.0.1".to_owned()),
            ("RIVERMOUTH_METRICS_BIND".to_owned(), "127.0.0.1".to_owned()),
            ("RIVERMOUTH_PARTITIONS".to_owned(), "4".to_owned()),
            (
                "RATE_LIMIT_CONNECTIONS_PER_IP".to_owned(),
                "5000".to_owned(),
            ),
            (
                "CORS_ORIGINS".to_owned(),
                "https://app.example.org".to_owned(),
            ),
        ]);
        if let Some(broker) = &broker {
            settings.insert("KAFKA_BOOTSTRAP".to_owned(), broker.entry());
            settings.insert(
                "RIVERMOUTH_TOPIC_PREFIX".to_owned(),
                broker.prefix().to_owned(),
            );
        }
        let dir =
            TempDir::with_prefix("rivermouth-bed-").expect("a temporary directory can be made");
        let bed = Bed {
            settings,
            binary: binary.into(),
            secret,
            broker,
            database,
            dir,
            started: AtomicU16::new(0),
        };
        if bed.broker.is_some() {
            let migrated = bed.run(&["migrate"]).await;
            assert!(
                migrated.status.success(),
                "rivermouth migrate: {}",
                migrated.output
            );
        }
        bed
    }

    /// Sets a setting for every process started from now on.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.settings.insert(name.to_owned(), value.into());
    }

    /// The Kafka; panics on the embedded log.
    pub fn broker(&self) -> &Broker {
        self.broker.as_ref().expect("this bed has a Kafka")
    }

    /// The database.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// A directory for files of this test.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts a service (`fanout`, `ingest`, `persister`, `dev`) and waits until it is ready.
    pub async fn start(&self, service: &str) -> Node {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let (port, admin) = (free_port(), free_port());
        let mut settings = self.settings.clone();
        settings.insert("REALTIME_PORT".to_owned(), port.to_string());
        settings.insert("METRICS_PORT".to_owned(), admin.to_string());
        let mut arguments = vec![service.to_owned()];
        if service == "dev" {
            let data = self.dir.path().join("data");
            arguments.extend(["--data-dir".to_owned(), data.display().to_string()]);
        }
        let log = self.dir.path().join(format!("{service}-{number}.log"));
        let name = format!("{service}-{number}");
        let url = format!("http://127.0.0.1:{port}");
        let admin = Http::new(
            Endpoint::parse(&format!("http://127.0.0.1:{admin}")).unwrap(),
            None,
        )
        .unwrap();
        let mut node = Node {
            name,
            binary: self.binary.clone(),
            arguments,
            settings,
            log,
            url,
            admin,
            process: None,
        };
        node.start().await;
        node
    }

    /// Runs a command of `rivermouth` to its end, with this world's settings.
    pub async fn run(&self, arguments: &[&str]) -> Exited {
        let command = command(&self.binary, arguments.iter().copied(), &self.settings);
        let log = self.dir.path().join(format!("run-{}.log", Uuid::new_v4()));
        let mut process = Process::start("rivermouth", command, &log);
        let status = process.wait().await;
        Exited {
            status,
            output: process.output(),
        }
    }

    /// Starts a command of `rivermouth` that goes on, such as `tail`.
    pub fn spawn(&self, arguments: &[&str]) -> Process {
        let command = command(&self.binary, arguments.iter().copied(), &self.settings);
        let log = self.dir.path().join(format!("run-{}.log", Uuid::new_v4()));
        Process::start(
            arguments.first().copied().unwrap_or("rivermouth"),
            command,
            &log,
        )
    }

    /// A token to be filled in; good for an hour.
    pub fn token(&self, sub: &str) -> Token {
        Token {
            claims: Claims::new(sub, unix_ms() / 1000 + 3600),
            secret: self.secret.clone(),
        }
    }

    /// The token of a backend.
    pub fn backend(&self) -> String {
        self.token("backend").cap("backend").mint()
    }

    /// The token of a gm of every session.
    pub fn gm(&self, sub: &str) -> String {
        self.token(sub).role("session.*", "gm").mint()
    }

    /// What reads the log and the tables by itself.
    pub async fn checker(&self) -> Checker {
        let broker = self
            .broker
            .as_ref()
            .map(|broker| (broker.bootstrap().to_owned(), broker.prefix().to_owned()));
        Checker::new(broker, self.database.pool().await)
    }
}

/// A port below those that the system gives to outgoing connections, so that nobody else takes it between
/// here and the process that binds it.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test binaries that run side by side begin at different places.
    let start = u16::try_from(std::process::id() % 97 * 100).expect("below 9700");
    for _ in 0..9_700 {
        let port = 10_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 9_700;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port")
}
