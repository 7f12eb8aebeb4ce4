//! Whether a feed still has everything the log holds, so that a silent log is never taken for a quiet channel (F47). Pure.

use std::time::Duration;

use tokio::time::Instant;

/// A feed that is not known to have been level with the log for this long is stale. A subscriber has to hear of it
/// within 5 s of the log's falling silent, and the log is asked about once a second.
const STALE_AFTER: Duration = Duration::from_millis(3_500);

/// What a feed knows of being level with the log.
#[derive(Debug)]
pub(crate) struct Freshness {
    /// Everything that the log held at this moment was read.
    level: Instant,
    /// The log ended at this offset when it was asked at this moment; not read so far as yet.
    ahead: Option<(i64, Instant)>,
    stale: bool,
}

/// What the subscribers have to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The feed was last level so long ago.
    Stale(Duration),
    Fresh,
}

impl Freshness {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            level: now,
            ahead: None,
            stale: false,
        }
    }

    /// The log, asked at `asked`, said that it ends at `end`. The nearest end not reached yet is the one that counts.
    pub(crate) fn ended(&mut self, end: i64, asked: Instant) {
        self.ahead.get_or_insert((end, asked));
    }

    /// Everything below `read_to` was read.
    pub(crate) fn read(&mut self, read_to: i64) {
        if let Some((_, asked)) = self.ahead.take_if(|(end, _)| *end <= read_to) {
            self.level = self.level.max(asked);
        }
    }

    /// Nobody listens: there is nobody to tell.
    pub(crate) fn unheard(&mut self, now: Instant) {
        *self = Self::new(now);
    }

    /// What has changed by now.
    pub(crate) fn turn(&mut self, now: Instant) -> Option<Turn> {
        let behind = now.duration_since(self.level);
        let stale = behind >= STALE_AFTER;
        if stale == self.stale {
            return None;
        }
        self.stale = stale;
        Some(if stale {
            Turn::Stale(behind)
        } else {
            Turn::Fresh
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_log_that_answers_and_is_read_to_its_end_stays_fresh() {
        let start = Instant::now();
        let mut feed = Freshness::new(start);
        for second in 1..100 {
            let now = start + SECOND * second;
            feed.ended(i64::from(second) * 10, now);
            feed.read(i64::from(second) * 10);
            assert_eq!(feed.turn(now), None);
        }
    }

    #[test]
    fn a_silent_log_is_told_once_within_five_seconds_and_so_is_its_return() {
        let start = Instant::now();
        let mut feed = Freshness::new(start);
        feed.ended(5, start + SECOND);
        feed.read(5);
        let mut told = Vec::new();
        for second in 2..20 {
            if let Some(turn) = feed.turn(start + SECOND * second) {
                told.push((second, turn));
            }
        }
        assert_eq!(told, [(5, Turn::Stale(SECOND * 4))]);
        feed.ended(9, start + SECOND * 20);
        assert_eq!(feed.turn(start + SECOND * 20), None, "not read yet");
        feed.read(9);
        assert_eq!(feed.turn(start + SECOND * 20), Some(Turn::Fresh));
    }

    #[test]
    fn a_reader_that_stands_still_before_the_end_is_stale_however_often_the_log_answers() {
        let start = Instant::now();
        let mut feed = Freshness::new(start);
        let mut told = 0;
        for second in 1..10 {
            feed.ended(100 + i64::from(second), start + SECOND * second);
            feed.read(50);
            told += usize::from(feed.turn(start + SECOND * second).is_some());
        }
        assert_eq!(told, 1);
        feed.read(101);
        assert_eq!(
            feed.turn(start + SECOND * 10),
            None,
            "the end of nine seconds ago says little"
        );
        feed.ended(109, start + SECOND * 10);
        feed.read(109);
        assert_eq!(feed.turn(start + SECOND * 10), Some(Turn::Fresh));
    }
}
