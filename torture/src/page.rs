//! The page: what a run did, what was checked, and what came out. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::check::CHECKS;
use crate::run::Report;

/// The page as Markdown.
pub fn page(report: &Report) -> String {
    let mut page = String::new();
    // Writing to a string cannot fail.
    let _ = head(&mut page, report);
    let _ = faults(&mut page, report);
    let _ = met(&mut page, report);
    let _ = checks(&mut page, report);
    let _ = violations(&mut page, report);
    page
}

fn head(page: &mut String, report: &Report) -> std::fmt::Result {
    let order = &report.order;
    let outcome = if report.holds() {
        "everything holds"
    } else {
        "SOMETHING IS WRONG"
    };
    writeln!(page, "# Torture: {outcome}\n")?;
    writeln!(page, "| | |\n|---|---|")?;
    writeln!(page, "| seed | {} |", order.seed)?;
    writeln!(
        page,
        "| world | {} broker(s), {} of each service |",
        order.size.brokers, order.size.copies
    )?;
    writeln!(page, "| storm | {:.0} s |", report.lasted.as_secs_f64())?;
    writeln!(
        page,
        "| events that count | {} |",
        report.verdict.checks.get("rows").unwrap_or(&0)
    )?;
    writeln!(
        page,
        "| readings | {}, {} of them to the last event |",
        report.readings.0, report.readings.1
    )?;
    for trouble in &report.troubles {
        writeln!(page, "| **trouble** | {trouble} |")?;
    }
    let checks: u64 = report.verdict.checks.values().sum();
    writeln!(
        page,
        "| faults | {} of {} kinds |",
        report.injected.len(),
        by_kind(report).len()
    )?;
    writeln!(page, "| checks | {checks} |")?;
    writeln!(
        page,
        "| **violations** | **{}** |\n",
        report.verdict.total()
    )
}

/// For each kind its recoveries in milliseconds, sorted; none for one that did not come.
fn by_kind(report: &Report) -> BTreeMap<&'static str, Vec<Option<u32>>> {
    let mut kinds: BTreeMap<&'static str, Vec<Option<u32>>> = BTreeMap::new();
    for one in &report.injected {
        kinds.entry(one.kind.name()).or_default().push(one.recovery);
    }
    for recoveries in kinds.values_mut() {
        recoveries.sort_by_key(|recovery| recovery.unwrap_or(u32::MAX));
    }
    kinds
}

fn faults(page: &mut String, report: &Report) -> std::fmt::Result {
    if report.injected.is_empty() {
        return Ok(());
    }
    writeln!(
        page,
        "| fault | times | recovered after, p50 | p99 |\n|---|---:|---:|---:|"
    )?;
    let mut all = Vec::new();
    for (kind, recoveries) in by_kind(report) {
        writeln!(
            page,
            "| {kind} | {} | {} | {} |",
            recoveries.len(),
            quantile(&recoveries, 0.5),
            quantile(&recoveries, 0.99)
        )?;
        all.extend(recoveries);
    }
    all.sort_by_key(|recovery| recovery.unwrap_or(u32::MAX));
    writeln!(
        page,
        "| all | {} | {} | {} |\n",
        all.len(),
        quantile(&all, 0.5),
        quantile(&all, 0.99)
    )
}

/// The smallest that so many are not above.
fn quantile(sorted: &[Option<u32>], part: f64) -> String {
    let rank = (sorted.len() as f64 * part).ceil() as usize;
    match sorted.get(rank.clamp(1, sorted.len().max(1)) - 1) {
        Some(Some(ms)) => format!("{:.2} s", f64::from(*ms) / 1000.0),
        Some(None) => "never".into(),
        None => "–".into(),
    }
}

fn met(page: &mut String, report: &Report) -> std::fmt::Result {
    writeln!(page, "| what came up | times |\n|---|---:|")?;
    for (what, count) in &report.tally {
        writeln!(page, "| {what} | {count} |")?;
    }
    writeln!(page)
}

fn checks(page: &mut String, report: &Report) -> std::fmt::Result {
    writeln!(page, "| check | made | violated |\n|---|---:|---:|")?;
    for (name, _, what) in CHECKS {
        let made = report.verdict.checks.get(name).copied().unwrap_or(0);
        let violated = report.verdict.violated.get(name).copied().unwrap_or(0);
        writeln!(page, "| `{name}`: {what} | {made} | {violated} |")?;
    }
    for name in report.verdict.unmade(!report.injected.is_empty()) {
        writeln!(
            page,
            "\n`{name}` was never checked: this run proves nothing about it."
        )?;
    }
    Ok(())
}

fn violations(page: &mut String, report: &Report) -> std::fmt::Result {
    for violation in &report.verdict.violations {
        writeln!(
            page,
            "\n## `{}`: {}\n\n```text",
            violation.kind, violation.what
        )?;
        for line in &violation.story {
            writeln!(page, "{line}")?;
        }
        writeln!(page, "```")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_p99_of_few_is_the_worst_and_never_is_worse_than_any() {
        assert_eq!(quantile(&[Some(100), Some(2_340)], 0.99), "2.34 s");
        assert_eq!(quantile(&[Some(100), Some(2_340)], 0.5), "0.10 s");
        assert_eq!(quantile(&[Some(100), None], 0.99), "never");
        assert_eq!(quantile(&[], 0.5), "–");
    }
}
