//! One process of a world.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use client::{Client, Endpoint, Http, Options};
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use crate::process::Process;
use crate::wait::until;

/// One process of one service. Started again, it keeps its ports.
#[derive(Debug)]
pub struct Node {
    pub(crate) name: String,
    pub(crate) binary: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) log: PathBuf,
    pub(crate) url: String,
    pub(crate) admin: Http,
    pub(crate) process: Option<Process>,
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
        if let Err(ended) = self.settled().await {
            panic!("{ended}");
        }
    }

    /// Starts it as a supervisor does: again, a second after it has ended by itself, until it is ready or `patience`
    /// is over. How often it refused to start; `Err` with the end of its log when it never did.
    pub async fn supervise(&mut self, patience: Duration) -> Result<u32, String> {
        let deadline = Instant::now() + patience;
        let mut refused = 0;
        loop {
            self.launch();
            match self.settled().await {
                Ok(()) => return Ok(refused),
                Err(ended) if Instant::now() > deadline => return Err(ended),
                Err(_) => refused += 1,
            }
            sleep(Duration::from_secs(1)).await;
        }
    }

    /// Waits until it is ready, or has ended: how, and the end of its log.
    async fn settled(&mut self) -> Result<(), String> {
        let (name, admin) = (
            self.name.clone(),
            self.admin.clone().with_deadline(Duration::from_secs(5)),
        );
        let Some(process) = &mut self.process else {
            panic!("{name} was not started")
        };
        until(&format!("{name} to be ready"), || {
            let ended = process
                .ended()
                .map(|status| format!("{name} ended with {status:?}: {}", process.tail(25)));
            let admin = &admin;
            async move {
                if let Some(ended) = ended {
                    return Some(Err(ended));
                }
                let answer = admin.get("/readyz").await.ok()?;
                answer.status.is_success().then_some(Ok(()))
            }
        })
        .await
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

    /// Everything it printed.
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
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

pub(crate) fn command<'a>(
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
