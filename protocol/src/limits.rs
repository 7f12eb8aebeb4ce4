//! The limits of section 9 of the protocol, with their defaults.

use std::time::Duration;

use crate::bucket::Rate;

/// Every limit a client can run into. All configurable; `Default` gives what the protocol promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest message as sent, and largest record as stored, in bytes.
    pub message_bytes_max: usize,
    /// Largest WebSocket frame, its fragments counted together, in bytes.
    pub frame_bytes_max: usize,
    /// Largest first frame of a connection that has not authenticated yet, in bytes.
    pub first_frame_bytes_max: usize,
    /// Largest HTTP batch, in bytes.
    pub batch_bytes_max: usize,
    /// Most lines in an HTTP batch.
    pub batch_lines_max: usize,
    /// Most subscriptions of one connection.
    pub subscriptions_max: usize,
    /// Most requests of one connection that wait for an answer.
    pub requests_waiting_max: usize,
    /// Most channels of one SSE, streaming or polling request.
    pub stream_channels_max: usize,
    /// Most connections of one address; WebSockets and streams count.
    pub connections_per_ip_max: usize,
    /// Durable publishes, per user.
    pub publish: Rate,
    /// `chat.*` and `dice.*`, per user, besides `publish`.
    pub chat: Rate,
    /// Methods other than the unmetered ones, per connection.
    pub methods: Rate,
    /// Ephemeral events per second of one sender in one channel; more are conflated.
    pub ephemeral_hz: u32,
    /// Unreadable messages in a minute after which the connection is closed with 1008.
    pub malformed_per_minute: u32,
    /// Bytes that may be queued for one connection before it falls back to reading the log.
    pub queue_bytes_max: usize,
    /// How long a request may take.
    pub request_timeout: Duration,
    /// How long a connection may stay without authenticating.
    pub authentication_timeout: Duration,
    /// Silence after which the server sends a ping and a heartbeat.
    pub heartbeat_interval: Duration,
    /// Silence after which a connection counts as dead.
    pub heartbeat_timeout: Duration,
    /// How long something may be owed to a client that reads nothing.
    pub stuck_timeout: Duration,
    /// How long before expiry `token_expiring` is sent.
    pub expiry_warning: Duration,
    /// Longest `wait` of a long poll.
    pub poll_wait_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            message_bytes_max: 65_536,
            frame_bytes_max: 262_144,
            first_frame_bytes_max: 8_192,
            batch_bytes_max: 1_048_576,
            batch_lines_max: 1_000,
            subscriptions_max: 128,
            requests_waiting_max: 64,
            stream_channels_max: 64,
            connections_per_ip_max: 100,
            publish: Rate::new(100, 10, 1_000),
            chat: Rate::per_minute(100),
            methods: Rate::per_minute(100),
            ephemeral_hz: 60,
            malformed_per_minute: 100,
            queue_bytes_max: 262_144,
            request_timeout: Duration::from_secs(5),
            authentication_timeout: Duration::from_secs(10),
            heartbeat_interval: Duration::from_secs(25),
            heartbeat_timeout: Duration::from_secs(60),
            stuck_timeout: Duration::from_secs(60),
            expiry_warning: Duration::from_secs(30),
            poll_wait_max: Duration::from_secs(60),
        }
    }
}
