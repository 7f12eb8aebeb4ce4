//! Settings of the gateway, with their units and defaults.

use std::time::Duration;

use protocol::Limits;

/// What a [`Gateway`](crate::Gateway) is started with. `Default` is what production runs on.
#[derive(Clone, Debug)]
pub struct IngestConfig {
    /// The limits of protocol section 9.
    pub limits: Limits,
    /// Time from a publish's arrival to its answer; after it the outcome is called unknown. 5 s.
    pub ack_timeout: Duration,
    /// Most records of one partition that wait or are in flight. 16 384.
    pub queue_count_max: usize,
    /// Most bytes of one partition's records that wait or are in flight. 8 MiB.
    pub queue_bytes_max: usize,
    /// At a shutdown: how long the log gets to answer for what is in flight. 8 s.
    pub flush_deadline: Duration,
    /// Most users whose buckets are kept; the longest idle one goes first. 100 000.
    pub users_max: usize,
    /// Publishes a second a backend may make on this node; `None`: as many as it likes.
    pub backend_quota: Option<protocol::Rate>,
    /// Most channels per partition whose outboxes are tracked. 4 096.
    pub channels_tracked_max: usize,
    /// Most bytes per partition of the acceptance rule's state of those channels. 16 MiB.
    pub tracked_bytes_max: usize,
    /// Most ids per partition that are recognised as known here. 16 384.
    pub known_ids_max: usize,
    /// Most senders per node with something on the ephemeral lane at the same time. 100 000.
    pub senders_max: usize,
    /// Most records of the ephemeral lane in flight on this node. 8 192.
    pub signals_in_flight_max: usize,
    /// When a partition counts as broken.
    pub breaker: BreakerConfig,
}

/// When appends to a partition are refused without trying.
#[derive(Clone, Copy, Debug)]
pub struct BreakerConfig {
    /// Outcomes older than this do not count. 20 s.
    pub window: Duration,
    /// Fewer outcomes than this never open it. 5.
    pub outcomes_min: u32,
    /// Opens at this share of errors, percent. 50.
    pub errors_percent: u32,
    /// How long it stays open before one record is let through to see. 1 s.
    pub pause: Duration,
}

impl Default for IngestConfig {
    fn default() -> Self {
        IngestConfig {
            limits: Limits::default(),
            ack_timeout: Duration::from_secs(5),
            queue_count_max: 16_384,
            queue_bytes_max: 8 * 1024 * 1024,
            flush_deadline: Duration::from_secs(8),
            users_max: 100_000,
            backend_quota: None,
            channels_tracked_max: 4_096,
            tracked_bytes_max: 16 * 1024 * 1024,
            known_ids_max: 16_384,
            senders_max: 100_000,
            signals_in_flight_max: 8_192,
            breaker: BreakerConfig::default(),
        }
    }
}

impl Default for BreakerConfig {
    fn default() -> Self {
        BreakerConfig {
            window: Duration::from_secs(20),
            outcomes_min: 5,
            errors_percent: 50,
            pause: Duration::from_secs(1),
        }
    }
}
