//! What we want to hold, and whether it does.

use crate::results::{Kept, Median};

/// A figure of one scenario and server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Figure {
    pub(super) scenario: &'static str,
    pub(super) engine: &'static str,
    pub(super) name: &'static str,
}

/// One line of the table of targets (P1 to P13).
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub(super) id: &'static str,
    pub(super) what: &'static str,
    pub(super) unit: &'static str,
    pub(super) ours: Figure,
    /// What ours is divided by; nothing when the figure itself counts.
    pub(super) yardstick: Option<Figure>,
    /// More is better.
    pub(super) more: bool,
    pub(super) gate: f64,
    pub(super) aim: f64,
}

const fn figure(scenario: &'static str, engine: &'static str, name: &'static str) -> Figure {
    Figure {
        scenario,
        engine,
        name,
    }
}

const COST: &str = "server_us_per_delivery";
const SPEED: &str = "deliveries_per_cpu_s";

/// All of them.
pub(super) const TARGETS: &[Target] = &[
    Target {
        id: "P1",
        what: "fan-out at most speed, 1×1000, deliveries per CPU second, beside raw-nocoalesce",
        unit: "×",
        ours: figure("fanout-1x1000-max", "rivermouth-kafka", SPEED),
        yardstick: Some(figure("fanout-1x1000-max", "raw-nocoalesce", SPEED)),
        more: true,
        gate: 1.0,
        aim: 1.0,
    },
    Target {
        id: "P1",
        what: "the same beside raw",
        unit: "×",
        ours: figure("fanout-1x1000-max", "rivermouth-kafka", SPEED),
        yardstick: Some(figure("fanout-1x1000-max", "raw", SPEED)),
        more: true,
        gate: 0.0,
        aim: 0.35,
    },
    Target {
        id: "P2",
        what: "CPU per delivery, 1×100 at 1000/s, from Kafka",
        unit: "×",
        ours: figure("fanout-1x100-1000", "rivermouth-kafka", COST),
        yardstick: Some(figure("fanout-1x100-1000", "raw", COST)),
        more: false,
        gate: 2.0,
        aim: 1.3,
    },
    Target {
        id: "P4",
        what: "rooms 200×5 at 10/s each, events from Kafka",
        unit: "×",
        ours: figure("rooms-200x5-10", "rivermouth-kafka", COST),
        yardstick: Some(figure("rooms-200x5-10", "raw", COST)),
        more: false,
        gate: 3.0,
        aim: 1.6,
    },
    Target {
        id: "P4",
        what: "the same, the members publishing through the same process",
        unit: "×",
        ours: figure("rooms-200x5-10", "rivermouth", COST),
        yardstick: Some(figure("rooms-200x5-10", "raw", COST)),
        more: false,
        gate: 3.0,
        aim: 1.6,
    },
    Target {
        id: "P5",
        what: "added to Kafka's own latency, 50 k deliveries/s, p50",
        unit: "ms",
        ours: figure("latency", "rivermouth-kafka", "added_p50_ms"),
        yardstick: None,
        more: false,
        gate: 3.0,
        aim: 0.5,
    },
    Target {
        id: "P5",
        what: "the same, p99",
        unit: "ms",
        ours: figure("latency", "rivermouth-kafka", "added_p99_ms"),
        yardstick: None,
        more: false,
        gate: 20.0,
        aim: 2.0,
    },
    Target {
        id: "P6",
        what: "broadcast tail: the last of 1000, p99, at 50/s",
        unit: "×",
        ours: figure("fanout-1x1000-50", "rivermouth-kafka", "last_p99_ms"),
        yardstick: Some(figure("fanout-1x1000-50", "raw", "last_p99_ms")),
        more: false,
        gate: 3.0,
        aim: 1.3,
    },
    Target {
        id: "P7",
        what: "idle memory per connection with a subscription, user space",
        unit: "KiB",
        ours: figure("idle", "rivermouth", "kib_per_connection"),
        yardstick: None,
        more: false,
        gate: 10.0,
        aim: 5.0,
    },
    Target {
        id: "P8",
        what: "idle CPU per connection, ping every 25 s",
        unit: "µs/s",
        ours: figure("idle", "rivermouth", "cpu_us_per_connection_s"),
        yardstick: None,
        more: false,
        gate: 2.2,
        aim: 1.0,
    },
    Target {
        id: "P9",
        what: "connect, HS256, subscribe",
        unit: "µs",
        ours: figure("connect-storm", "rivermouth", "server_us_per_connect"),
        yardstick: None,
        more: false,
        gate: 150.0,
        aim: 50.0,
    },
    Target {
        id: "P10",
        what: "reconnect storm, 100 events missed by each, per CPU second",
        unit: "/s",
        ours: figure("reconnect-storm", "rivermouth", "resumes_per_cpu_s"),
        yardstick: None,
        more: true,
        gate: 3000.0,
        aim: 8000.0,
    },
    Target {
        id: "P11",
        what: "p99 of the others beside 10 % who do not read",
        unit: "×",
        ours: figure("slow-readers", "rivermouth", "p99_ratio"),
        yardstick: None,
        more: false,
        gate: 2.0,
        aim: 1.2,
    },
    Target {
        id: "P12",
        what: "persister, rows a second, beside COPY in transactions of 1000 rows",
        unit: "×",
        ours: figure("persist", "rivermouth", "rows_per_s"),
        yardstick: Some(figure("persist", "copy-1000", "rows_per_s")),
        more: true,
        gate: 0.4,
        aim: 0.7,
    },
    Target {
        id: "P13",
        what: "ingest by WebSocket, CPU per acknowledged event",
        unit: "µs",
        ours: figure("ingest-ws", "rivermouth", "server_us_per_event"),
        yardstick: None,
        more: false,
        gate: 40.0,
        aim: 15.0,
    },
    Target {
        id: "P13",
        what: "ingest by HTTP, CPU per acknowledged event",
        unit: "µs",
        ours: figure("ingest-http", "rivermouth", "server_us_per_event"),
        yardstick: None,
        more: false,
        gate: 40.0,
        aim: 15.0,
    },
];

impl Figure {
    pub(super) fn of(self, kept: &Kept) -> Option<Median> {
        kept.median(self.scenario, self.engine, self.name)
    }
}

impl Target {
    /// What was measured, divided by its yardstick when it has one.
    pub(super) fn value(&self, kept: &Kept) -> Option<f64> {
        let ours = self.ours.of(kept)?.value;
        match self.yardstick {
            None => Some(ours),
            Some(yardstick) => Some(ours / yardstick.of(kept)?.value),
        }
    }

    /// Whether a value is as good as that.
    pub(super) fn holds(&self, value: f64, bound: f64) -> bool {
        if self.more {
            value >= bound
        } else {
            value <= bound
        }
    }
}
