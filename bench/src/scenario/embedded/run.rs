//! The scenario: a process of its own for each number of records, so that its CPU and memory are the log's.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::process::Command;

use super::measure;
use crate::machine::anywhere;
use crate::scenario::Sitting;

/// What grows from one to the next is what grows with the log.
const RECORDS: [u64; 3] = [100_000, 1_000_000, 10_000_000];
/// Longest time for one of them.
const DEADLINE: Duration = Duration::from_secs(1_200);

/// Takes it with each number of records.
pub(in crate::scenario) async fn take(sitting: &mut Sitting) -> anyhow::Result<()> {
    // Beside the results, not where the system keeps temporary files: that may be memory.
    let beside = sitting.arguments.results.parent();
    let beside = beside.unwrap_or(Path::new(".")).to_owned();
    for records in RECORDS {
        let dir = tempfile::tempdir_in(&beside)?;
        let count = (records / u64::from(sitting.arguments.divide)).max(1_000);
        let point = sitting.begin("embedded", &format!("{count} records"));
        let child = Command::new(std::env::current_exe()?)
            .arg("embedded")
            .arg(dir.path().join("log"))
            .arg(count.to_string())
            .stderr(std::process::Stdio::inherit())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(DEADLINE, child)
            .await
            .with_context(|| format!("{count} records took too long"))??;
        ensure!(output.status.success(), "{count} records: void");
        let figures: Value = serde_json::from_slice(&output.stdout)?;
        let figures = figures.as_object().context("no figures")?;
        sitting.keep(figures.iter().fold(point, |point, (name, value)| {
            point.with(name, value.as_f64().unwrap_or(f64::NAN))
        }))?;
    }
    Ok(())
}

/// The process of its own: measures and prints the figures as JSON.
pub fn alone(dir: &Path, records: u64) -> anyhow::Result<()> {
    // Whoever started it is kept on one processor; a log has threads for all.
    anywhere()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let figures = runtime.block_on(measure(dir, records))?;
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}
