//! Failing closed: topics that are others now, have more partitions, were cut, or have settings that lose events.

mod doctor;
mod grown;
mod noticed;
mod pins_lost;
mod recreated;
mod truncated;
mod unmigrated;

use testbed::{Bed, Exited, Node, until};

const CHANNEL: &str = "session.closed";

/// Waits until PostgreSQL has `count` events of a generation of the topic.
async fn stored(bed: &Bed, generation: i32, count: i64) {
    let sql = format!(
        "select count(*) from rivermouth.events e join rivermouth.topics t using (topic_id)
         where t.generation = {generation} and e.channel = '{CHANNEL}'"
    );
    until("rows to be stored", || async {
        (bed.database().number(&sql).await == count).then_some(())
    })
    .await;
}

/// Starts a service that refuses to: what it says.
async fn refused(bed: &Bed, service: &str) -> String {
    let Exited { status, output } = bed.run(&[service, "--metrics-port", "0"]).await;
    assert_eq!(status.code(), Some(1), "{service}: {output}");
    output
}

/// The command that a finding names, as the arguments of `rivermouth`.
fn mending(output: &str) -> Vec<&str> {
    let (_, command) = output.split_once("mend it: rivermouth ").unwrap();
    let end = command.find(", ").unwrap_or(command.len());
    command[..end].split_whitespace().collect()
}

/// Waits until the node's `/readyz` says why it should get no work.
async fn unready(node: &Node, code: &str) {
    until("a process to become unready", || async {
        let report = node.admin().get("/readyz").await.ok()?;
        let text = String::from_utf8_lossy(&report.body).into_owned();
        (report.status == 503 && text.contains(code)).then_some(())
    })
    .await;
    let found = format!("rivermouth_findings{{code=\"{code}\"");
    until("the finding to be counted", || async {
        metrics(node)
            .await
            .lines()
            .any(|line| line.starts_with(&found) && line.ends_with(" 1"))
            .then_some(())
    })
    .await;
}

/// What the part says of itself in the node's `/health`.
async fn said(node: &Node, part: &str) -> serde_json::Value {
    let answer = node.admin().get("/health").await.unwrap();
    let report: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let parts = report["components"].as_array().unwrap();
    parts
        .iter()
        .find(|said| said["name"] == part)
        .unwrap_or_else(|| panic!("no {part} in {report}"))
        .clone()
}

async fn metrics(node: &Node) -> String {
    let answer = node.admin().get("/metrics").await.unwrap();
    String::from_utf8(answer.body.to_vec()).unwrap()
}
