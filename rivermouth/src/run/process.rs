//! The life of one service process: logs, metrics port, signals, and stopping in the right order.
//!
//! Stopping: not ready → (a pause for load balancers) → the doors close and clients are sent elsewhere →
//! the workers finish what they hold → the log and the database are let go → exit 0. All of it has one
//! deadline; when it passes, the process says what was left and exits 1.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::Router;
use broker::Log;
use service::{Health, Metrics, ServeConfig, Shutdown};
use store::Store;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::settings::process::ProcessArgs;

/// A process that has started and is told to stop by a signal, or by a part that failed.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) health: Health,
    pub(crate) metrics: Metrics,
    /// Given by a signal or a failure; starts the stopping.
    pub(crate) stop: Shutdown,
    /// Listeners and connections; stops first.
    pub(crate) doors: Shutdown,
    /// What works behind them; stops when the doors are closed.
    pub(crate) workers: Shutdown,
    /// The metrics port; stops last, so that draining can be watched.
    admin: Shutdown,
    /// Where the metrics port listens.
    pub(crate) metrics_address: SocketAddr,
    failure: Arc<Mutex<Option<anyhow::Error>>>,
    deadline: Duration,
    pause: Duration,
}

impl Process {
    /// Opens the metrics port and listens for signals. Settings are checked and logs run by now.
    pub(crate) fn start(name: &'static str, args: &ProcessArgs) -> anyhow::Result<Self> {
        let listener = service::bind(args.metrics_address())?;
        let process = Process {
            metrics_address: listener.local_addr()?,
            health: Health::new(name),
            metrics: Metrics::new(),
            stop: Shutdown::new(),
            doors: Shutdown::new(),
            workers: Shutdown::new(),
            admin: Shutdown::new(),
            failure: Arc::default(),
            deadline: args.shutdown_deadline,
            pause: args.drain_pause,
        };
        raise_open_files();
        process.stop.on_signals().context("listening for signals")?;
        service::admin::register_process(&process.metrics);
        tracing::info!(service = name, metrics = %process.metrics_address, "started");
        let router = service::admin_router(process.health.clone(), process.metrics.clone());
        let config = ServeConfig {
            connections_max: 256,
            drain_deadline: Duration::from_secs(1),
            ..ServeConfig::default()
        };
        // The numbers of the metrics port itself are nobody's concern.
        let (quiet, stop) = (Metrics::new(), process.admin.clone());
        process.admin.spawn("metrics port", async move {
            let _ = service::serve(listener, router, config, &quiet, stop).await;
        });
        Ok(process)
    }

    /// Serves `router` on the public port until the doors close.
    pub(crate) fn open_doors(&self, listener: TcpListener, router: Router, config: ServeConfig) {
        let (metrics, doors) = (self.metrics.clone(), self.doors.clone());
        let failure = Arc::clone(&self.failure);
        self.doors.spawn("public port", async move {
            if let Err(error) = service::serve(listener, router, config, &metrics, doors).await {
                tracing::warn!(%error, "the public port did not drain");
                keep(&failure, error.into());
            }
        });
    }

    /// Runs a worker. When it fails, or ends before it was told to, the process stops and fails.
    pub(crate) fn run_worker<F>(&self, name: &'static str, worker: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let (stop, workers) = (self.stop.clone(), self.workers.clone());
        let failure = Arc::clone(&self.failure);
        let worker = self.workers.spawn(name, worker);
        self.workers.spawn("watching", async move {
            match worker.await {
                Ok(Ok(())) if workers.is_started() => {}
                Ok(Ok(())) => keep(&failure, anyhow::anyhow!("{name} ended by itself")),
                Ok(Err(error)) => keep(&failure, error.context(name)),
                // A panic; what it was is in the log.
                Err(_) => keep(&failure, anyhow::anyhow!("{name} ended by a defect")),
            }
            stop.start();
        });
    }

