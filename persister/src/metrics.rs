//! The persister's numbers. Topics and partitions are labels: both come from the pins, never from a user.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use service::{Metrics, latency_buckets};
use store::Place;

type Reason = [(&'static str, String); 1];
type Partition = [(&'static str, String); 2];

#[derive(Clone, Debug)]
pub(crate) struct Numbers {
    pub(crate) rows: Counter,
    pub(crate) void: Counter,
    pub(crate) kept: Counter,
    pub(crate) passed_over: Counter,
    pub(crate) batches: Counter,
    pub(crate) write_seconds: Histogram,
    quarantined: Family<Reason, Counter>,
    pub(crate) dead_letters_failed: Counter,
    pub(crate) fenced: Counter,
    pub(crate) retries: Counter,
    pub(crate) gap_records: Counter,
    pub(crate) leased: Gauge,
    lag: Family<Partition, Gauge>,
    truncated: Family<Partition, Gauge>,
    lag_seconds: Family<Partition, Gauge<f64, AtomicU64>>,
    retention_used: Family<Partition, Gauge<f64, AtomicU64>>,
}

impl Numbers {
    pub(crate) fn new(metrics: &Metrics) -> Numbers {
        Numbers {
            rows: metrics.counter("persister_rows", "Events stored as rows"),
            void: metrics.counter("persister_void", "Records that count for nobody: duplicates and gaps of outboxes"),
            kept: metrics.counter("persister_kept_cursors", "Kept cursors read from the state topic, the furthest of each batch"),
            passed_over: metrics.counter(
                "persister_state_passed_over",
                "Records under the keys of kept cursors that are none; anything but 0 is somebody else's writing",
            ),
            batches: metrics.counter("persister_batches", "Transactions committed"),
            write_seconds: metrics.histogram(
                "persister_write_duration_seconds",
                "Time of one transaction, from its begin to its commit",
                latency_buckets(),
            ),
            quarantined: metrics.counters("persister_quarantined", "Records that could not be taken, by reason"),
            dead_letters_failed: metrics.counter(
                "persister_dead_letters_failed",
                "Quarantined records that the dead letter topic refused; they are in the quarantine table only",
            ),
            fenced: metrics.counter("persister_fenced", "Batches refused because somebody else had moved the offset"),
            retries: metrics.counter("persister_retries", "Times that PostgreSQL, the log or the registry was not to be had"),
            gap_records: metrics.counter(
                "persister_gap_records",
                "Offsets erased from the log before they were stored; anything but 0 is a loss",
            ),
            leased: metrics.gauge("persister_leased_partitions", "Partitions this instance works on"),
            truncated: metrics.gauges(
                "persister_truncated_partitions",
                "1 for each partition whose log ends before what is stored; nothing more of it is stored",
            ),
            lag: metrics.gauges("persister_lag_records", "Offsets between what is stored and the log's end"),
            lag_seconds: metrics.register(
                "persister_lag_seconds",
                "How old the oldest record that is not stored yet may be at most; 0 when all are",
                Family::default(),
            ),
            retention_used: metrics.register(
                "persister_retention_used_ratio",
                "Share of the log's retention that the oldest record not stored yet has used up; at 1 the log erases it",
                Family::default(),
            ),
        }
    }

    pub(crate) fn quarantined(&self, reason: &str) {
        self.quarantined
            .get_or_create(&[("reason", reason.to_owned())])
            .inc();
    }

    pub(crate) fn standing(&self, place: &Place, lag: i64, age_ms: i64, retention_used: f64) {
        let labels = labels(place);
        self.lag.get_or_create(&labels).set(lag);
        self.lag_seconds
            .get_or_create(&labels)
            .set(age_ms as f64 / 1000.0);
        self.retention_used
            .get_or_create(&labels)
            .set(retention_used);
    }

    /// Whether the partition's log ends before what is stored of it.
    pub(crate) fn truncated(&self, topic: &str, partition: i32, is: bool) {
        let labels = [
            ("topic", topic.to_owned()),
            ("partition", partition.to_string()),
        ];
        if is {
            self.truncated.get_or_create(&labels).set(1);
        } else {
            self.truncated.remove(&labels);
        }
    }

    /// Another instance reports the partition from now on.
    pub(crate) fn forget(&self, place: &Place) {
        let labels = labels(place);
        self.lag.remove(&labels);
        self.truncated.remove(&labels);
        self.lag_seconds.remove(&labels);
        self.retention_used.remove(&labels);
    }
}

fn labels(place: &Place) -> Partition {
    [
        ("topic", place.topic.clone()),
        ("partition", place.partition.to_string()),
    ]
}
