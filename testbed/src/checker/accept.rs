//! The acceptance rule (D3), written a second time from its text.
//!
//! A record with `producer`, `epoch`, `seq` counts iff its `seq` continues the last one that counted of that
//! (channel, user, producer), or its `epoch` is higher (or unseen) and its `seq` is 0. A record without them
//! counts iff its id did not count before within ten minutes of the channel's log time.

use std::collections::{BTreeMap, HashMap};

use super::Fact;
use super::envelope::{Said, said};
use super::log::LogRecord;

const HORIZON_MS: i64 = 600_000;

/// An event that counts, with its place.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// What it says.
    pub fact: Fact,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// To whom, when it is addressed.
    pub to: Option<Vec<String>>,
    /// The offset of the event before it that everybody may see.
    pub prev_offset: Option<i64>,
}

/// What becomes of one record.
#[derive(Debug, Clone)]
pub enum Taken {
    /// It is no event: poison, or a form that this checker does not read.
    Unreadable,
    /// It counts for nobody.
    Void(Said),
    /// It counts.
    Counts(Box<Accepted>, Said),
}

#[derive(Debug, Default)]
struct Channel {
    outboxes: HashMap<(Option<String>, String), (u64, u64)>,
    ids: HashMap<String, i64>,
    /// How many ids there may be before those beyond the horizon are thrown away.
    ids_max: usize,
    log_time_ms: i64,
    last: Option<i64>,
}

impl Channel {
    fn counts(&mut self, said: &Said, now_ms: i64) -> bool {
        match (&said.outbox, &said.id) {
            (Some((producer, epoch, seq)), _) => {
                let identity = (said.user_id.clone(), producer.clone());
                let counts = match self.outboxes.get(&identity) {
                    Some((last_epoch, last_seq)) if epoch == last_epoch => *seq == last_seq + 1,
                    Some((last_epoch, _)) => epoch > last_epoch && *seq == 0,
                    None => *seq == 0,
                };
                if counts {
                    self.outboxes.insert(identity, (*epoch, *seq));
                }
                counts
            }
            (None, Some(id)) => {
                let counts = self
                    .ids
                    .get(id)
                    .is_none_or(|at_ms| now_ms - at_ms >= HORIZON_MS);
                if counts {
                    self.ids.insert(id.clone(), now_ms);
                    self.forget(now_ms);
                }
                counts
            }
            (None, None) => true,
        }
    }

    /// An id beyond the horizon decides nothing any more: log time never steps back.
    fn forget(&mut self, now_ms: i64) {
        if self.ids.len() > self.ids_max {
            self.ids.retain(|_, at_ms| now_ms - *at_ms < HORIZON_MS);
            self.ids_max = (2 * self.ids.len()).max(10_000);
        }
    }
}

/// The rule, applied to one record after the other.
#[derive(Debug)]
pub struct Acceptor {
    prefix: String,
    channels: HashMap<String, Channel>,
}

impl Acceptor {
    /// For the topics that begin with `prefix`.
    pub fn new(prefix: &str) -> Acceptor {
        Acceptor {
            prefix: prefix.to_owned(),
            channels: HashMap::new(),
        }
    }

    /// The next record of its partition.
    pub fn take(&mut self, record: &LogRecord) -> Taken {
        let Some(said) = said(&self.prefix, record) else {
            return Taken::Unreadable;
        };
        if !self.channels.contains_key(&said.channel) {
            self.channels
                .insert(said.channel.clone(), Channel::default());
        }
        let channel = self.channels.get_mut(&said.channel).expect("it is there");
        let now_ms = channel.log_time_ms.max(record.timestamp_ms);
        if !channel.counts(&said, now_ms) {
            return Taken::Void(said);
        }
        channel.log_time_ms = now_ms;
        let id = said
            .id
            .clone()
            .unwrap_or_else(|| format!("{}:{}:{}", record.topic, record.partition, record.offset));
        let accepted = Accepted {
            fact: Fact {
                id,
                event: said.event.clone(),
                user_id: said.user_id.clone(),
                data: said.data.clone(),
                timestamp_ms: record.timestamp_ms,
            },
            topic: record.topic.clone(),
            partition: record.partition,
            offset: record.offset,
            to: said.to.clone(),
            prev_offset: channel.last,
        };
        if said.to.is_none() {
            channel.last = Some(record.offset);
        }
        Taken::Counts(Box::new(accepted), said)
    }
}

/// What counts of `records` (in log order), by channel.
pub(crate) fn accepted(prefix: &str, records: &[LogRecord]) -> BTreeMap<String, Vec<Accepted>> {
    let mut acceptor = Acceptor::new(prefix);
    let mut channels: BTreeMap<String, Vec<Accepted>> = BTreeMap::new();
    for record in records {
        if let Taken::Counts(accepted, said) = acceptor.take(record) {
            channels.entry(said.channel).or_default().push(*accepted);
        }
    }
    channels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: i64, at_ms: i64, id: &str, outbox: Option<(u64, u64)>) -> LogRecord {
        let headers = outbox.into_iter().flat_map(|(epoch, seq)| {
            [
                ("rm-producer", "p".to_owned()),
                ("rm-epoch", epoch.to_string()),
                ("rm-seq", seq.to_string()),
            ]
        });
        LogRecord {
            topic: "t.events".into(),
            partition: 0,
            offset,
            timestamp_ms: at_ms,
            key: Some(b"1".to_vec()),
            headers: headers
                .map(|(name, value)| (name.to_owned(), value.into_bytes()))
                .collect(),
            value: Some(format!(r#"{{"event":"draw","id":"{id}","data":{offset}}}"#).into_bytes()),
        }
    }

    fn offsets(records: &[LogRecord]) -> Vec<i64> {
        accepted("t", records)
            .remove("session.1")
            .unwrap_or_default()
            .iter()
            .map(|accepted| accepted.offset)
            .collect()
    }

    #[test]
    fn an_outbox_counts_its_successors_only() {
        let steps = [
            (0, 0),
            (0, 1),
            (0, 1),
            (0, 3),
            (1, 1),
            (1, 0),
            (0, 2),
            (1, 1),
        ];
        let records: Vec<_> = (0..)
            .zip(steps)
            .map(|(at, outbox)| record(at, 5, &format!("i{at}"), Some(outbox)))
            .collect();
        assert_eq!(offsets(&records), [0, 1, 5, 7]);
    }

    #[test]
    fn an_id_counts_once_in_ten_minutes_of_log_time() {
        let at = [0, 599_999, 600_000, 100];
        let records: Vec<_> = (0..)
            .zip(at)
            .map(|(offset, at_ms)| record(offset, at_ms, "i", None))
            .collect();
        assert_eq!(offsets(&records), [0, 2]);
    }
}
