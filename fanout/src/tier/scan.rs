//! A bounded pool of log readers: reads a range of one partition once, for everybody who waits for it.

use std::{
    ops::ControlFlow,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use broker::{Fetched, Log, Reader, Record};
use schemas::{Decoder, Event, Incoming, Undecoded};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

use super::SchemaPort;
use crate::place::Place;

/// Readers that may scan at the same time on this node: more than warm channels, so that who catches up never waits
/// for them.
const SCANS_MAX: usize = 2 * super::warm::WARMINGS_MAX;
/// Records taken from a reader at once.
const BATCH: usize = 1_000;

/// Why a scan ended before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScanError {
    /// Retention has passed the position meanwhile, or the log was cut: ask for the watermarks again.
    #[error("the log no longer holds offset {0}")]
    Gone(i64),
    #[error("the log cannot be read: {0}")]
    Away(String),
    /// The deadline passed; everything below the offset was handed out.
    #[error("the scan ran out of time at offset {0}")]
    Late(i64),
}

/// A record that was asked for, decoded.
#[derive(Debug)]
pub(crate) struct Scanned {
    pub(crate) event: Event,
    pub(crate) offset: i64,
    pub(crate) at_ms: i64,
}

/// The pool. Decodes like every other reader: undecodable records are void for everybody.
pub(crate) struct Scanner {
    log: Log,
    decoder: Arc<Decoder>,
    schemas: SchemaPort,
    permits: Semaphore,
    idle: Mutex<Vec<Reader>>,
}

impl std::fmt::Debug for Scanner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scanner").finish_non_exhaustive()
    }
}

impl Scanner {
    pub(crate) fn new(log: Log, decoder: Arc<Decoder>, schemas: SchemaPort) -> Self {
        Self {
            log,
            decoder,
            schemas,
            permits: Semaphore::new(SCANS_MAX),
            idle: Mutex::new(Vec::new()),
        }
    }

    /// Hands the decodable records of the wanted keys in `[from, to)` to `visit`, in order, until it says stop.
    /// Answers the offset below which everything was handed out. Not cancel safe in the sense that a dropped
    /// scan drops its reader; nothing else is lost.
    pub(crate) async fn scan(
        &self,
        place: &Place,
        from: i64,
        to: i64,
        wanted: impl Fn(&[u8]) -> bool,
        mut visit: impl FnMut(Scanned) -> ControlFlow<()>,
        deadline: Duration,
    ) -> Result<i64, ScanError> {
        if from >= to {
            return Ok(to);
        }
        let deadline = Instant::now() + deadline;
        let _permit = timeout_at(deadline, self.permits.acquire())
            .await
            .map_err(|_| ScanError::Late(from))?
            .map_err(|e| ScanError::Away(e.to_string()))?;
        let mut reader = self.reader()?;
        reader
            .assign(&place.topic, place.partition, from)
            .map_err(|e| ScanError::Away(e.to_string()))?;
        let mut position = from;
        while position < to {
            let batch = match timeout_at(deadline, reader.next(BATCH)).await {
                Ok(batch) => batch.map_err(|e| ScanError::Away(e.to_string()))?,
                Err(_) => return Err(ScanError::Late(position)),
            };
            for fetched in batch {
                match fetched {
                    Fetched::Record(record) if record.offset < position => {}
                    Fetched::Record(record) if record.offset >= to => {
                        position = to;
                        break;
                    }
                    Fetched::Record(record) => {
                        position = record.offset + 1;
                        if record.key.as_deref().is_some_and(&wanted)
                            && let Some(event) =
                                self.decode(&record).await.map_err(ScanError::Away)?
                        {
                            let scanned = Scanned {
                                event,
                                offset: record.offset,
                                at_ms: record.timestamp_ms,
                            };
                            if visit(scanned).is_break() {
                                self.give_back(reader, place);
                                return Ok(position);
                            }
                        }
                    }
                    // The end was seen at a moment after the scan was asked for: all that `to` meant is read.
                    Fetched::End { next, .. } => position = position.max(next).max(to),
                    Fetched::OutOfRange { asked, .. } => return Err(ScanError::Gone(asked)),
                    Fetched::Failed { error, .. } => {
                        return Err(ScanError::Away(error.to_string()));
                    }
                }
            }
        }
        self.give_back(reader, place);
        Ok(to)
    }

    /// The event of a record; `None` when it is poison, which every reader passes over alike.
    pub(crate) async fn decode(&self, record: &Record) -> Result<Option<Event>, String> {
        loop {
            match self.decoder.decode(incoming(record)) {
                Ok(event) => return Ok(Some(event)),
                Err(Undecoded::Poison(poison)) => {
                    tracing::debug!(topic = %record.topic, partition = record.partition, offset = record.offset,
                        reason = poison.reason.as_str(), "poison record passed over");
                    return Ok(None);
                }
                Err(Undecoded::UnknownSchema(id)) => match (self.schemas)(id).await? {
                    Some(schema) => {
                        if let Err(error) = self.decoder.add_schema(id, &schema) {
                            tracing::warn!(id, %error, "the registry's schema is refused");
                            self.decoder.mark_absent(id);
                        }
                    }
                    None => self.decoder.mark_absent(id),
                },
            }
        }
    }

    fn reader(&self) -> Result<Reader, ScanError> {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        match idle {
            Some(reader) => Ok(reader),
            None => self
                .log
                .reader()
                .map_err(|e| ScanError::Away(e.to_string())),
        }
    }

    fn give_back(&self, mut reader: Reader, place: &Place) {
        reader.unassign(&place.topic, place.partition);
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(reader);
    }
}

/// A record as the decoder takes it.
fn incoming(record: &Record) -> Incoming<'_> {
    Incoming {
        topic: &record.topic,
        partition: record.partition,
        offset: record.offset,
        key: record.key.as_deref(),
        headers: &record.headers,
        value: record.value.as_ref(),
    }
}
