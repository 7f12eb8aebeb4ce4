//! A bounded pool of log readers: reads a range of one partition once, for everybody who waits for it.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use broker::{Fetched, Log, PinWatch, Reader, Record, Standing};
use schemas::{Decoder, Event, Incoming, Undecoded};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

use super::{SchemaPort, readers::Readers};
use crate::{metrics::CatchUpMetrics, place::Place};

/// Readers that may scan for one purpose at the same time on this node.
const SCANS_MAX: usize = 4;
/// How many kinds of scans there are.
const PURPOSES: usize = 3;
/// How long the first records of a scan may take at least.
const FIRST: Duration = Duration::from_secs(3);
/// Records taken from a reader at once; after that the live traffic of the node has its turn.
const BATCH: usize = 256;

/// What a scan is for. Each purpose has its own readers: a crowd that catches up or browses history does not keep a
/// channel from becoming hot.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    /// A channel becomes hot: somebody waits for live events.
    Warm,
    /// Readers that are behind.
    CatchUp,
    /// Older events for a page or a position.
    Search,
}

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
    decoder: Arc<Decoder>,
    schemas: SchemaPort,
    metrics: CatchUpMetrics,
    watch: PinWatch,
    permits: [Semaphore; PURPOSES],
    pub(super) readers: Readers,
}

impl std::fmt::Debug for Scanner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scanner").finish_non_exhaustive()
    }
}

impl Scanner {
    pub(crate) fn new(
        log: Log,
        decoder: Arc<Decoder>,
        schemas: SchemaPort,
        metrics: CatchUpMetrics,
        watch: PinWatch,
    ) -> Self {
        Self {
            readers: Readers::new(log, SCANS_MAX * PURPOSES),
            decoder,
            schemas,
            metrics,
            watch,
            permits: [(); PURPOSES].map(|()| Semaphore::new(SCANS_MAX)),
        }
    }

    /// Hands the decodable records of the wanted keys in `[from, to)` to `visit`, in order, until it says stop.
    /// Answers the offset below which everything was handed out. Not cancel safe in the sense that a dropped
    /// scan drops its reader; nothing else is lost.
    ///
    /// After an error nothing that was handed out may be used: the topic may have been another one (D2).
    pub(crate) async fn scan(
        &self,
        purpose: Purpose,
        place: &Place,
        span: (i64, i64),
        wanted: impl Fn(&[u8]) -> bool,
        visit: impl FnMut(Scanned) -> ControlFlow<()>,
        deadline: Duration,
    ) -> Result<i64, ScanError> {
        let read = self.read(purpose, place, span, wanted, visit, deadline);
        let reached = match read.await {
            Err(error) if !matches!(error, ScanError::Late(_)) => return Err(error),
            reached if span.0 >= span.1 => return reached,
            reached => reached,
        };
        // Identities do not come back: what is the pinned topic now was it while it was read.
        match self.watch.check(&place.topic).await {
            Standing::Sound => reached,
            Standing::Lost(flaw) => Err(ScanError::Away(flaw.to_string())),
            Standing::Unknown => Err(ScanError::Away(
                "it does not say whether it is the same topic".to_owned(),
            )),
        }
    }

    async fn read(
        &self,
        purpose: Purpose,
        place: &Place,
        (from, to): (i64, i64),
        wanted: impl Fn(&[u8]) -> bool,
        mut visit: impl FnMut(Scanned) -> ControlFlow<()>,
        deadline: Duration,
    ) -> Result<i64, ScanError> {
        let mut span = Span { position: from, to };
        if span.is_over() {
            return Ok(to);
        }
        // A new client has to find the brokers first: a short turn begins with the first batch.
        let (turn, mut begun) = (deadline, false);
        let mut deadline = Instant::now() + turn.max(FIRST);
        let _permit = timeout_at(deadline, self.permits[purpose as usize].acquire())
            .await
            .map_err(|_| ScanError::Late(from))?
            .map_err(|e| ScanError::Away(e.to_string()))?;
        self.metrics.scans.inc();
        let taken = self.readers.take(place, from);
        let (mut reader, mut rest) = taken.map_err(|e| ScanError::Away(e.to_string()))?;
        while !span.is_over() {
            let batch = if !rest.is_empty() {
                std::mem::take(&mut rest)
            } else {
                match timeout_at(deadline, reader.next(BATCH)).await {
                    Ok(batch) => batch.map_err(|e| ScanError::Away(e.to_string()))?,
                    Err(_) => {
                        self.give_back(purpose, reader, place, (span.position, Vec::new()));
                        return Err(ScanError::Late(span.position));
                    }
                }
            };
            self.metrics.scanned.inc_by(batch.len() as u64);
            if !std::mem::replace(&mut begun, true) {
                deadline = deadline.min(Instant::now() + turn);
            }
            let mut batch = batch.into_iter();
            while let Some(fetched) = batch.next() {
                let Some(record) = span.take(fetched)? else {
                    continue;
                };
                if record.key.as_deref().is_some_and(&wanted)
                    && let Some(event) = self.decode(&record).await.map_err(ScanError::Away)?
                {
                    let scanned = Scanned {
                        event,
                        offset: record.offset,
                        at_ms: record.timestamp_ms,
                    };
                    if visit(scanned).is_break() {
                        let rest = (span.position, batch.collect());
                        self.give_back(purpose, reader, place, rest);
                        return Ok(span.position);
                    }
                }
            }
            tokio::task::yield_now().await;
        }
        self.readers.release(reader, place);
        Ok(to)
    }

