//! What ingest counts. Names are `rivermouth_ingest_*`; labels come from fixed lists, never from users.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use protocol::ProtocolError;
use service::{Metrics, latency_buckets};

/// Counters of one gateway; clones count together.
#[derive(Clone, Debug)]
pub(crate) struct IngestMetrics {
    answers: Family<[(&'static str, &'static str); 2], Counter>,
    pub(crate) bytes: Counter,
    pub(crate) replayed: Counter,
    pub(crate) latency: Histogram,
    pub(crate) queued: Gauge,
    pub(crate) queued_bytes: Gauge,
    pub(crate) breakers_open: Gauge,
    pub(crate) lookups: Counter,
    pub(crate) lookups_failed: Counter,
    pub(crate) read_back: Counter,
    pub(crate) conflated: Counter,
    pub(crate) signals_lost: Counter,
}

impl IngestMetrics {
    pub(crate) fn new(metrics: &Metrics) -> IngestMetrics {
        IngestMetrics {
            answers: metrics.counters(
                "ingest_publishes",
                "Publishes by lane and by what they were told",
            ),
            bytes: metrics.counter(
                "ingest_appended_bytes",
                "Bytes of records handed to the log",
            ),
            replayed: metrics.counter(
                "ingest_replayed",
                "Records appended again because the log's producer was replaced",
            ),
            latency: metrics.histogram(
                "ingest_ack_duration_seconds",
                "Time from a durable publish's arrival to its answer",
                latency_buckets(),
            ),
            queued: metrics.gauge("ingest_queued_records", "Records waiting or in flight"),
            queued_bytes: metrics.gauge(
                "ingest_queued_bytes",
                "Bytes of records waiting or in flight",
            ),
            breakers_open: metrics.gauge(
                "ingest_breakers_open",
                "Partitions that are not tried at present",
            ),
            lookups: metrics.counter(
                "ingest_outbox_lookups",
                "Channels whose outboxes were looked up",
            ),
            lookups_failed: metrics.counter(
                "ingest_outbox_lookup_failures",
                "Channels whose outboxes could not be looked up",
            ),
            read_back: metrics.counter(
                "ingest_read_back_records",
                "Records read back from the log to judge outboxes",
            ),
            conflated: metrics.counter(
                "ingest_conflated",
                "Ephemeral events replaced by newer ones",
            ),
            signals_lost: metrics.counter(
                "ingest_signals_lost",
                "Ephemeral events the log did not take",
            ),
        }
    }

    pub(crate) fn stored(&self, lane: &'static str, duplicate: bool) {
        let told = if duplicate { "duplicate" } else { "ok" };
        self.count(lane, told);
    }

    pub(crate) fn refused(&self, lane: &'static str, error: &ProtocolError) {
        self.count(lane, error.name.as_str());
    }

    fn count(&self, lane: &'static str, told: &'static str) {
        self.answers
            .get_or_create(&[("lane", lane), ("told", told)])
            .inc();
    }
}
