//! What a fan-out node counts.

use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use service::Metrics;

/// The figures of one node; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct FanoutMetrics {
    pub(crate) accepted: Counter,
    pub(crate) delivered: Counter,
    pub(crate) written_bytes: Counter,
    pub(crate) lagged: Counter,
    pub(crate) gaps: Counter,
    pub(crate) stuck: Counter,
    pub(crate) websockets: Gauge,
    pub(crate) streams: Gauge,
    pub(crate) subscriptions: Gauge,
    pub(crate) hot_channels: Gauge,
    pub(crate) ring_bytes: Gauge,
    pub(crate) catch_up: CatchUpMetrics,
}

/// The figures of reading below the ring: what it cost, and for how many at once.
#[derive(Debug, Clone)]
pub(crate) struct CatchUpMetrics {
    pub(crate) pulls: Counter,
    pub(crate) pages: Counter,
    pub(crate) scans: Counter,
    pub(crate) scanned: Counter,
}

impl CatchUpMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            pulls: metrics.counter(
                "fanout_catch_up_pulls",
                "Chunks asked for that the rings no longer held",
            ),
            pages: metrics.counter(
                "fanout_catch_up_pages",
                "Pages read from PostgreSQL to answer them; one answers many",
            ),
            scans: metrics.counter(
                "fanout_log_scans",
                "Readings of a range of the log, to answer them or to make a channel hot; one answers many",
            ),
            scanned: metrics.counter(
                "fanout_log_scanned_records",
                "Records that those readings looked at",
            ),
        }
    }
}

/// The figures of kept cursors.
#[derive(Debug, Clone)]
pub(crate) struct KeptMetrics {
    pub(crate) appends: Counter,
    pub(crate) failed: Counter,
    pub(crate) lookups: Counter,
    pub(crate) passed_over: Counter,
    pub(crate) pending: Gauge,
    pub(crate) tail: Gauge,
}

impl KeptMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            appends: metrics.counter(
                "fanout_kept_appends",
                "Acknowledged cursors appended to the state topic, many acknowledgements each",
            ),
            failed: metrics.counter(
                "fanout_kept_failed",
                "Of them, those that the log did not confirm; each is tried again",
            ),
            lookups: metrics.counter(
                "fanout_kept_lookups",
                "Rounds of looking up where subscriptions with a name begin; one answers many",
            ),
            passed_over: metrics.counter(
                "fanout_kept_passed_over",
                "Records under the keys of kept cursors that are none",
            ),
            pending: metrics.gauge(
                "fanout_kept_pending",
                "Kept cursors on their way to the log, or just there",
            ),
            tail: metrics.gauge(
                "fanout_kept_tail",
                "Kept cursors in memory because PostgreSQL may not have them yet",
            ),
        }
    }
}

impl FanoutMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            accepted: metrics.counter(
                "fanout_events_accepted",
                "Durable events accepted in channels with interest",
            ),
            delivered: metrics.counter("fanout_deliveries", "Events queued for a connection"),
            written_bytes: metrics.counter("fanout_written_bytes", "Bytes written to WebSockets"),
            lagged: metrics.counter(
                "fanout_lagging",
                "Times a subscription fell behind and went on from the log",
            ),
            gaps: metrics.counter("fanout_gaps", "Gaps told to subscribers"),
            stuck: metrics.counter(
                "fanout_stuck_connections",
                "Connections closed because they read nothing",
            ),
            websockets: metrics.gauge("fanout_websockets", "Open WebSockets"),
            streams: metrics.gauge("fanout_streams", "Open SSE and NDJSON streams"),
            subscriptions: metrics
                .gauge("fanout_subscriptions", "Subscriptions of all connections"),
            hot_channels: metrics.gauge("fanout_hot_channels", "Channels with a ring on this node"),
            ring_bytes: metrics.gauge("fanout_ring_bytes", "Bytes in the rings"),
            catch_up: CatchUpMetrics::new(metrics),
        }
    }
}
