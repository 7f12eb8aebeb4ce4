//! Tables in Markdown.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::targets::{TARGETS, Target};
use crate::results::{Kept, Median};

/// Every table with the name of its place; nothing where there is not one figure for it. `notes` stand below the machine.
pub(super) fn all(kept: &Kept, notes: &[String]) -> Vec<(&'static str, Option<String>)> {
    vec![
        ("machine", Some(machine(kept, notes))),
        ("targets", targets(kept)),
        ("shapes", shapes(kept)),
        ("connections", connections(kept)),
        ("growth", rest(kept, true)),
        ("ours", rest(kept, false)),
    ]
}

fn machine(kept: &Kept, notes: &[String]) -> String {
    let machine = &kept.machine;
    let commits: BTreeSet<&str> = kept.points.iter().map(|p| p.commit.as_str()).collect();
    let commits: Vec<&str> = commits.into_iter().collect();
    let peers = machine.peers.iter().map(|(name, version)| {
        let version = version.split_whitespace().collect::<Vec<_>>().join(" ");
        format!("{name} ({version})")
    });
    let peers: Vec<String> = peers.collect();
    format!(
        "{}, {} GiB, Linux {}; commits {}; {}; {}. Peers: {}.\n\n{}\n",
        machine.processor,
        machine.memory_gib,
        machine.kernel,
        commits.join(", "),
        machine.rustc,
        machine.date,
        peers.join(", "),
        notes.join("\n")
    )
}

/// Three digits that count.
fn short(value: f64) -> String {
    match value.abs() {
        small if small < 10.0 => format!("{value:.2}"),
        middle if middle < 100.0 => format!("{value:.1}"),
        large if large < 10_000.0 => format!("{value:.0}"),
        thousands if thousands < 1e6 => format!("{:.0} k", value / 1e3),
        _ => format!("{:.2} M", value / 1e6),
    }
}

fn spread(median: Option<Median>) -> String {
    match median {
        None => "–".to_owned(),
        Some(Median { least, value, most }) if least >= most => short(value),
        Some(Median { least, value, most }) => {
            format!("{} ({}–{})", short(value), short(least), short(most))
        }
    }
}

fn targets(kept: &Kept) -> Option<String> {
    TARGETS.iter().find_map(|target| target.value(kept))?;
    let mut table = "| | what | yardstick | ours | measured | gate | aim | |\n\
                     |---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for target in TARGETS {
        let value = target.value(kept);
        let yardstick = target.yardstick.map(|figure| spread(figure.of(kept)));
        // Writing to memory cannot fail.
        let _ = writeln!(
            table,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            target.id,
            target.what,
            yardstick.unwrap_or_default(),
            spread(target.ours.of(kept)),
            value.map_or("–".to_owned(), |value| format!(
                "**{}** {}",
                short(value),
                target.unit
            )),
            bound(target, target.gate),
            bound(target, target.aim),
            value.map_or("not measured", |value| verdict(target, value)),
        );
    }
    Some(table)
}

fn bound(target: &Target, bound: f64) -> String {
    match (target.more, bound) {
        (true, 0.0) => "–".to_owned(),
        (true, bound) => format!("≥ {}", short(bound)),
        (false, bound) => format!("≤ {}", short(bound)),
    }
}

fn verdict(target: &Target, value: f64) -> &'static str {
    if target.holds(value, target.aim) {
        "aim"
    } else if target.holds(value, target.gate) {
        "gate"
    } else {
        "**missed**"
    }
}

/// As the tables have them, one after the other.
pub(super) const ENGINES: [&str; 8] = [
    "raw",
    "raw-nocoalesce",
    "rivermouth",
    "rivermouth-kafka",
    "nchan",
    "nats",
    "socketio",
    "socketio-redis",
];

/// One table over all servers: CPU, rate and times of each shape.
fn shapes(kept: &Kept) -> Option<String> {
    let mut table = "| shape | server | µs of its CPU per delivery | deliveries/s | its CPU, % | p50 ms | p99 ms | last p99 ms |\n\
                     |---|---|---|---|---|---|---|---|\n"
        .to_owned();
    let bare = table.len();
    for shape in crate::scenario::shapes() {
        for engine in ENGINES {
            let of = |figure| kept.median(shape, engine, figure);
            let Some(cost) = of("server_us_per_delivery") else {
                continue;
            };
            let plain = |figure| of(figure).map_or("–".to_owned(), |median| short(median.value));
            let _ = writeln!(
                table,
                "| {shape} | {engine} | {} | {} | {} | {} | {} | {} |",
                spread(Some(cost)),
                plain("deliveries_per_s"),
                plain("server_cpu_percent"),
                plain("p50_ms"),
                plain("p99_ms"),
                plain("last_p99_ms"),
            );
        }
    }
    (table.len() > bare).then_some(table)
}

fn connections(kept: &Kept) -> Option<String> {
    let mut table = "| server | connects/s | µs of its CPU per connect | KiB per idle connection | kernel slab KiB, both ends | idle CPU µs/s per connection |\n\
                     |---|---|---|---|---|---|\n"
        .to_owned();
    let bare = table.len();
    for engine in ENGINES {
        let storm = |figure| kept.median("connect-storm", engine, figure);
        let idle = |figure| kept.median("idle", engine, figure);
        if storm("connects_per_s").is_none() && idle("kib_per_connection").is_none() {
            continue;
        }
        let _ = writeln!(
            table,
            "| {engine} | {} | {} | {} | {} | {} |",
            spread(storm("connects_per_s")),
            spread(storm("server_us_per_connect")),
            spread(idle("kib_per_connection")),
            spread(idle("slab_kib_per_connection_both_ends")),
            spread(idle("cpu_us_per_connection_s")),
        );
    }
    (table.len() > bare).then_some(table)
}

/// The figures that growth is about.
const GROWING: [&str; 13] = [
    "catch_up_1000_ms",
    "idle_cpu_us_per_s",
    "join_s",
    "kib_per_channel",
    "mib",
    "p50_ms",
    "p99_ms",
    "page_p50_ms",
    "page_p99_ms",
    "server_us_per_delivery",
    "server_us_per_event",
    "server_us_per_page",
    "start_s",
];

/// Everything else, figure by figure: what grows, or what does not.
fn rest(kept: &Kept, growth: bool) -> Option<String> {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    let mut table =
        "| scenario | server | figures: median (least–most) |\n|---|---|---|\n".to_owned();
    let elsewhere = |name: &str| {
        ["connect-storm", "idle"].contains(&name)
            || crate::scenario::shapes().any(|shape| shape == name)
    };
    for point in kept.valid() {
        let key = (point.scenario.as_str(), point.engine.as_str());
        let grows = key.0.starts_with("growth-");
        if elsewhere(key.0) || grows != growth || seen.contains(&key) {
            continue;
        }
        seen.push(key);
        let figures: Vec<String> = point
            .figures
            .keys()
            .filter(|figure| !growth || GROWING.contains(&figure.as_str()))
            .map(|figure| format!("{figure} {}", spread(kept.median(key.0, key.1, figure))))
            .collect();
        let _ = writeln!(table, "| {} | {} | {} |", key.0, key.1, figures.join("; "));
    }
    (!seen.is_empty()).then_some(table)
}
