//! Which server `publish` and `tail` talk to, and as whom.

use std::path::PathBuf;

use clap::Args;
use client::Endpoint;
use service::Secret;
use service::settings::SettingsError;

use crate::dev::data_dir::{self, DataDir};
use crate::settings::secret_from_file;

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Server")]
pub(crate) struct TargetArgs {
    /// The server
    #[arg(
        long,
        env = "RIVERMOUTH_URL",
        default_value = "http://localhost:8080",
        value_name = "URL"
    )]
    pub(crate) url: String,

    /// The token; better given as the variable or as a file
    #[arg(
        long,
        env = "RIVERMOUTH_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    pub(crate) token: Option<Secret>,

    /// File that holds the token; without any, the one that `rivermouth dev` keeps is taken
    #[arg(long, env = "RIVERMOUTH_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,

    /// Where `rivermouth dev` keeps its data
    #[arg(long, env = "RIVERMOUTH_DATA_DIR", default_value = data_dir::DEFAULT, value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
}

impl TargetArgs {
    /// The server's address.
    pub(crate) fn endpoint(&self) -> Result<Endpoint, SettingsError> {
        Endpoint::parse(&self.url).map_err(|error| SettingsError::value("url", error.to_string()))
    }

    /// The token to present.
    pub(crate) fn token(&self) -> Result<Secret, SettingsError> {
        match (&self.token, &self.token_file) {
            (Some(token), _) => Ok(token.clone()),
            (None, Some(path)) => secret_from_file("token-file", path),
            (None, None) => DataDir::existing_token(&self.data_dir)
                .map(Secret::new)
                .ok_or_else(|| {
                    SettingsError::value(
                        "token",
                        "not set; give RIVERMOUTH_TOKEN, for example RIVERMOUTH_TOKEN=$(rivermouth token --sub me …)",
                    )
                }),
        }
    }
}

/// An error of the server or of the way to it, in words that say what to do.
pub(crate) fn explain(error: &client::Error) -> anyhow::Error {
    match error.name() {
        Some("AUTH_REQUIRED" | "TOKEN_EXPIRED") => {
            anyhow::anyhow!("{error} (make a new token with `rivermouth token`)")
        }
        Some("PERMISSION_DENIED") => {
            anyhow::anyhow!(
                "{error} (the token needs a role there: `rivermouth token --role CHANNEL=ROLE`)"
            )
        }
        _ => anyhow::anyhow!("{error}"),
    }
}
