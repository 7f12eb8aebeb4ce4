//! PostgreSQL for a test: a database of its own on the shared server.

use std::str::FromStr;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, Executor};

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

    /// A few connections for looking.
    pub async fn pool(&self) -> PgPool {
        let options = PgConnectOptions::from_str(&self.url).expect("our own URL can be read");
        PgPoolOptions::new()
            .max_connections(2)
            .connect_with(options)
            .await
            .expect("the database answers")
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
