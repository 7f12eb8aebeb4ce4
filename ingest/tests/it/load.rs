//! Publishes of outboxes, one behind the other without waiting.

use std::sync::Arc;

use ingest::Published;
use protocol::client::parse_publish;
use protocol::{Identity, ProtocolError};
use serde_json::json;
use tokio::sync::mpsc;

use crate::world::{DEADLINE, Node};

/// One publish of an outbox; its data is its number.
pub fn numbered(channel: &str, producer: &str, epoch: u64, seq: u64) -> String {
    json!({
        "channel": channel, "event": "draw", "data": seq,
        "producer": producer, "epoch": epoch, "seq": seq,
    })
    .to_string()
}

/// A number and what became of it.
pub type Told = (u64, Result<Published, ProtocolError>);

/// Hands over numbers without waiting, and tells what became of them in the order of the answers.
pub async fn pipeline(
    node: &Node,
    who: &Arc<Identity>,
    channel: &str,
    producer: &str,
    epoch: u64,
    seqs: std::ops::Range<u64>,
) -> Vec<Told> {
    let count = seqs.end - seqs.start;
    let (told, mut answers) = mpsc::channel(usize::try_from(count).unwrap());
    for seq in seqs {
        let publish = parse_publish(numbered(channel, producer, epoch, seq).as_bytes()).unwrap();
        let told = told.clone();
        node.gateway.submit(
            who,
            publish,
            Box::new(move |answer| told.try_send((seq, answer)).unwrap()),
        );
    }
    let mut out = Vec::new();
    for _ in 0..count {
        out.push(
            tokio::time::timeout(DEADLINE, answers.recv())
                .await
                .unwrap()
                .unwrap(),
        );
    }
    out
}
