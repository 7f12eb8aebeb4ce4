//! When a client of librdkafka has failed for so long that a new one takes its place.
//!
//! A broker that hangs and comes back can leave a client of librdkafka 2.12 behind that never gets an answer
//! again (see `stall` for readers). From outside that looks like brokers that are away, so a client that only
//! fails is replaced either way: a new one costs little, and waiting costs everything. Where somebody else can say
//! that a partition's leader answers (`producer::witness`), a client that fails there all the same is replaced soon.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// So many new clients in a row get the ordinary time; then a cluster that is only slow gets more and more.
const BARREN: u32 = 4;
/// A partition that fails while others work is more often a partition without a leader than a client's fault.
const PLACE_TIMES: u32 = 4;
/// A leader that answers others has this long to take a record of ours.
const ANSWERS: Duration = Duration::from_secs(2);
/// How long nothing is done about single partitions after something was, in units of the patience: the first
/// time, and at most, as long as it does not help.
const PAUSE_TIMES: std::ops::RangeInclusive<u32> = 1..=10;
/// Between clients that break by themselves, as long as none works: the first pause doubles up to the last.
const BREAKS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(250)..=Duration::from_secs(5);

/// The outcomes of one kind of work of one client and its successors. Pure: time is passed in.
#[derive(Debug)]
pub(crate) struct Cure {
    patience: Duration,
    /// When everything began to fail.
    since: Option<Instant>,
    places: HashMap<Place, Ailing>,
    /// New clients since the last success.
    barren: u32,
    /// Clients that broke by themselves since the last success, and when the last one was replaced.
    broke: Option<(u32, Instant)>,
    /// The partition that the client was last replaced for.
    treated: Option<Treated>,
}

type Place = (Box<str>, i32);

/// A partition that only fails.
#[derive(Debug, Clone, Copy)]
struct Ailing {
    since: Instant,
    /// When its leader was first known to answer others.
    answers: Option<Instant>,
}

/// A partition that was done something about.
#[derive(Debug)]
struct Treated {
    place: Place,
    not_before: Instant,
    pause_times: u32,
}

impl Cure {
    /// A client is replaced when all it does has failed for `patience`.
    pub(crate) fn new(patience: Duration) -> Cure {
        Cure {
            patience,
            since: None,
            places: HashMap::new(),
            barren: 0,
            broke: None,
            treated: None,
        }
    }

    /// Something worked, be it a refusal: the brokers answered.
    pub(crate) fn well(&mut self, topic: &str, partition: i32) {
        self.since = None;
        self.barren = 0;
        self.broke = None;
        if !self.places.is_empty() {
            self.places.remove(&(topic.into(), partition));
        }
        if self
            .treated
            .as_ref()
            .is_some_and(|treated| treated.place.1 == partition && *treated.place.0 == *topic)
        {
            self.treated = None;
        }
    }

    /// How long to wait before a client that broke by itself is replaced; zero the first time.
    pub(crate) fn pause(&self, now: Instant) -> Duration {
        let Some((count, last)) = self.broke else {
            return Duration::ZERO;
        };
        let pause = BREAKS.start().saturating_mul(1 << (count - 1).min(8));
        (last + pause.min(*BREAKS.end())).saturating_duration_since(now)
    }

    /// A client that broke by itself was replaced.
    pub(crate) fn broke(&mut self, now: Instant) {
        let count = self.broke.map_or(0, |(count, _)| count);
        self.broke = Some((count.saturating_add(1), now));
        self.begin();
    }

    /// Partitions that fail, whose leaders nobody has heard of yet.
    pub(crate) fn silent(&self) -> Vec<Place> {
        let places = self.places.iter();
        let silent = places.filter(|(_, ailing)| ailing.answers.is_none());
        silent.map(|(place, _)| place.clone()).collect()
    }

    /// The leader of a partition answers somebody else.
    pub(crate) fn answers(&mut self, topic: &str, partition: i32, now: Instant) {
        if let Some(ailing) = self.places.get_mut(&(topic.into(), partition)) {
            ailing.answers.get_or_insert(now);
        }
    }

    /// Something got no answer. True: replace the client now; what is told next is of the new one.
    /// `lingering`: replaced clients that have not ended yet; the more, the more patient.
    pub(crate) fn ill(
        &mut self,
        topic: &str,
        partition: i32,
        now: Instant,
        lingering: usize,
    ) -> bool {
        let since = *self.since.get_or_insert(now);
        let fresh = Ailing {
            since: now,
            answers: None,
        };
        let place = (topic.into(), partition);
        let here = *self.places.entry(place.clone()).or_insert(fresh);
        let lingering = u32::try_from(lingering).unwrap_or(u32::MAX);
        let grown = self
            .patience
            .saturating_mul(1 << (self.barren / BARREN).min(3))
            .saturating_mul(lingering.saturating_add(1));
        if now.saturating_duration_since(since) >= grown {
            self.barren = self.barren.saturating_add(1);
            self.begin();
            return true;
        }
        let mature = now.saturating_duration_since(here.since) >= grown.saturating_mul(PLACE_TIMES);
        let ours = here
            .answers
            .is_some_and(|at| now.saturating_duration_since(at) >= ANSWERS);
        (mature || ours) && self.treat(place, now)
    }

