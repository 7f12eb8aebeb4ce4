//! The limits of the protocol that an operator may set, each with the protocol's own value as default.

use std::time::Duration;

use clap::Args;
use protocol::{Limits, Rate};
use service::settings::duration_above_zero;

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitsArgs {
    /// WebSockets and streams of one client address at once, at most
    #[arg(
        long,
        env = "RATE_LIMIT_CONNECTIONS_PER_IP",
        default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(1..=5_000_000),
        value_name = "COUNT"
    )]
    connections_per_ip_max: u32,

    /// Durable publishes of one user a second in the long run; backends have no such limit
    #[arg(
        long,
        env = "RATE_LIMIT_MESSAGES_PER_SECOND",
        default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000),
        value_name = "COUNT"
    )]
    publishes_per_second: u32,

    /// Durable publishes of one user at once after a rest
    #[arg(
        long,
        env = "RIVERMOUTH_PUBLISH_BURST",
        default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000),
        value_name = "COUNT"
    )]
    publish_burst: u32,

    /// `chat.*` and `dice.*` of one user a minute, besides the limit above
    #[arg(
        long,
        env = "RIVERMOUTH_CHAT_PER_MINUTE",
        default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000),
        value_name = "COUNT"
    )]
    chat_per_minute: u32,

    /// Subscriptions of one WebSocket, at most
    #[arg(
        long,
        env = "RIVERMOUTH_SUBSCRIPTIONS_MAX",
        default_value_t = 128,
        value_parser = clap::value_parser!(u32).range(1..=10_000),
        value_name = "COUNT"
    )]
    subscriptions_max: u32,

    /// Queued for one connection before it falls back to reading the log at its own pace, KiB
    #[arg(
        long,
        env = "RIVERMOUTH_QUEUE_KIB",
        default_value_t = 256,
        value_parser = clap::value_parser!(u32).range(64..=65_536),
        value_name = "KIB"
    )]
    queue_kib: u32,

    /// Silence after which a connection is pinged
    #[arg(long, env = "RIVERMOUTH_HEARTBEAT_INTERVAL", default_value = "25s", value_parser = duration_above_zero, value_name = "TIME")]
    heartbeat_interval: Duration,

    /// Silence after which a connection counts as dead
    #[arg(long, env = "RIVERMOUTH_HEARTBEAT_TIMEOUT", default_value = "60s", value_parser = duration_above_zero, value_name = "TIME")]
    heartbeat_timeout: Duration,

    /// How long something may be owed to a client that reads nothing, before it is closed with its cursor
    #[arg(long, env = "RIVERMOUTH_STUCK_TIMEOUT", default_value = "60s", value_parser = duration_above_zero, value_name = "TIME")]
    stuck_timeout: Duration,

    /// How long a request may take before it is answered with an error
    #[arg(long, env = "RIVERMOUTH_REQUEST_TIMEOUT", default_value = "5s", value_parser = duration_above_zero, value_name = "TIME")]
    request_timeout: Duration,
}

impl LimitsArgs {
    /// The protocol's limits with these in their places.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            connections_per_ip_max: self.connections_per_ip_max as usize,
            publish: Rate::new(self.publish_burst, self.publishes_per_second, 1_000),
            chat: Rate::per_minute(self.chat_per_minute),
            subscriptions_max: self.subscriptions_max as usize,
            queue_bytes_max: (self.queue_kib as usize) << 10,
            heartbeat_interval: self.heartbeat_interval,
            heartbeat_timeout: self.heartbeat_timeout,
            stuck_timeout: self.stuck_timeout,
            request_timeout: self.request_timeout,
            ..Limits::default()
        }
    }
}
