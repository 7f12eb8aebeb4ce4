//! Readers of the log between two scans. One that was reading for somebody who is catching up goes on holding its place
//! and what it has read ahead: what follows is asked for a moment later, and to begin anew costs tens of milliseconds
//! and a whole fetch.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use broker::{BrokerError, Fetched, Log, Reader};
use tokio::time::Instant;

use super::SKIP;
use crate::place::Place;

/// How long a reader holds its place after a scan.
pub(crate) const PARKED: Duration = Duration::from_secs(1);

/// The readers that nobody uses right now.
pub(super) struct Readers {
    log: Log,
    parked: Mutex<Vec<Parked>>,
    parked_max: usize,
}

struct Parked {
    reader: Reader,
    at: Option<At>,
}

/// Where a parked reader stands.
struct At {
    place: Place,
    /// The next record that it brings.
    next: i64,
    /// Taken from the reader and not handed out.
    rest: Vec<Fetched>,
    since: Instant,
}

impl Readers {
    /// Keeps so many at most: as many as can be in use at once.
    pub(super) fn new(log: Log, parked_max: usize) -> Readers {
        Readers {
            log,
            parked: Mutex::default(),
            parked_max,
        }
    }

    /// A reader that stands at `from` of the place or little before it, and what it has to hand out first.
    pub(super) fn take(
        &self,
        place: &Place,
        from: i64,
    ) -> Result<(Reader, Vec<Fetched>), BrokerError> {
        let mut parked = self.parked();
        let fits = |parked: &Parked| {
            parked
                .at
                .as_ref()
                .is_some_and(|at| at.leads_to(place, from))
        };
        if let Some(index) = parked.iter().position(fits) {
            let found = parked.remove(index);
            let rest = found.at.map(|at| at.rest).unwrap_or_default();
            return Ok((found.reader, rest));
        }
        // Else one that nobody will come back for, before one that somebody may.
        let free = parked.iter().position(|parked| parked.at.is_none());
        let free = free.or_else(|| parked.iter().position(Parked::is_old));
        let free = free.map(|index| parked.remove(index));
        drop(parked);
        let mut reader = match free {
            Some(mut parked) => {
                parked.leave();
                parked.reader
            }
            None => self.log.reader()?,
        };
        reader.assign(&place.topic, place.partition, from)?;
        Ok((reader, Vec::new()))
    }

    /// Keeps a reader where it stands, for a moment: it has yet to hand out `rest`, then what begins at `next`.
    pub(super) fn park(&self, reader: Reader, place: &Place, next: i64, rest: Vec<Fetched>) {
        let at = At {
            place: place.clone(),
            next,
            rest,
            since: Instant::now(),
        };
        self.keep(Parked {
            reader,
            at: Some(at),
        });
    }

    /// Keeps a reader that has come to its end.
    pub(super) fn release(&self, mut reader: Reader, place: &Place) {
        reader.unassign(&place.topic, place.partition);
        self.keep(Parked { reader, at: None });
    }

    /// The oldest has to go when there are too many.
    fn keep(&self, reader: Parked) {
        let mut parked = self.parked();
        parked.push(reader);
        if parked.len() > self.parked_max {
            parked.remove(0);
        }
    }

    /// Whether readers hold places.
    pub(super) fn any_parked(&self) -> bool {
        self.parked().iter().any(|parked| parked.at.is_some())
    }

    /// Lets go of places that nobody came back to; to be called now and then while there are any.
    pub(super) fn unpark(&self) {
        for parked in self.parked().iter_mut().filter(|parked| parked.is_old()) {
            parked.leave();
        }
    }

    fn parked(&self) -> MutexGuard<'_, Vec<Parked>> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Parked {
    fn is_old(&self) -> bool {
        let old = |at: &At| at.since.elapsed() >= PARKED;
        self.at.as_ref().is_some_and(old)
    }

    fn leave(&mut self) {
        if let Some(at) = self.at.take() {
            self.reader.unassign(&at.place.topic, at.place.partition);
        }
    }
}

impl At {
    /// Whether a scan from `from` may go on from here. What was read ahead longer ago may not be what the log holds.
    fn leads_to(&self, place: &Place, from: i64) -> bool {
        self.place == *place
            && (self.next..=self.next + SKIP).contains(&from)
            && self.since.elapsed() < PARKED
    }
}

#[cfg(test)]
mod tests {
    use broker::{Append, EmbeddedConfig, TopicSpec};

    use super::*;

    const TOPIC: &str = "events";

    fn place() -> Place {
        Place {
            topic: TOPIC.into(),
            partition: 0,
        }
    }

    async fn log(dir: &std::path::Path, records: i64) -> Log {
        let log = Log::embedded(EmbeddedConfig::new(dir)).await.unwrap();
        let spec = TopicSpec {
            name: TOPIC.to_owned(),
            partitions: 1,
            replication: -1,
            retention_ms: None,
            retention_bytes: None,
            compact: false,
        };
        log.ensure_topics(&[spec], true).await.unwrap();
        for _ in 0..records {
            let record = Append {
                topic: TOPIC.into(),
                partition: 0,
                key: None,
                headers: Vec::new(),
                value: Some("x".into()),
            };
            log.append(record).unwrap().await.unwrap();
        }
        log
    }

    async fn offsets(reader: &mut Reader, rest: Vec<Fetched>, wanted: usize) -> Vec<i64> {
        let mut seen = Vec::new();
        let mut batch = rest;
        while seen.len() < wanted {
            if batch.is_empty() {
                batch = reader.next(2).await.unwrap();
            }
            seen.extend(batch.drain(..).filter_map(|fetched| match fetched {
                Fetched::Record(record) => Some(record.offset),
                _ => None,
            }));
        }
        seen
    }

    #[tokio::test]
    async fn who_comes_back_in_time_goes_on_where_its_reader_stands() {
        let dir = tempfile::tempdir().unwrap();
        let readers = Readers::new(log(dir.path(), 8).await, 4);
        let place = place();
        let (mut reader, rest) = readers.take(&place, 0).unwrap();
        let mut batch = reader.next(3).await.unwrap();
        assert!(rest.is_empty() && batch.len() == 3);
        readers.park(reader, &place, 1, batch.split_off(1));
        assert!(readers.any_parked());
        let (mut reader, rest) = readers.take(&place, 1).unwrap();
        assert_eq!(offsets(&mut reader, rest, 7).await, [1, 2, 3, 4, 5, 6, 7]);
        assert!(!readers.any_parked());
    }

    #[tokio::test]
    async fn who_asks_for_another_place_gets_what_lies_there() {
        let dir = tempfile::tempdir().unwrap();
        let readers = Readers::new(log(dir.path(), 8).await, 4);
        let place = place();
        let (mut reader, _) = readers.take(&place, 4).unwrap();
        let batch = reader.next(2).await.unwrap();
        readers.park(reader, &place, 4, batch);
        let (mut reader, rest) = readers.take(&place, 2).unwrap();
        assert!(rest.is_empty(), "what was read ahead lies behind it");
        assert_eq!(offsets(&mut reader, rest, 6).await, [2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn what_was_read_ahead_is_not_believed_for_long() {
        let place = place();
        let at = |since| At {
            place: place.clone(),
            next: 10,
            rest: Vec::new(),
            since,
        };
        let now = Instant::now();
        assert!(at(now).leads_to(&place, 10) && at(now).leads_to(&place, 10 + SKIP));
        assert!(!at(now).leads_to(&place, 9) && !at(now).leads_to(&place, 11 + SKIP));
        let old = now.checked_sub(PARKED).unwrap();
        assert!(!at(old).leads_to(&place, 10));
    }
}
