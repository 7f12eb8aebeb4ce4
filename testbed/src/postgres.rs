//! PostgreSQL for a test: a database of its own on the shared server.

use std::str::FromStr;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};

use crate::environment::needed;
use crate::server::Server;

/// One empty database, dropped with everything in it at the end.
#[derive(Debug)]
pub struct Database {
    server: String,
    name: String,
    url: String,
    /// On the shared server, where nothing may stay behind.
    shared: bool,
}

impl Database {
    /// Makes the database `name`, which must be a plain lower-case word.
    pub(crate) async fn create(name: &str) -> Database {
        Database::made(needed("RIVERMOUTH_TEST_DATABASE_URL"), name, true).await
    }

    /// The same on a server of the test's own; it goes with the server.
    pub(crate) async fn on(server: &Server, name: &str) -> Database {
        Database::made(server.url(), name, false).await
    }

    async fn made(server: String, name: &str, shared: bool) -> Database {
        let mut connection = PgConnection::connect(&server)
            .await
            .expect("the test's PostgreSQL answers");
        // Two tests may not copy the template at the same time as somebody connects to it.
        let create = AssertSqlSafe(format!("create database {name} template template0"));
        connection
            .execute(create)
            .await
            .expect("a database can be made");
        connection
            .close()
            .await
            .expect("a connection can be closed");
        let url = with_database(&server, name);
        Database {
            server,
            name: name.to_owned(),
            url,
            shared,
        }
    }

    /// `postgres://…`, of the superuser.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where its server listens, `host:port`: for a proxy in between.
    pub fn address(&self) -> String {
        let options = PgConnectOptions::from_str(&self.url).expect("our own URL can be read");
        format!("{}:{}", options.get_host(), options.get_port())
    }

    /// The URL by way of a port of this machine.
    pub fn url_by(&self, port: u16) -> String {
        let options = PgConnectOptions::from_str(&self.url).expect("our own URL can be read");
        let options = options.host("127.0.0.1").port(port);
        let mut url = options.to_url_lossy();
        // Only this library understands what it adds.
        url.set_query(None);
        url.to_string()
    }

    /// The database's name in its server.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs statements whose rows do not matter.
    pub async fn execute(&self, sql: &str) {
        self.hold(sql).await.release().await;
    }

    /// The one number that a question answers.
    pub async fn number(&self, sql: &str) -> i64 {
        let mut held = self.hold("select 1").await;
        let number = held.number(sql).await;
        held.release().await;
        number
    }

    /// A connection that has run `sql` and keeps what that took: locks, an open transaction, a place.
    pub async fn hold(&self, sql: &str) -> Held {
        let connection = PgConnection::connect(&self.url)
            .await
            .expect("the database answers");
        let mut held = Held { connection };
        held.execute(sql).await;
        held
    }

    /// The same; `None` when the server lets nobody in.
    pub async fn try_hold(&self, sql: &str) -> Option<Held> {
        let connection = PgConnection::connect(&self.url).await.ok()?;
        let mut held = Held { connection };
        held.execute(sql).await;
        Some(held)
    }

    /// A few connections for looking.
    pub async fn pool(&self) -> PgPool {
        let options = PgConnectOptions::from_str(&self.url).expect("our own URL can be read");
        PgPoolOptions::new()
            .max_connections(2)
            .connect_with(options)
            .await
            .expect("the database answers")
    }

    /// The first column of every row, which must be text; asked as `role`, or as the superuser.
    pub async fn texts(&self, role: Option<&str>, sql: &str) -> Vec<String> {
        let pool = self.pool().await;
        let mut connection = pool.acquire().await.expect("the database answers");
        if let Some(role) = role {
            let become_role = AssertSqlSafe(format!("set role {role}"));
            let became = connection.execute(become_role).await;
            became.expect("the role is there");
        }
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
            .fetch_all(&mut *connection)
            .await
            .expect("the question can be answered")
    }
}

/// The URL with another database: everything between the host's slash and the question mark.
fn with_database(server: &str, name: &str) -> String {
    let (head, query) = server
        .split_once('?')
        .map_or((server, None), |(head, query)| (head, Some(query)));
    let after_scheme = head.find("://").map_or(0, |at| at + 3);
    let base = head[after_scheme..]
        .find('/')
        .map_or(head, |at| &head[..after_scheme + at]);
    match query {
        Some(query) => format!("{base}/{name}?{query}"),
        None => format!("{base}/{name}"),
    }
}

/// A connection that a test keeps open.
#[derive(Debug)]
pub struct Held {
    connection: PgConnection,
}

impl Held {
    /// Runs statements whose rows do not matter.
    pub async fn execute(&mut self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
            .execute(&mut self.connection)
            .await
            .expect("PostgreSQL does as told");
    }

    /// The one number that a question answers.
    pub async fn number(&mut self, sql: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
            .fetch_one(&mut self.connection)
            .await
            .expect("PostgreSQL answers with one number")
    }

    /// Lets go of everything.
    pub async fn release(self) {
        // A server that went away meanwhile holds nothing either.
        let _ = self.connection.close().await;
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if !self.shared {
            return;
        }
        let (server, name) = (self.server.clone(), self.name.clone());
        let cleaning = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let mut connection = PgConnection::connect(&server).await?;
                let drop = AssertSqlSafe(format!("drop database if exists {name} with (force)"));
                connection.execute(drop).await?;
                connection.close().await
            })
        });
        if !matches!(cleaning.join(), Ok(Ok(()))) {
            println!("the database {} could not be dropped", self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_database_changes() {
        for (server, expected) in [
            ("postgres://u@h:1/postgres", "postgres://u@h:1/x"),
            ("postgres://u@h:1", "postgres://u@h:1/x"),
            (
                "postgres://u@h/a?host=/tmp/s",
                "postgres://u@h/x?host=/tmp/s",
            ),
        ] {
            assert_eq!(with_database(server, "x"), expected);
        }
    }
}