    /// Whether it is time to do something about a partition again.
    fn treat(&mut self, place: Place, now: Instant) -> bool {
        let pause_times = match &self.treated {
            Some(treated) if now < treated.not_before => return false,
            Some(treated) => (treated.pause_times * 2).min(*PAUSE_TIMES.end()),
            None => *PAUSE_TIMES.start(),
        };
        self.treated = Some(Treated {
            place,
            not_before: now + self.patience * pause_times,
            pause_times,
        });
        self.begin();
        true
    }

    /// Forgets the failures of a client that is being replaced.
    pub(crate) fn begin(&mut self) {
        self.since = None;
        self.places.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    /// A cure and a clock that starts at zero.
    fn cure() -> (Cure, impl Fn(u64) -> Instant) {
        let zero = Instant::now();
        (Cure::new(PATIENCE), move |s| zero + Duration::from_secs(s))
    }

    #[test]
    fn a_client_that_only_fails_is_replaced_when_patience_ends() {
        let (mut cure, at) = cure();
        assert!(!cure.ill("t", 0, at(0), 0), "one failure is none");
        assert!(!cure.ill("t", 1, at(4), 0));
        assert!(cure.ill("t", 0, at(5), 0));
        assert!(!cure.ill("t", 0, at(6), 0), "the new one has its own time");
        assert!(cure.ill("t", 0, at(11), 0));
    }

    #[test]
    fn one_success_in_between_is_health() {
        let (mut cure, at) = cure();
        assert!(!cure.ill("t", 0, at(0), 0));
        cure.well("t", 0);
        assert!(!cure.ill("t", 0, at(6), 0));
        assert!(!cure.ill("t", 0, at(10), 0));
        assert!(cure.ill("t", 0, at(11), 0));
    }

    #[test]
    fn a_partition_that_fails_while_others_work_is_given_more_time_and_then_not_soon_again() {
        let (mut cure, at) = cure();
        let mut replaced = Vec::new();
        for second in 0..100 {
            cure.well("t", 1);
            if cure.ill("t", 0, at(second), 0) {
                replaced.push(second);
            }
        }
        // Five seconds of pause, then ten: the time to be given up is longer.
        assert_eq!(replaced, [20, 41, 62, 83]);
    }

    #[test]
    fn a_partition_whose_leader_answers_others_is_the_clients_fault() {
        let (mut cure, at) = cure();
        assert!(!cure.ill("t", 0, at(0), 0));
        assert!(!cure.ill("t", 1, at(0), 0));
        cure.well("t", 2);
        assert_eq!(cure.silent().len(), 2);
        cure.answers("t", 0, at(1));
        assert_eq!(cure.silent(), [("t".into(), 1)]);
        cure.well("t", 2);
        assert!(!cure.ill("t", 0, at(2), 0), "it may have been on its way");
        cure.well("t", 2);
        assert!(
            !cure.ill("t", 1, at(3), 0),
            "nobody has heard of this leader"
        );
        assert!(cure.ill("t", 0, at(3), 0));
    }

    /// Too few replicas, say: its leader answers questions and takes no records.
    #[test]
    fn what_a_new_client_does_not_help_is_tried_less_and_less() {
        let (mut cure, at) = cure();
        let mut replaced = Vec::new();
        for second in 0..400 {
            cure.well("t", 1);
            cure.answers("t", 0, at(second));
            if cure.ill("t", 0, at(second), 0) {
                replaced.push(second);
            }
        }
        assert_eq!(replaced, [3, 8, 18, 38, 78, 128, 178, 228, 278, 328, 378]);
        cure.well("t", 0);
        cure.ill("t", 0, at(400), 0);
        cure.answers("t", 0, at(400));
        assert!(cure.ill("t", 0, at(402), 0), "a success resets that");
    }

    #[test]
    fn a_slow_cluster_gets_more_time_after_many_new_clients() {
        let (mut cure, at) = cure();
        let mut replaced = 0;
        for second in 0..3600 {
            replaced += u32::from(cure.ill("t", 0, at(second), 0));
        }
        assert!((60..110).contains(&replaced), "{replaced}");
        cure.well("t", 0);
        assert!(!cure.ill("t", 0, at(4000), 0));
        assert!(cure.ill("t", 0, at(4005), 0), "a success resets that");
    }

    #[test]
    fn clients_that_break_one_after_the_other_are_replaced_less_and_less_often() {
        let (mut cure, at) = cure();
        let pause = |cure: &Cure| cure.pause(at(0)).as_millis();
        assert_eq!(pause(&cure), 0);
        let mut pauses = Vec::new();
        for _ in 0..7 {
            cure.broke(at(0));
            pauses.push(pause(&cure));
        }
        assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 5000, 5000]);
        assert_eq!(cure.pause(at(5)), Duration::ZERO);
        cure.well("t", 0);
        assert_eq!(pause(&cure), 0, "a success resets that");
    }

    #[test]
    fn clients_that_do_not_end_slow_their_successors() {
        let (mut cure, at) = cure();
        assert!(!cure.ill("t", 0, at(0), 3));
        assert!(!cure.ill("t", 0, at(19), 3));
        assert!(cure.ill("t", 0, at(20), 3));
    }
}