    /// Gives a reader back that has not come to its end. Who catches up asks for what follows a moment later.
    fn give_back(
        &self,
        purpose: Purpose,
        reader: Reader,
        place: &Place,
        (next, rest): (i64, Vec<Fetched>),
    ) {
        match purpose {
            Purpose::CatchUp => self.readers.park(reader, place, next, rest),
            Purpose::Warm | Purpose::Search => self.readers.release(reader, place),
        }
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
}

/// How far a range has been read. Pure.
#[derive(Debug)]
struct Span {
    /// Everything from the beginning of the range to here was handed out.
    position: i64,
    to: i64,
}

impl Span {
    fn is_over(&self) -> bool {
        self.position >= self.to
    }

    /// The next thing that the reader brought: the record to hand out, if it is one of the range.
    fn take(&mut self, fetched: Fetched) -> Result<Option<Record>, ScanError> {
        match fetched {
            Fetched::Record(record) if record.offset >= self.to => self.position = self.to,
            // Read again after a reassignment (L11), or behind the end of the range.
            Fetched::Record(record) if record.offset < self.position || self.is_over() => {}
            Fetched::Record(record) => {
                self.position = record.offset + 1;
                return Ok(Some(record));
            }
            // Right after a leader moved, the new one may show an end that lies before what was read elsewhere
            // already: only what the end says is known to be read.
            Fetched::End { next, .. } => self.position = self.position.max(next),
            Fetched::OutOfRange { asked, .. } => return Err(ScanError::Gone(asked)),
            Fetched::Failed { error, .. } => return Err(ScanError::Away(error.to_string())),
        }
        Ok(None)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: i64) -> Fetched {
        Fetched::Record(Record {
            topic: "events".into(),
            partition: 0,
            offset,
            timestamp_ms: 0,
            key: None,
            headers: Vec::new(),
            value: None,
        })
    }

    fn end(next: i64) -> Fetched {
        Fetched::End {
            topic: "events".into(),
            partition: 0,
            next,
        }
    }

    fn handed_out(span: &mut Span, fetched: Vec<Fetched>) -> Vec<i64> {
        fetched
            .into_iter()
            .filter_map(|item| span.take(item).unwrap())
            .map(|record| record.offset)
            .collect()
    }

    #[test]
    fn an_end_before_the_end_of_the_range_skips_nothing() {
        let mut span = Span { position: 3, to: 8 };
        let seen = handed_out(&mut span, vec![record(3), record(4), end(5)]);
        assert_eq!(seen, [3, 4]);
        assert!(!span.is_over(), "5, 6 and 7 are still to come");
        let seen = handed_out(&mut span, vec![record(5), record(7), end(8)]);
        assert_eq!(seen, [5, 7]);
        assert!(span.is_over());
    }

    #[test]
    fn every_record_of_the_range_is_handed_out_once_and_none_beyond() {
        let mut span = Span { position: 3, to: 6 };
        let fetched = [2, 3, 3, 4, 3, 5, 6, 5, 7].map(record);
        assert_eq!(handed_out(&mut span, fetched.into()), [3, 4, 5]);
        assert!(span.is_over());
    }

    #[test]
    fn offsets_that_only_the_log_uses_end_a_range_too() {
        let mut span = Span { position: 0, to: 5 };
        assert_eq!(handed_out(&mut span, vec![record(1), end(6)]), [1]);
        assert!(span.is_over());
    }
}
