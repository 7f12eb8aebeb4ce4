//! The pool of connections, and the deadlines every statement runs under.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Postgres, Transaction};

use crate::StoreError;
use crate::days::KnownDays;

/// Begins a transaction that writes.
pub(crate) const BEGIN: &str = "begin";
/// Begins one that reads everything as of one moment.
pub(crate) const BEGIN_SNAPSHOT: &str = "begin isolation level repeatable read read only";

/// How many connections, and how long anything may take.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Connections at most.
    pub connections_max: u32,
    /// How long to wait for a free connection, the making of one included.
    pub acquire_timeout: Duration,
    /// How long one call may take, whatever it does: a network that swallows everything is heard of by this alone.
    pub call_timeout: Duration,
    /// How long one statement may run.
    pub statement_timeout: Duration,
    /// How long one statement may wait for a lock, for example one an administrator holds.
    pub lock_timeout: Duration,
    /// What `pg_stat_activity` calls us.
    pub application_name: String,
}

impl Default for StoreOptions {
    fn default() -> StoreOptions {
        StoreOptions {
            connections_max: 8,
            acquire_timeout: Duration::from_secs(5),
            call_timeout: Duration::from_secs(20),
            statement_timeout: Duration::from_secs(15),
            lock_timeout: Duration::from_secs(5),
            application_name: "rivermouth".to_owned(),
        }
    }
}

/// PostgreSQL. A cheap clone; all clones share one pool.
#[derive(Clone)]
pub struct Store {
    pub(crate) pool: PgPool,
    pub(crate) connect: Arc<PgConnectOptions>,
    call_timeout: Duration,
    /// Small numbers of topics already asked for; they never change.
    pub(crate) topic_ids: Arc<Mutex<HashMap<(String, u16), i16>>>,
    /// Days whose partition is known to exist.
    pub(crate) days: Arc<Mutex<KnownDays>>,
    /// Connections made before this moment lead to a server that writes nothing, and are not used again.
    stale: Arc<Mutex<Option<Instant>>>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the options: they hold the password.
        f.debug_struct("Store")
            .field("connections", &self.pool.size())
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Prepares a pool for `url` (`postgres://user:password@host:port/database`) without connecting yet, so that a
    /// service starts while PostgreSQL is away; [`Store::ping`] tells whether it is there.
    ///
    /// # Errors
    /// [`StoreError::Fatal`] when the url is malformed.
    // Async because the pool belongs to the runtime it is made in.
    #[allow(clippy::unused_async)]
    pub async fn connect(url: &str, options: StoreOptions) -> Result<Store, StoreError> {
        let base = PgConnectOptions::from_str(url)
            .map_err(|error| StoreError::from_sqlx("reading the database url", error))?
            .application_name(&options.application_name);
        let millis = |limit: Duration| limit.as_millis().to_string();
        let limited = base.clone().options([
            ("statement_timeout", millis(options.statement_timeout)),
            ("lock_timeout", millis(options.lock_timeout)),
            // Compiling a plan over many days takes longer than running it.
            ("jit", "off".to_owned()),
            // A process stopped in the middle of a transaction must not hold its locks for ever (fault F52).
            (
                "idle_in_transaction_session_timeout",
                millis(options.statement_timeout),
            ),
        ]);
        let stale: Arc<Mutex<Option<Instant>>> = Arc::default();
        let known_stale = Arc::clone(&stale);
        let pool = PgPoolOptions::new()
            .max_connections(options.connections_max)
            .acquire_timeout(options.acquire_timeout)
            .before_acquire(move |_, connection| {
                let made = Instant::now().checked_sub(connection.age);
                let stale = known_stale.lock().ok().and_then(|stale| *stale);
                let usable = stale.is_none() || made > stale;
                Box::pin(async move { Ok(usable) })
            })
            .connect_lazy_with(limited);
        Ok(Store {
            pool,
            connect: Arc::new(base),
            call_timeout: options.call_timeout,
            topic_ids: Arc::default(),
            days: Arc::default(),
            stale,
        })
    }

    /// Whether PostgreSQL answers.
    ///
    /// # Errors
    /// [`StoreError::Retry`] while it does not, [`StoreError::Fatal`] when it refuses us.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.within("asking PostgreSQL for a sign of life", async {
            sqlx::query("select 1")
                .execute(&self.pool)
                .await
                .map_err(|error| {
                    StoreError::from_sqlx("asking PostgreSQL for a sign of life", error)
                })?;
            Ok(())
        })
        .await
    }

    /// Closes all connections; waits for those in use to come back.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Begins a transaction, by [`BEGIN`] or [`BEGIN_SNAPSHOT`].
    ///
    /// In a task of its own, bounded by the deadlines of the connection: sqlx rolls back only what it knows to have
    /// begun, so a caller that gave up just before the answer would leave a connection in the pool inside a transaction
    /// that nobody ends. Here the transaction comes to be, and goes with the task's answer.
    pub(crate) async fn begin(
        &self,
        statement: &'static str,
    ) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        let pool = self.pool.clone();
        tokio::spawn(async move { pool.begin_with(statement).await })
            .await
            .unwrap_or(Err(sqlx::Error::WorkerCrashed))
    }

    /// Ends a call that takes too long; its connection is not used again before it is whole.
    pub(crate) async fn within<T>(
        &self,
        during: &'static str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let answer = tokio::time::timeout(self.call_timeout, call)
            .await
            .unwrap_or_else(|_| {
                Err(StoreError::retry(
                    during,
                    "PostgreSQL does not answer in time",
                ))
            });
        if let Err(StoreError::Retry {
            read_only: true, ..
        }) = &answer
            && let Ok(mut stale) = self.stale.lock()
        {
            *stale = Some(Instant::now());
        }
        answer
    }
}
