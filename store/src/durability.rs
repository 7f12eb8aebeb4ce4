//! What is wrong with a database: settings under which what was committed may be lost, and tables of another version.

use std::fmt;

use crate::{Store, StoreError};

/// One such thing, or that it cannot be asked; each with a code that never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Weakness {
    /// PostgreSQL does not answer; the reason.
    Away(String),
    /// The tables are not there, or those of an earlier version: nothing can be stored or read.
    NotMigrated {
        /// So many migrations have not been applied.
        missing: usize,
        /// So many there are.
        all: usize,
    },
    /// `fsync` is off: a power cut destroys the database.
    FsyncOff,
    /// `full_page_writes` is off: a power cut may leave half-written pages.
    FullPageWritesOff,
    /// `synchronous_commit` is off: a crash loses the last transactions. They come again from the log.
    SynchronousCommitOff,
}

impl Weakness {
    /// `FSYNC_OFF`; alarms and runbooks name it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Weakness::Away(_) => "POSTGRES_AWAY",
            Weakness::NotMigrated { .. } => "NOT_MIGRATED",
            Weakness::FsyncOff => "FSYNC_OFF",
            Weakness::FullPageWritesOff => "FULL_PAGE_WRITES_OFF",
            Weakness::SynchronousCommitOff => "SYNCHRONOUS_COMMIT_OFF",
        }
    }

    /// The command that mends it, or what else to do.
    #[must_use]
    pub fn mend(&self) -> &'static str {
        match self {
            Weakness::Away(_) => "start PostgreSQL, and look at DATABASE_URL",
            Weakness::NotMigrated { .. } => "rivermouth migrate",
            Weakness::FsyncOff => {
                r#"psql -c "alter system set fsync = on" -c "select pg_reload_conf()""#
            }
            Weakness::FullPageWritesOff => {
                r#"psql -c "alter system set full_page_writes = on" -c "select pg_reload_conf()""#
            }
            Weakness::SynchronousCommitOff => {
                r#"psql -c "alter system set synchronous_commit = on" -c "select pg_reload_conf()""#
            }
        }
    }
}

impl fmt::Display for Weakness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Weakness::Away(reason) => write!(f, "PostgreSQL does not answer: {reason}"),
            Weakness::NotMigrated { missing, all } if missing == all => {
                f.write_str("the tables are not there")
            }
            Weakness::NotMigrated { missing, all } => write!(
                f,
                "the tables are of an earlier version: {missing} of {all} migrations are missing"
            ),
            Weakness::FsyncOff => f.write_str("fsync is off: a power cut destroys the database"),
            Weakness::FullPageWritesOff => {
                f.write_str("full_page_writes is off: a power cut may leave half-written pages")
            }
            Weakness::SynchronousCommitOff => {
                f.write_str("synchronous_commit is off: a crash loses the last transactions")
            }
        }
    }
}

impl Store {
    /// What is wrong with the tables and with the settings that our own connections run under; empty when nothing is.
    /// Takes no longer than any other two calls.
    pub async fn weaknesses(&self) -> Vec<Weakness> {
        const DURING: &str = "asking for settings";
        let asked = self.within(DURING, async {
            sqlx::query_as(
                "select current_setting('fsync') = 'off', current_setting('full_page_writes') = 'off',
                        current_setting('synchronous_commit') = 'off'",
            )
            .fetch_one(&self.pool)
            .await
            .map_err(|error| StoreError::from_sqlx(DURING, error))
        });
        let off: (bool, bool, bool) = match asked.await {
            Ok(off) => off,
            Err(error) => return vec![Weakness::Away(error.to_string())],
        };
        let tables = match self.not_migrated().await {
            Ok(tables) => tables,
            Err(error) => return vec![Weakness::Away(error.to_string())],
        };
        let found = [
            (off.0, Weakness::FsyncOff),
            (off.1, Weakness::FullPageWritesOff),
            (off.2, Weakness::SynchronousCommitOff),
        ];
        let settings = found
            .into_iter()
            .filter_map(|(off, weakness)| off.then_some(weakness));
        tables.into_iter().chain(settings).collect()
    }
}
