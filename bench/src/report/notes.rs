//! What has to be said of the figures as a whole: which are void, disturbed, short of their rate or of another length,
//! and which there are not.

use std::collections::{BTreeMap, BTreeSet};

use super::tables::ENGINES;
use super::targets::TARGETS;
use crate::results::{ALONE_PERCENT, Kept, Point, RATE_PERCENT};

/// What stands below the machine, a sentence or two each.
pub(super) fn all(kept: &Kept) -> Vec<String> {
    let notes = [company(kept), rates(kept), lengths(kept), void(kept)];
    notes.into_iter().flatten().collect()
}

/// Which measurements were not alone.
fn company(kept: &Kept) -> Option<String> {
    let what =
        format!("were not alone (others used more than {ALONE_PERCENT:.0} % of a processor)");
    counted(
        kept,
        ("measurements", &what),
        |point| point.foreign_percent,
        Point::company_percent,
    )
}

/// Which paced measurements delivered less than was due.
fn rates(kept: &Kept) -> Option<String> {
    let what = format!("delivered less than {RATE_PERCENT:.0} % of their rate");
    counted(
        kept,
        ("paced measurements", &what),
        |point| point.rate_percent,
        Point::short_percent,
    )
}

/// Of how many measurements a percentage is `known`, and which of them it is too `bad` of.
fn counted(
    kept: &Kept,
    (which, what): (&str, &str),
    known: fn(&Point) -> Option<f64>,
    bad: fn(&Point) -> Option<f64>,
) -> Option<String> {
    let known = kept.points.iter().filter_map(known).count();
    let names = kept.points.iter().filter_map(|point| {
        let percent = bad(point)?;
        let Point {
            scenario, engine, ..
        } = point;
        Some(format!("{scenario} {engine} {percent:.0} %"))
    });
    let names: Vec<String> = names.collect();
    let listed = match names.is_empty() {
        true => "none".to_owned(),
        false => names.join(", "),
    };
    (known > 0).then(|| {
        let count = names.len();
        format!("Of {known} {which} of which it can be told, {count} {what}: {listed}.")
    })
}

/// Which lengths there are, where there are several.
fn lengths(kept: &Kept) -> Option<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for point in &kept.points {
        let length = point.lengths.map(|lengths| lengths.to_string());
        let length = length.unwrap_or_else(|| "a length that was not written down".to_owned());
        *counts.entry(length).or_default() += 1;
    }
    let counted = counts
        .iter()
        .map(|(length, count)| format!("{length} ({count})"));
    let counted: Vec<String> = counted.collect();
    (counts.len() > 1).then(|| {
        format!(
            "The measurements are not of one length (measured after warm-up): {}.",
            counted.join(", ")
        )
    })
}

/// Which are void, and why.
fn void(kept: &Kept) -> Option<String> {
    let void = kept.points.iter().filter(|point| !point.wrong.nothing());
    let names: Vec<String> = void
        .map(|point| {
            let why = point.complaints.first().map(|why| format!(", {why}"));
            let (scenario, engine) = (&point.scenario, &point.engine);
            format!(
                "{scenario} {engine} ({}{})",
                point.wrong,
                why.unwrap_or_default()
            )
        })
        .collect();
    (!names.is_empty()).then(|| format!("Void, and in none of the figures: {}.", names.join("; ")))
}

/// What there are no figures of: scenarios, servers in a shape that others were measured in, targets.
pub(super) fn missing(kept: &Kept) -> Vec<String> {
    let targets = TARGETS.iter();
    let targets = targets.filter(|target| target.value(kept).is_none());
    let targets = targets.map(|target| format!("{} ({})", target.id, target.what));
    [
        ("scenarios", scenarios(kept)),
        ("servers", servers(kept)),
        ("targets", targets.collect()),
    ]
    .into_iter()
    .filter(|(_, names)| !names.is_empty())
    .map(|(what, names)| format!("no figures for these {what}: {}", names.join("; ")))
    .collect()
}

fn scenarios(kept: &Kept) -> Vec<String> {
    let measured = |name: &String| {
        // Some have parts.
        let part = format!("{name}-");
        let mut points = kept.valid();
        points.any(|point| point.scenario == *name || point.scenario.starts_with(&part))
    };
    let mut names = crate::scenario::names();
    names.retain(|name| !measured(name));
    names
}

fn servers(kept: &Kept) -> Vec<String> {
    let pairs = crate::scenario::shapes().flat_map(|shape| {
        let measured: BTreeSet<&str> = kept
            .valid()
            .filter(|point| point.scenario == shape)
            .map(|point| point.engine.as_str())
            .collect();
        let missing = ENGINES.iter();
        let missing =
            missing.filter(move |engine| !measured.is_empty() && !measured.contains(**engine));
        missing.map(move |engine| format!("{engine} in {shape}"))
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Lengths;

    fn kept(points: Vec<Point>) -> Kept {
        Kept {
            machine: crate::machine::Machine::look(),
            points,
        }
    }

    #[test]
    fn a_paced_measurement_short_of_its_rate_is_named() {
        let mut slow = Point::new("rooms-200x5-10", "socketio");
        slow.rate_percent = Some(91.0);
        let mut fine = Point::new("rooms-200x5-10", "raw");
        fine.rate_percent = Some(99.9);
        let note = rates(&kept(vec![slow, fine])).unwrap();
        assert!(note.contains("Of 2 paced"), "{note}");
        assert!(note.ends_with(": rooms-200x5-10 socketio 91 %."), "{note}");
    }

    #[test]
    fn lengths_are_told_when_they_differ() {
        let of = |time_s| {
            let mut point = Point::new("idle", "raw");
            point.lengths = Some(Lengths {
                time_s,
                warm_up_s: 1.0,
                divide: 1,
            });
            point
        };
        assert_eq!(lengths(&kept(vec![of(3.0), of(3.0)])), None);
        let note = lengths(&kept(vec![of(3.0), of(8.0), of(3.0)])).unwrap();
        assert!(
            note.contains("3 s after 1 s (2), 8 s after 1 s (1)"),
            "{note}"
        );
    }

    #[test]
    fn void_measurements_are_named_and_are_no_figures() {
        let good = Point::new("idle", "raw").with("kib_per_connection", 1.0);
        let bad = Point::new("connect-storm", "raw").failed("the broker is gone".to_owned());
        let kept = kept(vec![good, bad]);
        let note = void(&kept).unwrap();
        assert!(note.contains("connect-storm raw"), "{note}");
        assert!(note.contains("the broker is gone"), "{note}");
        let missing = missing(&kept).join("\n");
        assert!(missing.contains("connect-storm"), "{missing}");
        assert!(!missing.contains("idle;"), "{missing}");
    }

    #[test]
    fn a_server_missing_in_a_shape_of_others_is_named() {
        let points = ["raw", "nats"].map(|engine| Point::new("rooms-200x5-2", engine));
        let missing = servers(&kept(points.into()));
        assert!(missing.contains(&"nchan in rooms-200x5-2".to_owned()));
        assert_eq!(missing.len(), ENGINES.len() - 2);
    }
}
