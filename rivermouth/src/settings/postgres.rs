//! Where PostgreSQL is.

use std::path::PathBuf;

use clap::Args;
use service::Secret;
use store::StoreOptions;

use super::{SettingsError, secret_from_file};

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "PostgreSQL")]
pub(crate) struct PostgresArgs {
    /// `postgres://user:password@host:port/database`; no default. Use the variable or the file when it holds
    /// a password
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub(crate) database_url: Option<Secret>,

    /// File that holds the URL, instead of the URL itself; no default
    #[arg(long, env = "DATABASE_URL_FILE", value_name = "FILE")]
    pub(crate) database_url_file: Option<PathBuf>,

    /// Connections to PostgreSQL at most
    #[arg(
        long,
        env = "RIVERMOUTH_DATABASE_CONNECTIONS",
        default_value_t = 8,
        value_parser = clap::value_parser!(u32).range(1..=500),
        value_name = "COUNT"
    )]
    pub(crate) database_connections: u32,
}

impl PostgresArgs {
    /// The URL, when one is set.
    pub(crate) fn url(&self) -> Result<Option<Secret>, SettingsError> {
        let url = match (&self.database_url, &self.database_url_file) {
            (Some(_), Some(_)) => {
                return Err(SettingsError::value(
                    "database-url-file",
                    "DATABASE_URL is set as well; which one is meant?",
                ));
            }
            (Some(url), None) => Some(url.clone()),
            (None, Some(path)) => Some(secret_from_file("database-url-file", path)?),
            (None, None) => None,
        };
        if let Some(url) = &url {
            let known = ["postgres://", "postgresql://"];
            if !known.iter().any(|scheme| url.expose().starts_with(scheme)) {
                return Err(SettingsError::value(
                    "database-url",
                    "it does not start with postgres://",
                ));
            }
        }
        Ok(url)
    }

    /// The URL, for services that cannot do without.
    pub(crate) fn required(&self) -> Result<Secret, SettingsError> {
        self.url()?.ok_or_else(|| {
            SettingsError::value(
                "database-url",
                "not set; give DATABASE_URL=postgres://user:password@host/database",
            )
        })
    }

    /// How the pool of a service is kept.
    pub(crate) fn options(&self, service: &str) -> StoreOptions {
        StoreOptions {
            connections_max: self.database_connections,
            application_name: format!("rivermouth-{service}"),
            ..StoreOptions::default()
        }
    }
}
