//! Dead letters: records that could not be taken, appended to their own topic with the reason in headers.
//!
//! Appended before the transaction that quarantines them, so that none is missing; a batch that is repeated appends
//! them again. The quarantine table has each once.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use broker::{Append, AppendError, BrokerError, Delivery, Headers, Log};
use bytes::Bytes;
use store::{Place, QuarantineRow};

use crate::metrics::Numbers;

/// Longer than the log's own delivery timeout, so that the log's answer is heard.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

#[derive(Debug)]
pub(crate) struct DeadLetters {
    log: Log,
    topic: Arc<str>,
    numbers: Numbers,
}

impl DeadLetters {
    pub(crate) fn new(log: Log, topic: &str, numbers: Numbers) -> DeadLetters {
        DeadLetters {
            log,
            topic: Arc::from(topic),
            numbers,
        }
    }

    /// Appends all rows and waits for the log to have them. What the log refuses for good is counted and left to the
    /// quarantine table alone: the partition goes on.
    ///
    /// Errors: a sentence when the log cannot take them now; try the whole batch again later.
    pub(crate) async fn append(&self, place: &Place, rows: &[QuarantineRow]) -> Result<(), String> {
        let partitions = match self.log.describe(&self.topic).await {
            Ok(facts) => facts.partitions,
            Err(error) if error.retryable() => return Err(error.to_string()),
            Err(BrokerError::Closed) => return Err("the log is closed".to_owned()),
            Err(error) => {
                self.refused(rows.len(), &error.to_string());
                return Ok(());
            }
        };
        let mut waiting = Vec::with_capacity(rows.len());
        for row in rows {
            match self
                .log
                .append(self.letter(place, row, partitions, Body::Whole))
            {
                Ok(delivery) => waiting.push((row, delivery)),
                Err(AppendError::TooLarge) => {
                    let headers_only = self.letter(place, row, partitions, Body::Left);
                    match self.log.append(headers_only) {
                        Ok(delivery) => waiting.push((row, delivery)),
                        Err(error) => self.judge(error)?,
                    }
                }
                Err(error) => self.judge(error)?,
            }
        }
        for (row, delivery) in waiting {
            match answer(delivery).await {
                Ok(()) => {}
                // A broker may be stricter than its client.
                Err(AppendError::TooLarge) => {
                    let headers_only = self.letter(place, row, partitions, Body::Left);
                    let again = match self.log.append(headers_only) {
                        Ok(delivery) => answer(delivery).await,
                        Err(error) => Err(error),
                    };
                    again.or_else(|error| self.judge(error))?;
                }
                Err(error) => self.judge(error)?,
            }
        }
        Ok(())
    }

    /// Whether a failed append is worth another try of the batch.
    fn judge(&self, error: AppendError) -> Result<(), String> {
        match error {
            AppendError::Refused { .. } | AppendError::TooLarge => {
                self.refused(1, &error.to_string());
                Ok(())
            }
            AppendError::Full | AppendError::Unknown | AppendError::Fatal | AppendError::Closed => {
                Err(error.to_string())
            }
        }
    }

    fn refused(&self, count: usize, error: &str) {
        self.numbers.dead_letters_failed.inc_by(count as u64);
        tracing::error!(topic = %self.topic, count, error, "dead letters are refused, their records are in the quarantine table only");
    }

    fn letter(&self, place: &Place, row: &QuarantineRow, partitions: u32, body: Body) -> Append {
        let mut headers: Headers = vec![
            header("rm-dead-topic", place.topic.clone()),
            header("rm-dead-partition", place.partition.to_string()),
            header("rm-dead-offset", row.offset.to_string()),
            header("rm-dead-reason", row.reason.clone()),
            header("rm-dead-detail", row.detail.clone()),
        ];
        let (key, value) = match body {
            Body::Whole => {
                let original = row.headers.iter();
                headers.extend(
                    original.map(|(name, value)| (Cow::Owned(name.clone()), value.clone())),
                );
                (row.key.clone(), row.value.clone())
            }
            Body::Left => {
                headers.push(header("rm-dead-body", "left out: too large".to_owned()));
                (None, None)
            }
        };
        let partition = match &row.key {
            Some(key) => schemas::partition_of(key, partitions),
            None => i32::try_from(row.offset.rem_euclid(i64::from(partitions.max(1)))).unwrap_or(0),
        };
        Append {
            topic: Arc::clone(&self.topic),
            partition,
            key,
            headers,
            value,
        }
    }
}

#[derive(Clone, Copy)]
enum Body {
    /// Key, value and headers as they were.
    Whole,
    /// Only where the record lies and why.
    Left,
}

fn header(name: &'static str, value: String) -> (Cow<'static, str>, Bytes) {
    (Cow::Borrowed(name), Bytes::from(value))
}

async fn answer(delivery: Delivery) -> Result<(), AppendError> {
    match tokio::time::timeout(ANSWER_TIMEOUT, delivery).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(AppendError::Unknown),
    }
}