    /// Waits for the order to stop, then stops everything; see the top of this file.
    pub(crate) async fn until_stopped(
        self,
        log: &Log,
        store: Option<&Store>,
    ) -> anyhow::Result<()> {
        self.stop.started().await;
        self.health.drain();
        tokio::time::sleep(self.pause).await;
        let deadline = Instant::now() + self.deadline;
        let left = || deadline.saturating_duration_since(Instant::now());

        let mut unfinished = Vec::new();
        for part in [&self.doors, &self.workers] {
            part.start();
            if let Err(error) = part.finished(left()).await {
                unfinished.extend(error.tasks);
            }
        }
        let closed = tokio::time::timeout(left(), log.close(left())).await;
        if !matches!(closed, Ok(Ok(()))) {
            unfinished.push("log");
        }
        if let Some(store) = store
            && tokio::time::timeout(left(), store.close()).await.is_err()
        {
            unfinished.push("PostgreSQL");
        }
        self.admin.start();
        // Nobody waits for the metrics port: it holds nothing.
        let _ = self.admin.finished(Duration::from_millis(500)).await;

        let failure = self
            .failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(failure) = failure {
            return Err(failure);
        }
        if !unfinished.is_empty() {
            tracing::error!(left = ?unfinished, "the shutdown deadline has passed");
            bail!(
                "still running at the shutdown deadline: {}",
                unfinished.join(", ")
            );
        }
        tracing::info!("stopped");
        Ok(())
    }

    /// Lets go of a process that was told to stop before it had anything to do.
    pub(crate) async fn abandon(self) -> anyhow::Result<()> {
        self.admin.start();
        let _ = self.admin.finished(Duration::from_millis(500)).await;
        Ok(())
    }
}

/// Every connection is a file; the soft limit is often 1024, the hard one is what the system really allows.
fn raise_open_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::warn!(%error, soft, "the limit of open files stays low");
    }
}

/// The first failure is the cause; what follows from it is not told.
fn keep(failure: &Mutex<Option<anyhow::Error>>, error: anyhow::Error) {
    failure
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get_or_insert(error);
}

#[cfg(test)]
mod tests {
    use broker::EmbeddedConfig;
    use service::telemetry::LogFormat;

    use super::*;

    async fn started() -> (Process, Log, std::path::PathBuf) {
        let args = ProcessArgs {
            log_level: "info".to_owned(),
            log_format: LogFormat::Auto,
            metrics_port: 0,
            metrics_bind: [127, 0, 0, 1].into(),
            drain_pause: Duration::ZERO,
            shutdown_deadline: Duration::from_secs(5),
        };
        let dir = std::env::temp_dir().join(format!("process-{}", uuid::Uuid::new_v4()));
        let log = Log::embedded(EmbeddedConfig::new(&dir)).await.unwrap();
        (Process::start("test", &args).unwrap(), log, dir)
    }

    #[tokio::test]
    async fn doors_close_before_the_workers_stop() {
        let (process, log, dir) = started().await;
        let (doors, workers) = (process.doors.clone(), process.workers.clone());
        process.doors.spawn("door", async move {
            doors.started().await;
            assert!(!workers.is_started());
        });
        let told = process.workers.clone();
        process.run_worker("worker", async move {
            told.started().await;
            Ok(())
        });
        process.stop.start();
        process.until_stopped(&log, None).await.unwrap();
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[tokio::test]
    async fn what_still_runs_at_the_deadline_is_named_and_is_a_failure() {
        let (mut process, log, dir) = started().await;
        process.deadline = Duration::from_millis(50);
        process.run_worker("stubborn", std::future::pending());
        process.stop.start();
        let error = process.until_stopped(&log, None).await.unwrap_err();
        assert!(error.to_string().contains("stubborn"), "{error}");
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[tokio::test]
    async fn a_worker_that_fails_stops_the_process_and_is_its_cause() {
        let (process, log, dir) = started().await;
        process.run_worker("weak", async { bail!("no more disk") });
        let error = process.until_stopped(&log, None).await.unwrap_err();
        assert_eq!(format!("{error:#}"), "weak: no more disk");
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[tokio::test]
    async fn a_worker_that_panics_is_not_missed() {
        let (process, log, dir) = started().await;
        process.run_worker("broken", async { panic!("on purpose") });
        let error = process.until_stopped(&log, None).await.unwrap_err();
        assert_eq!(error.to_string(), "broken ended by a defect");
        std::fs::remove_dir_all(dir).unwrap();
    }
}
