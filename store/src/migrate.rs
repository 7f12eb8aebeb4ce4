//! The tables: migrations embedded in the binary, applied by as many instances at once as there are.

use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{Connection, PgConnection};

use crate::{Store, StoreError, Weakness};

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");

/// The advisory lock under which migrations run; a number of our own within the database ("rivermou").
const LOCK: i64 = 0x7269_7665_726d_6f75;
/// How long one instance waits for another one's migrations.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long to try to reach PostgreSQL.
const CONNECT: Duration = Duration::from_secs(10);

/// Unique keys in which null equals null came with PostgreSQL 15.
const VERSION_MIN: i32 = 150_000;

/// The SQLSTATE of a table, or its schema, that is not there.
const NO_TABLE: &str = "42P01";
/// That of a table, or its schema, that this role may not read.
const NO_RIGHT: &str = "42501";

const DURING: &str = "migrating the database";

impl Store {
    /// Brings the tables up to this version and makes the analysts' role. Does nothing where nothing is to do.
    ///
    /// Any number of instances may call it at the same time; one does the work, the others wait for it. A database
    /// that is ahead of this version is left alone, so that old and new instances run side by side.
    ///
    /// # Errors
    /// [`StoreError::Retry`] while PostgreSQL is away or another instance takes longer than five minutes;
    /// [`StoreError::Fatal`] when a migration fails or an applied one was altered.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let connecting = PgConnection::connect_with(&self.connect);
        let mut connection = tokio::time::timeout(CONNECT, connecting)
            .await
            .map_err(|_| StoreError::retry(DURING, "PostgreSQL does not answer"))?
            .map_err(|error| StoreError::from_sqlx(DURING, error))?;
        // Closing the connection gives the lock back, whatever happens in between.
        let migrated = tokio::time::timeout(PATIENCE, migrate(&mut connection))
            .await
            .unwrap_or_else(|_| Err(StoreError::retry(DURING, "took longer than five minutes")));
        if let Err(error) = connection.close().await {
            tracing::debug!(%error, "closing the migrating connection failed");
        }
        migrated
    }

    /// Whether the tables are those of this version or of a later one: [`Weakness::NotMigrated`] when they are not, which
    /// `rivermouth migrate` mends. `None`, too, for a role that may not know.
    ///
    /// # Errors
    /// [`StoreError::Retry`] while PostgreSQL is away.
    pub async fn not_migrated(&self) -> Result<Option<Weakness>, StoreError> {
        const LOOKING: &str = "looking at the tables";
        self.within(LOOKING, async {
            let asked = sqlx::query_scalar(
                "select version from rivermouth.schema_migrations where success",
            )
            .fetch_all(&self.pool)
            .await;
            let applied: Vec<i64> = match asked {
                Ok(applied) => applied,
                Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(NO_TABLE) => {
                    Vec::new()
                }
                Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(NO_RIGHT) => {
                    return Ok(None);
                }
                Err(error) => return Err(StoreError::from_sqlx(LOOKING, error)),
            };
            let all = MIGRATIONS.iter().count();
            let missing = MIGRATIONS
                .iter()
                .filter(|migration| !applied.contains(&migration.version))
                .count();
            Ok((missing > 0).then_some(Weakness::NotMigrated { missing, all }))
        })
        .await
    }
}

async fn migrate(connection: &mut PgConnection) -> Result<(), StoreError> {
    let sql = |error| StoreError::from_sqlx(DURING, error);
    sqlx::query("select pg_advisory_lock($1)")
        .bind(LOCK)
        .execute(&mut *connection)
        .await
        .map_err(sql)?;

    suitable(connection).await?;
    let mut migrator = Migrator {
        migrations: MIGRATIONS.migrations.clone(),
        // A newer binary may have been here already: its migrations only add.
        ignore_missing: true,
        // Ours is held, and covers the role too.
        locking: false,
        ..Migrator::DEFAULT
    };
    migrator.create_schema("rivermouth");
    migrator.dangerous_set_table_name("rivermouth.schema_migrations");
    migrator
        .run_direct(None, connection, false)
        .await
        .map_err(classify)?;

    for step in [
        "select rivermouth.prepare_analyst()",
        "select rivermouth.confine_analyst()",
    ] {
        sqlx::query(step)
            .execute(&mut *connection)
            .await
            .map_err(sql)?;
    }
    Ok(())
}

/// Says what is wrong with a database in words, before a migration fails on it in symbols.
async fn suitable(connection: &mut PgConnection) -> Result<(), StoreError> {
    let (version, encoding): (i32, String) = sqlx::query_as(
        "select current_setting('server_version_num')::integer, current_setting('server_encoding')",
    )
    .fetch_one(connection)
    .await
    .map_err(|error| StoreError::from_sqlx(DURING, error))?;
    if version < VERSION_MIN {
        return Err(StoreError::fatal(
            DURING,
            "PostgreSQL 15 or newer is needed",
        ));
    }
    if encoding != "UTF8" {
        let reason = format!("the database's encoding is {encoding}: make it with encoding UTF8");
        return Err(StoreError::fatal(DURING, reason));
    }
    Ok(())
}

fn classify(error: MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            StoreError::from_sqlx(DURING, error)
        }
        other => StoreError::fatal(DURING, other.to_string()),
    }
}
