//! A whole Rivermouth for one test: its log, its database, its processes, its tokens.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use client::{Client, Endpoint, Http, Options};
use protocol::token::{Claims, mint};
use tempfile::TempDir;
use tokio::process::Command;
use uuid::Uuid;

use crate::checker::Checker;
use crate::kafka::Broker;
use crate::postgres::Database;
use crate::process::{Exited, Process};
use crate::wait::until;

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
        Bed::new(binary, |prefix| Some(Broker::shared(prefix))).await
    }

    /// On brokers of its own, which may be killed.
    pub async fn on_own_kafka(binary: &str, brokers: u32) -> Bed {
        Bed::new(binary, |prefix| Some(Broker::own(brokers, prefix))).await
    }

    /// On the embedded log: only `rivermouth dev` runs on it.
    pub async fn embedded(binary: &str) -> Bed {
        Bed::new(binary, |_| None).await
    }

    async fn new(binary: &str, broker: impl FnOnce(&str) -> Option<Broker>) -> Bed {
        let name = format!("t{}", &Uuid::new_v4().simple().to_string()[..12]);
        let database = Database::create(&name).await;
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
            settings.insert("KAFKA_BOOTSTRAP".to_owned(), broker.bootstrap().to_owned());
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

/// A token in the making.
#[derive(Debug, Clone)]
pub struct Token {
    claims: Claims,
    secret: String,
}

impl Token {
    /// With a role for a channel pattern.
    #[must_use]
    pub fn role(mut self, pattern: &str, role: &str) -> Token {
        self.claims = self.claims.role(pattern, role);
        self
    }

    /// With a capability everywhere.
    #[must_use]
    pub fn cap(mut self, cap: &str) -> Token {
        self.claims = self.claims.cap(cap);
        self
    }

    /// Expiring so many seconds from now; negative for an expired one.
    #[must_use]
    pub fn expires_in(mut self, seconds: i64) -> Token {
        self.claims.exp = unix_ms() / 1000 + seconds;
        self
    }

    /// The JWT.
    pub fn mint(&self) -> String {
        mint(self.secret.as_bytes(), &self.claims).expect("claims of a test can be signed")
    }
}

/// One process of one service. Started again, it keeps its ports.
#[derive(Debug)]
pub struct Node {
    name: String,
    binary: PathBuf,
    arguments: Vec<String>,
    settings: BTreeMap<String, String>,
    log: PathBuf,
    url: String,
    admin: Http,
    process: Option<Process>,
}

impl Node {
    /// Starts it (again) and waits until `/readyz` says so.
    pub async fn start(&mut self) {
        self.launch();
        self.ready().await;
    }

    /// Starts it without waiting.
    pub fn launch(&mut self) {
        let command = command(
            &self.binary,
            self.arguments.iter().map(String::as_str),
            &self.settings,
        );
        self.process = Some(Process::start(&self.name, command, &self.log));
    }

    /// Waits until it is ready; panics with its log when it ends instead.
    pub async fn ready(&mut self) {
        let (name, admin) = (
            self.name.clone(),
            self.admin.clone().with_deadline(Duration::from_secs(5)),
        );
        let Some(process) = &mut self.process else {
            panic!("{name} was not started")
        };
        until(&format!("{name} to be ready"), || {
            let ended = process.ended();
            assert!(
                ended.is_none(),
                "{name} ended with {ended:?}: {}",
                process.tail(25)
            );
            let admin = &admin;
            async move {
                admin
                    .get("/readyz")
                    .await
                    .ok()
                    .filter(|answer| answer.status.is_success())
            }
        })
        .await;
    }

    /// `http://127.0.0.1:…`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The same for the client library.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint::parse(&self.url).unwrap()
    }

    /// Its HTTP side.
    pub fn http(&self, token: &str) -> Http {
        Http::new(self.endpoint(), Some(token)).unwrap()
    }

    /// Its metrics port.
    pub fn admin(&self) -> &Http {
        &self.admin
    }

    /// The process, which must be running.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the process was started")
    }

    /// kill -9.
    pub async fn kill_9(&mut self) {
        self.process().kill_9().await;
    }

    /// SIGTERM, and how it ended.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.process().terminate().await
    }

    /// A client that knows this node first and `others` after it.
    pub fn client(&self, token: &str, others: &[&Node]) -> Client {
        let endpoints = std::iter::once(self)
            .chain(others.iter().copied())
            .map(Node::endpoint)
            .collect();
        Client::start(options(endpoints, token)).unwrap()
    }
}

/// The usual client, less patient between attempts.
fn options(endpoints: Vec<Endpoint>, token: &str) -> Options {
    let mut options = Options::new(endpoints, token);
    options.backoff_first = Duration::from_millis(100);
    options.backoff_most = Duration::from_secs(1);
    options.request_timeout = crate::PATIENCE;
    options
}

fn command<'a>(
    binary: &Path,
    arguments: impl Iterator<Item = &'a str>,
    settings: &BTreeMap<String, String>,
) -> Command {
    let mut command = Command::new(binary);
    command.args(arguments);
    // Nothing of the surroundings but what a program needs to run: a test must not depend on the rest.
    command.env_clear();
    for kept in [
        "PATH",
        "HOME",
        "TMPDIR",
        "PG_BIN",
        "XDG_CACHE_HOME",
        "RUST_BACKTRACE",
    ] {
        if let Some(value) = std::env::var_os(kept) {
            command.env(kept, value);
        }
    }
    let level = std::env::var("RIVERMOUTH_TEST_LOG").unwrap_or_else(|_| "info".into());
    command.env("LOG_LEVEL", level).envs(settings);
    command
}

/// A port below those that the system gives to outgoing connections, so that nobody else takes it between
/// here and the process that binds it.
fn free_port() -> u16 {
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
