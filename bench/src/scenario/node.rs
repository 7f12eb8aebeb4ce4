//! A process of Rivermouth under test: started on its processor, and asked what it has done.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use testbed::{Bed, Node};

use crate::machine::{Pinned, SERVER_CPU};

/// Starts a service of a world where servers under test run.
pub(super) async fn start(bed: &Bed, service: &str) -> anyhow::Result<Node> {
    let _pinned = Pinned::to(SERVER_CPU)?;
    Ok(bed.start(service).await)
}

/// Where a node listens.
pub(super) fn address(node: &Node) -> anyhow::Result<SocketAddr> {
    Ok(node.url().trim_start_matches("http://").parse()?)
}

/// Readings of Kafka and PostgreSQL that a node has made for subscribers so far.
pub(super) async fn reads(node: &Node) -> anyhow::Result<f64> {
    let metrics = metrics(node).await?;
    let names = ["catch_up_pages", "log_scans"];
    let counted = names.iter().filter_map(|name| {
        metrics
            .get(&format!("rivermouth_fanout_{name}_total"))
            .copied()
    });
    Ok(counted.sum())
}

/// A node's metrics without labels.
async fn metrics(node: &Node) -> anyhow::Result<BTreeMap<String, f64>> {
    let answer = match node.admin().get("/metrics").await {
        Ok(answer) => answer,
        // The connection of the question before has grown old while the load ran.
        Err(_) => node.admin().get("/metrics").await?,
    };
    let text = String::from_utf8(answer.body.to_vec())?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.rsplit_once(' '));
    Ok(pairs
        .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
        .collect())
}
