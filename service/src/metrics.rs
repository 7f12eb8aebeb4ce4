//! The registry behind `/metrics`: every number of this process, under `rivermouth_*`.
//!
//! Parts register at start and keep the returned handle; nothing is looked up on a hot path. Names are in
//! base units (seconds, bytes), counters end in `_total` by themselves, every metric has a help text, and
//! labels never hold anything a user chose.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// The numbers of one process. Clones are the same registry.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    refresh: Arc<Mutex<Vec<Refresh>>>,
}

type Refresh = Box<dyn Fn() + Send>;

impl Metrics {
    /// An empty registry; all names get the prefix `rivermouth_`.
    #[must_use]
    pub fn new() -> Self {
        Metrics {
            registry: Arc::new(Mutex::new(Registry::with_prefix("rivermouth"))),
            refresh: Arc::default(),
        }
    }

    /// A number that only grows. `ingest_events` is exposed as `rivermouth_ingest_events_total`.
    pub fn counter(&self, name: &str, help: &str) -> Counter {
        self.register(name, help, Counter::default())
    }

    /// A number that goes up and down.
    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.register(name, help, Gauge::default())
    }

    /// A distribution; `name` ends in its unit, usually `_seconds` (see [`latency_buckets`]) or `_bytes`.
    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        self.register(name, help, Histogram::new(buckets.iter().copied()))
    }

    /// Counters by label, for example `counters::<[(&str, &str); 1]>("ingest_refusals", "…")`. The values
    /// of a label come from a fixed list, never from a user.
    pub fn counters<L>(&self, name: &str, help: &str) -> Family<L, Counter>
    where
        L: EncodeLabelSet + Clone + Eq + std::hash::Hash + fmt::Debug + Send + Sync + 'static,
    {
        self.register(name, help, Family::default())
    }

    /// Gauges by label; the same rule for labels.
    pub fn gauges<L>(&self, name: &str, help: &str) -> Family<L, Gauge>
    where
        L: EncodeLabelSet + Clone + Eq + std::hash::Hash + fmt::Debug + Send + Sync + 'static,
    {
        self.register(name, help, Family::default())
    }

    /// Registers any metric of the `prometheus-client` crate and hands it back. The last full stop of
    /// `help` is added by the encoder.
    pub fn register<M>(&self, name: &str, help: &str, metric: M) -> M
    where
        M: EncodeMetric + TypedMetric + Clone + fmt::Debug + Send + Sync + 'static,
    {
        let help = help.trim_end_matches('.');
        self.lock().register(name, help, metric.clone());
        metric
    }

    /// Runs `refresh` before every scrape: for numbers that are cheaper to read than to keep. It must not
    /// block.
    pub fn before_scrape(&self, refresh: impl Fn() + Send + 'static) {
        let mut all = self.refresh.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(Box::new(refresh));
    }

    /// The whole registry in the OpenMetrics text format.
    #[must_use]
    pub fn encode(&self) -> String {
        for refresh in self
            .refresh
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            refresh();
        }
        let mut text = String::new();
        encode(&mut text, &self.lock()).expect("a String takes whatever is written to it");
        text
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Registry> {
        // A panic in another registration leaves the registry readable.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

/// Seconds, from 0.5 ms to 10 s: one list for every latency of ours, so that they can be compared.
#[must_use]
pub fn latency_buckets() -> &'static [f64] {
    &[
        0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_the_prefix_the_suffix_and_a_help_text() {
        let metrics = Metrics::new();
        metrics.counter("ingest_events", "Events appended.").inc();
        let wait = metrics.histogram(
            "ingest_append_duration_seconds",
            "Time until all replicas had the record",
            latency_buckets(),
        );
        wait.observe(0.003);
        let text = metrics.encode();
        assert!(text.contains("# HELP rivermouth_ingest_events Events appended.\n"));
        assert!(text.contains("rivermouth_ingest_events_total 1\n"));
        assert!(
            text.contains("rivermouth_ingest_append_duration_seconds_bucket{le=\"0.005\"} 1\n")
        );
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn a_number_can_be_read_when_it_is_asked_for() {
        let metrics = Metrics::new();
        let gauge = metrics.gauge("service_open_files", "Open files");
        let handle = gauge.clone();
        metrics.before_scrape(move || {
            handle.set(12);
        });
        assert!(
            metrics
                .encode()
                .contains("rivermouth_service_open_files 12\n")
        );
    }
}
