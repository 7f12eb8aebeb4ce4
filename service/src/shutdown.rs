//! One token that says "stop", and the list of the tasks that somebody waits for.
//!
//! Data enters as one call of [`Shutdown::start`] (from a signal, a test or a failing part) and leaves as
//! [`Shutdown::started`] in every task. [`Shutdown::finished`] waits for all of them against a deadline and
//! names those that did not make it.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// The stop signal of a process (or of one part of it) and its tasks. Clones are the same signal.
#[derive(Clone)]
pub struct Shutdown {
    token: CancellationToken,
    tasks: TaskTracker,
    names: Arc<Names>,
}

#[derive(Default)]
struct Names {
    next: AtomicU64,
    running: Mutex<BTreeMap<u64, &'static str>>,
}

impl Shutdown {
    /// A signal that has not been given yet.
    #[must_use]
    pub fn new() -> Self {
        Shutdown {
            token: CancellationToken::new(),
            tasks: TaskTracker::new(),
            names: Arc::default(),
        }
    }

    /// A signal of its own for one part: it is given when this one is, or when the part is stopped alone.
    /// The part's tasks are counted by the part alone.
    #[must_use]
    pub fn child(&self) -> Self {
        Shutdown {
            token: self.token.child_token(),
            tasks: TaskTracker::new(),
            names: Arc::default(),
        }
    }

    /// Gives the signal. Giving it twice is the same as once.
    pub fn start(&self) {
        self.token.cancel();
    }

    /// True once the signal was given.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits for the signal. Cancel safe; returns at once when it was already given.
    pub async fn started(&self) {
        self.token.cancelled().await;
    }

    /// As [`Shutdown::started`], for futures that must not borrow.
    pub fn started_owned(&self) -> WaitForCancellationFutureOwned {
        self.token.clone().cancelled_owned()
    }

    /// The bare token, for libraries that ask for one.
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Spawns a task that [`Shutdown::finished`] waits for. The task ends by itself soon after the signal:
    /// nothing is aborted. `name` appears in its span and in the list of the unfinished.
    pub fn spawn<F>(&self, name: &'static str, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let entry = self.names.enter(name);
        let span = tracing::info_span!("task", name);
        self.tasks.spawn(
            async move {
                let _entry = entry;
                task.await
            }
            .instrument(span),
        )
    }

    /// Runs blocking code on its own thread; [`Shutdown::finished`] waits for it too.
    pub fn spawn_blocking<F, T>(&self, name: &'static str, task: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let entry = self.names.enter(name);
        self.tasks.spawn_blocking(move || {
            let _entry = entry;
            task()
        })
    }

    /// Waits until every task has ended. Call it after [`Shutdown::start`].
    ///
    /// # Errors
    /// [`Unfinished`] names the tasks that still run when `deadline` has passed; they are left as they are.
    pub async fn finished(&self, deadline: Duration) -> Result<(), Unfinished> {
        self.tasks.close();
        match tokio::time::timeout(deadline, self.tasks.wait()).await {
            Ok(()) => Ok(()),
            Err(_) => Err(Unfinished {
                tasks: self.names.running(),
            }),
        }
    }

    /// Gives the signal when the process is told to stop (SIGTERM, SIGINT). A second signal ends the
    /// process at once with status 130: whoever presses Ctrl-C twice means it.
    ///
    /// # Errors
    /// When the handlers cannot be installed; the process would then not be stoppable and should not start.
    pub fn on_signals(&self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = self.clone();
        // Not counted among the tasks: it lives as long as the process.
        tokio::spawn(async move {
            let which = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            tracing::info!(signal = which, "stopping");
            shutdown.start();
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::warn!("told to stop twice, leaving at once");
            std::process::exit(130);
        });
        Ok(())
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shutdown")
            .field("started", &self.is_started())
            .field("running", &self.names.running())
            .finish()
    }
}

/// The deadline of a shutdown passed while these tasks were still running.
#[derive(Debug, thiserror::Error)]
#[error("still running at the deadline: {}", tasks.join(", "))]
pub struct Unfinished {
    /// Names as given to [`Shutdown::spawn`], one per running task.
    pub tasks: Vec<&'static str>,
}

impl Names {
    fn enter(self: &Arc<Self>, name: &'static str) -> Entry {
        let key = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(key, name);
        Entry {
            names: Arc::clone(self),
            key,
        }
    }

    fn running(&self) -> Vec<&'static str> {
        self.lock().values().copied().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, &'static str>> {
        // The map stays whole whatever a holder of the lock was doing when it panicked.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the name off the list when the task ends, also by a panic.
struct Entry {
    names: Arc<Names>,
    key: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.names.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tasks_hear_the_signal_and_are_waited_for() {
        let shutdown = Shutdown::new();
        let inner = shutdown.clone();
        let task = shutdown.spawn("listener", async move {
            inner.started().await;
            7
        });
        shutdown.start();
        shutdown.finished(Duration::from_secs(5)).await.unwrap();
        assert_eq!(task.await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_task_that_does_not_stop_is_named() {
        let shutdown = Shutdown::new();
        shutdown.spawn("stubborn", std::future::pending::<()>());
        shutdown.start();
        let unfinished = shutdown
            .finished(Duration::from_millis(20))
            .await
            .unwrap_err();
        assert_eq!(unfinished.tasks, ["stubborn"]);
    }

    #[tokio::test]
    async fn a_child_stops_with_its_parent_and_not_the_other_way_round() {
        let parent = Shutdown::new();
        let child = parent.child();
        child.start();
        assert!(!parent.is_started());
        let other = parent.child();
        parent.start();
        other.started().await;
    }
}
