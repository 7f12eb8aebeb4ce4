//! For tests of every room: a database of one's own, made on the PostgreSQL that
//! `RIVERMOUTH_TEST_DATABASE_URL` names (a superuser's url of a maintenance database) and dropped at the end.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};

use crate::{Store, StoreOptions};

/// Names the PostgreSQL that tests may use.
pub const DATABASE_URL_VARIABLE: &str = "RIVERMOUTH_TEST_DATABASE_URL";

/// How long making or dropping a database may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A database of one test; dropping the value drops the database, whoever is still connected.
#[derive(Debug)]
pub struct Database {
    name: String,
    admin: PgConnectOptions,
    url: String,
}

impl Database {
    /// An empty database.
    ///
    /// # Panics
    /// When the variable is missing or PostgreSQL does not do as told: a test cannot go on then.
    pub async fn create() -> Database {
        let url = std::env::var(DATABASE_URL_VARIABLE).unwrap_or_else(|_| {
            panic!(
                "{DATABASE_URL_VARIABLE} is not set: run `make test`, or point it at a PostgreSQL"
            )
        });
        let admin = PgConnectOptions::from_str(&url).expect("a well-formed url");
        let name = format!("rivermouth_test_{}", uuid::Uuid::new_v4().simple());
        execute(&admin, format!("create database {name}")).await;
        let url = plain_url(&admin.clone().database(&name));
        Database { name, admin, url }
    }

    /// A database with all migrations, and its store.
    ///
    /// # Panics
    /// As [`Database::create`].
    pub async fn migrated() -> (Database, Store) {
        let database = Database::create().await;
        let store = database.store().await;
        store.migrate().await.expect("migrations apply");
        (database, store)
    }

    /// Another pool on this database, as another process would have.
    ///
    /// # Panics
    /// When the url is malformed.
    pub async fn store(&self) -> Store {
        Store::connect(&self.url, StoreOptions::default())
            .await
            .expect("a well-formed url")
    }

    /// The url of this database.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where its PostgreSQL listens, `host:port`: for a test that puts itself in between.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}:{}", self.admin.get_host(), self.admin.get_port())
    }

    /// Its url by way of another port of this machine.
    #[must_use]
    pub fn url_by(&self, port: u16) -> String {
        plain_url(&self.options().host("127.0.0.1").port(port))
    }

    /// The database's name in its cluster.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs statements whose rows do not matter.
    ///
    /// # Panics
    /// When PostgreSQL refuses them.
    pub async fn execute(&self, sql: &str) {
        execute(&self.options(), sql.to_owned()).await;
    }

    /// Asks a question of any kind; one JSON object per row.
    ///
    /// # Panics
    /// When PostgreSQL refuses the statement.
    pub async fn rows(&self, sql: &str) -> Vec<serde_json::Value> {
        let mut connection = connect(&self.options()).await;
        let wrapped = format!("select to_jsonb(q) from ({sql}) q");
        let rows: Vec<(serde_json::Value,)> = sqlx::query_as(AssertSqlSafe(wrapped))
            .fetch_all(&mut connection)
            .await
            .expect("the question is answered");
        connection.close().await.expect("the connection closes");
        rows.into_iter().map(|(row,)| row).collect()
    }

    /// The one number a question answers.
    ///
    /// # Panics
    /// When it answers anything else.
    pub async fn number(&self, sql: &str) -> i64 {
        let rows = self.rows(sql).await;
        let row = rows
            .first()
            .and_then(|row| row.as_object())
            .expect("one row");
        row.values()
            .next()
            .and_then(|value| value.as_i64())
            .expect("one number")
    }

    fn options(&self) -> PgConnectOptions {
        self.admin.clone().database(&self.name)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (admin, name) = (self.admin.clone(), self.name.clone());
        // A thread of its own: the test's runtime may be the current-thread one, and is busy with this drop.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            if let Ok(runtime) = runtime {
                runtime.block_on(execute(
                    &admin,
                    format!("drop database if exists {name} with (force)"),
                ));
            }
        });
        // A database left behind fails no test; the cluster is thrown away anyway.
        let _ = dropping.join();
    }
}

/// Without the parameters that only this library understands.
fn plain_url(options: &PgConnectOptions) -> String {
    let mut url = options.to_url_lossy();
    url.set_query(None);
    url.to_string()
}

async fn connect(options: &PgConnectOptions) -> PgConnection {
    tokio::time::timeout(PATIENCE, options.connect())
        .await
        .expect("PostgreSQL answers in time")
        .expect("PostgreSQL lets us in")
}

async fn execute(options: &PgConnectOptions, sql: String) {
    let mut connection = connect(options).await;
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(&mut connection)
        .await
        .expect("PostgreSQL does as told");
    connection.close().await.expect("the connection closes");
}
