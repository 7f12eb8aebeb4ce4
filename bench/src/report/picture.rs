//! The picture: what a delivery, a connection and a connect cost each server.

use std::fmt::Write as _;

use crate::results::Kept;

/// One panel: bars of one figure, the shorter the better.
struct Panel {
    title: &'static str,
    scenario: &'static str,
    figure: &'static str,
    unit: &'static str,
}

const PANELS: [Panel; 4] = [
    Panel {
        title: "Broadcast to 1000, as fast as it goes: CPU per delivery",
        scenario: "fanout-1x1000-max",
        figure: "server_us_per_delivery",
        unit: "µs",
    },
    Panel {
        title: "200 rooms of 5 who all talk, 50 000 deliveries/s: CPU per delivery",
        scenario: "rooms-200x5-10",
        figure: "server_us_per_delivery",
        unit: "µs",
    },
    Panel {
        title: "The same rooms: 99 % of deliveries within",
        scenario: "rooms-200x5-10",
        figure: "p99_ms",
        unit: "ms",
    },
    Panel {
        title: "Idle connection with a subscription: memory",
        scenario: "idle",
        figure: "kib_per_connection",
        unit: "KiB",
    },
];

const SERVERS: [(&str, &str); 7] = [
    ("raw", "least possible (no log)"),
    ("rivermouth", "Rivermouth, through Kafka"),
    ("nchan", "nchan"),
    ("nats", "NATS"),
    ("socketio", "Socket.IO"),
    ("socketio-redis", "Socket.IO + Redis"),
    ("raw-nocoalesce", "one write per message"),
];

const WIDTH: usize = 760;
const LEFT: usize = 190;
const BAR: usize = 18;
const STEP: usize = 24;

/// The picture as SVG, readable on light and dark pages.
pub(super) fn draw(kept: &Kept) -> String {
    let mut body = String::new();
    let mut y = 20;
    for panel in &PANELS {
        y = draw_panel(kept, panel, y, &mut body);
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" width=\"{WIDTH}\" height=\"{y}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#ffffff\"/>\n{body}</svg>\n"
    )
}

/// Whether every panel has a bar.
pub(super) fn whole(kept: &Kept) -> bool {
    PANELS.iter().all(|panel| {
        let mut servers = SERVERS.iter();
        servers.any(|(engine, _)| kept.median(panel.scenario, engine, panel.figure).is_some())
    })
}

fn draw_panel(kept: &Kept, panel: &Panel, top: usize, body: &mut String) -> usize {
    let bars: Vec<(&str, &str, f64)> = SERVERS
        .iter()
        .filter_map(|(engine, label)| {
            let median = kept.median(panel.scenario, engine, panel.figure)?;
            Some((*engine, *label, median.value))
        })
        .collect();
    let most = bars
        .iter()
        .map(|bar| bar.2)
        .fold(f64::MIN_POSITIVE, f64::max);
    let room = (WIDTH - LEFT - 110) as f64;
    // Writing to memory cannot fail.
    let _ = writeln!(
        body,
        "<text x=\"16\" y=\"{}\" font-weight=\"600\" fill=\"#1c2b3a\">{} ({})</text>",
        top + 8,
        panel.title,
        panel.unit
    );
    let mut y = top + 20;
    for (engine, label, value) in bars {
        let colour = match engine {
            "rivermouth" => "#0b7285",
            "raw" | "raw-nocoalesce" => "#adb5bd",
            _ => "#e8a33d",
        };
        let width = (value / most * room).max(2.0);
        let _ = writeln!(
            body,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\" fill=\"#1c2b3a\">{label}</text>\
             <rect x=\"{LEFT}\" y=\"{y}\" width=\"{width:.0}\" height=\"{BAR}\" rx=\"3\" fill=\"{colour}\"/>\
             <text x=\"{:.0}\" y=\"{}\" fill=\"#1c2b3a\">{value:.2}</text>",
            LEFT - 8,
            y + 14,
            LEFT as f64 + width + 6.0,
            y + 14,
        );
        y += STEP;
    }
    y + 24
}
