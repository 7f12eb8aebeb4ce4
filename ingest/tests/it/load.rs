//! Publishes of outboxes, one behind the other without waiting.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ingest::Published;
use protocol::client::parse_publish;
use protocol::{ErrorName, Identity, ProtocolError};
use serde_json::json;
use tokio::sync::mpsc;

use crate::world::{DEADLINE, Node};

/// How often a publish may be put off. Each time takes up to five seconds: no standstill meant here is so long.
pub const TRIES: usize = 6;

/// How long to wait before a publish that was put off so often goes again: together long enough for a breaker, which
/// is open for a second and then waits up to five for its probe.
pub fn pause(tries: usize) -> Duration {
    Duration::from_millis(50_u64 << tries)
}

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
    seqs: impl IntoIterator<Item = u64>,
) -> Vec<Told> {
    let seqs: Vec<u64> = seqs.into_iter().collect();
    let count = seqs.len();
    let (told, mut answers) = mpsc::channel(count);
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

/// What became of a number in the end.
#[derive(Debug)]
pub struct Settled {
    pub seq: u64,
    pub answer: Result<Published, ProtocolError>,
    /// Tries before that were put off, whatever was said.
    pub tries: usize,
    /// Those of them of which nobody heard: each may have been stored.
    pub unheard: usize,
}

/// What is known of a number that was put off.
#[derive(Default)]
struct PutOff {
    tries: usize,
    unheard: usize,
    /// A new one behind it was taken: it is in the log.
    passed: bool,
}

impl Settled {
    /// It is in the log, and was not before this publisher began.
    pub fn is_new(&self) -> bool {
        let published = self.answer.as_ref();
        published.is_ok_and(|published| !published.duplicate || self.unheard > 0)
    }

    /// It is in the log, and was there before this answer. With `unheard > 0` it may be this test's own earlier try.
    pub fn is_known(&self) -> bool {
        self.answer
            .as_ref()
            .is_ok_and(|published| published.duplicate)
    }
}

/// Whether nothing is told but that the log is slow: whoever published it comes again. A number that is missing is told
/// with details.
pub fn is_slow(error: &ProtocolError) -> bool {
    matches!(error.name, ErrorName::Timeout | ErrorName::Unavailable) && error.details.is_none()
}

/// As [`pipeline`], as a client does it: what the log was too slow for is handed over again, and what came behind it,
/// in order. What became of each number, in the order of the numbers; acknowledgements come in that order each time.
pub async fn settle(
    node: &Node,
    who: &Arc<Identity>,
    channel: &str,
    producer: &str,
    epoch: u64,
    seqs: impl IntoIterator<Item = u64>,
) -> Vec<Settled> {
    let mut left: Vec<u64> = seqs.into_iter().collect();
    let mut waiting: HashMap<u64, PutOff> = HashMap::new();
    let mut out = Vec::new();
    for tries in 1.. {
        let seqs = std::mem::take(&mut left);
        let mut told = pipeline(node, who, channel, producer, epoch, seqs).await;
        let taken = told.iter().filter(|(_, answer)| answer.is_ok());
        assert!(taken.map(|(seq, _)| *seq).is_sorted(), "in order");
        told.sort_by_key(|(seq, _)| *seq);
        let newest = told.iter().rfind(|(_, answer)| is_new(answer));
        let newest = newest.map(|(seq, _)| *seq);
        for (seq, answer) in told {
            let named = answer.as_ref().err().map(|error| error.name);
            // Behind one that was not taken every other is ahead.
            let behind = !left.is_empty() && named == Some(ErrorName::Unavailable);
            if behind || answer.as_ref().is_err_and(is_slow) {
                let waits = waiting.entry(seq).or_default();
                waits.tries += 1;
                // Once it was passed it must be in the log: a later try stores nothing. So where nothing had been
                // appended before (D3 forbids it), it ends as known, and who expects a new one fails.
                let unheard = !waits.passed && named == Some(ErrorName::Timeout);
                waits.unheard += usize::from(unheard);
                waits.passed |= newest > Some(seq);
                left.push(seq);
                continue;
            }
            let waited = waiting.remove(&seq).unwrap_or_default();
            // D3: nothing new is taken before what is missing.
            assert!(
                !(waited.passed && is_new(&answer)),
                "{channel} {producer}: {seq} was passed and is new"
            );
            out.push(Settled {
                seq,
                answer,
                tries: waited.tries,
                unheard: waited.unheard,
            });
        }
        if left.is_empty() {
            break;
        }
        assert!(tries <= TRIES, "{channel} {producer}: {left:?}");
        tokio::time::sleep(pause(tries)).await;
    }
    out.sort_by_key(|settled| settled.seq);
    out
}

/// Taken just now, not known before.
fn is_new(answer: &Result<Published, ProtocolError>) -> bool {
    answer.as_ref().is_ok_and(|published| !published.duplicate)
}
