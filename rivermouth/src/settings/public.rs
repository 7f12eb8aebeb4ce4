//! The public port: address, origins, limits of the listener, namespaces. The protocol's limits are beside it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use clap::Args;
use protocol::access::Namespaces;
use service::ServeConfig;
use service::origin::Origins;

use super::SettingsError;
use super::limits::LimitsArgs;

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Public port")]
pub(crate) struct PublicArgs {
    /// Port of everything that clients use; 0 takes a free one
    #[arg(
        long,
        env = "REALTIME_PORT",
        default_value_t = 8080,
        value_name = "PORT"
    )]
    pub(crate) realtime_port: u16,

    /// Address the public port listens on
    #[arg(
        long,
        env = "RIVERMOUTH_BIND",
        default_value = "0.0.0.0",
        value_name = "ADDRESS"
    )]
    pub(crate) bind: IpAddr,

    /// Pages that may use this server, `https://app.example.org`, separated by commas; none by default
    #[arg(
        long,
        env = "CORS_ORIGINS",
        value_delimiter = ',',
        value_name = "ORIGIN"
    )]
    pub(crate) cors_origins: Vec<String>,

    /// One more such page; no default
    #[arg(long, env = "FRONTEND_ORIGIN", value_name = "ORIGIN")]
    pub(crate) frontend_origin: Option<String>,

    /// Proxies whose `X-Forwarded-For` is believed, by address, separated by commas; none by default
    #[arg(
        long,
        env = "RIVERMOUTH_TRUSTED_PROXIES",
        value_delimiter = ',',
        value_name = "ADDRESS"
    )]
    pub(crate) trusted_proxies: Vec<IpAddr>,

    /// Sockets at once, at most
    #[arg(
        long,
        env = "RIVERMOUTH_CONNECTIONS_MAX",
        default_value_t = 20_000,
        value_parser = clap::value_parser!(u32).range(1..=5_000_000),
        value_name = "COUNT"
    )]
    pub(crate) connections_max: u32,

    /// Namespaces besides the built-in ones and who uses them, for example
    /// `orders;feeds:read=everyone,write=backends`; none by default
    #[arg(
        long,
        env = "RIVERMOUTH_NAMESPACES",
        default_value = "",
        hide_default_value = true,
        value_name = "LIST"
    )]
    pub(crate) namespaces: String,

    #[command(flatten)]
    limits: LimitsArgs,
}

impl PublicArgs {
    /// Where the public port listens.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::new(self.bind, self.realtime_port)
    }

    /// The allowed origins, and `more` that belong to the server itself.
    pub(crate) fn origins(&self, more: &[String]) -> Result<Origins, SettingsError> {
        let entries = self
            .cors_origins
            .iter()
            .chain(&self.frontend_origin)
            .chain(more)
            .map(String::as_str);
        Origins::new(entries).map_err(|reason| SettingsError::value("cors-origins", reason))
    }

    /// The custom namespaces.
    pub(crate) fn namespaces(&self) -> Result<Namespaces, SettingsError> {
        self.namespaces
            .parse()
            .map_err(|error: protocol::access::BadNamespace| {
                SettingsError::value("namespaces", error.to_string())
            })
    }

    /// The limits of the protocol, with those that can be set.
    pub(crate) fn limits(&self) -> protocol::Limits {
        self.limits.limits()
    }

    /// The limits of the listener. `shutdown_deadline` is for the whole process; requests in flight get
    /// half of it.
    pub(crate) fn serve_config(&self, shutdown_deadline: Duration) -> ServeConfig {
        ServeConfig {
            connections_max: self.connections_max as usize,
            drain_deadline: shutdown_deadline / 2,
            trusted_proxies: self.trusted_proxies.clone(),
            ..ServeConfig::default()
        }
    }
}
