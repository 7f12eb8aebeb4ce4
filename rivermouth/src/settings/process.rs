//! What every long-running process has: logs, the metrics port, a deadline for stopping.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use clap::Args;
use service::settings::duration;
use service::telemetry::{self, LogFormat};

use super::SettingsError;

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Process")]
pub(crate) struct ProcessArgs {
    /// How much is logged: error, warn, info, debug, trace, or a filter such as `info,fanout=debug`
    #[arg(long, env = "LOG_LEVEL", default_value = "info", value_name = "LEVEL")]
    pub(crate) log_level: String,

    /// How log lines look
    #[arg(
        long,
        env = "RIVERMOUTH_LOG_FORMAT",
        default_value = "auto",
        value_name = "FORMAT"
    )]
    pub(crate) log_format: LogFormat,

    /// Port of /metrics, /livez, /readyz and /health; 0 takes a free one
    #[arg(
        long,
        env = "METRICS_PORT",
        default_value_t = 9090,
        value_name = "PORT"
    )]
    pub(crate) metrics_port: u16,

    /// Address the metrics port listens on. It shows the inside of the service: keep it off the Internet
    #[arg(
        long,
        env = "RIVERMOUTH_METRICS_BIND",
        default_value = "0.0.0.0",
        value_name = "ADDRESS"
    )]
    pub(crate) metrics_bind: IpAddr,

    /// After the signal to stop: how long to go on serving while not ready, so that load balancers notice
    #[arg(
        long,
        env = "RIVERMOUTH_DRAIN_PAUSE",
        default_value = "0s",
        value_parser = duration,
        value_name = "DURATION"
    )]
    pub(crate) drain_pause: Duration,

    /// How long stopping may then take in all, then the process ends with status 1; at least 1 s
    #[arg(
        long,
        env = "RIVERMOUTH_SHUTDOWN_DEADLINE",
        default_value = "25s",
        value_parser = duration,
        value_name = "DURATION"
    )]
    pub(crate) shutdown_deadline: Duration,
}

impl ProcessArgs {
    /// Refuses what cannot be, without starting anything.
    pub(crate) fn check(&self) -> Result<(), SettingsError> {
        telemetry::check_level(&self.log_level)
            .map_err(|error| SettingsError::value("log-level", error.to_string()))?;
        if self.shutdown_deadline < Duration::from_secs(1) {
            return Err(SettingsError::value("shutdown-deadline", "at least 1s"));
        }
        Ok(())
    }

    /// Starts the logs.
    pub(crate) fn start_logs(&self) -> Result<(), SettingsError> {
        telemetry::init(&self.log_level, self.log_format)
            .map_err(|error| SettingsError::value("log-level", error.to_string()))
    }

    /// Where the metrics port listens.
    pub(crate) fn metrics_address(&self) -> SocketAddr {
        SocketAddr::new(self.metrics_bind, self.metrics_port)
    }
}
