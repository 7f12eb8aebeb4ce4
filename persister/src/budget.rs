//! The budget: how much of the log's patience a partition's lag has used up, and the alarms before it is spent (F36).
//!
//! The log erases by age, by size, or by both. By age the oldest record that waits is as old as the last one that does
//! not, or younger. By size a log that has begun to erase is full, and what waits is a share of it.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use broker::{Log, Retention, Watermarks};
use service::Component;
use store::Place;

/// How often a topic is asked for its retention.
const ASK_EVERY: Duration = Duration::from_secs(60);
/// How often an alarm is repeated that nobody has ended.
const AGAIN: Duration = Duration::from_secs(600);

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Fine,
    /// Half of it: somebody should know.
    Half,
    /// Four fifths: somebody has to act, or events are lost to the tables.
    Nearly,
}

impl Level {
    fn of(used: f64) -> Level {
        match used {
            _ if used >= 0.8 => Level::Nearly,
            _ if used >= 0.5 => Level::Half,
            _ => Level::Fine,
        }
    }

    /// What alarms call it.
    fn code(self) -> &'static str {
        match self {
            Level::Fine => "RETENTION_FINE",
            Level::Half => "RETENTION_HALF_USED",
            Level::Nearly => "RETENTION_NEARLY_USED",
        }
    }
}

/// What is known of a partition's lag.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lag {
    pub(crate) watermarks: Watermarks,
    /// The stored offset.
    pub(crate) committed: i64,
    /// Everything the log took before this is stored, Unix ms; `None` when nothing ever was.
    pub(crate) stored_to_ms: Option<i64>,
}

impl Lag {
    pub(crate) fn records(&self) -> i64 {
        self.watermarks.high.saturating_sub(self.committed).max(0)
    }

    /// How old the oldest record that waits may be at most; 0 when none waits or its age is not known.
    pub(crate) fn age_ms(&self, now_ms: i64) -> i64 {
        match self.stored_to_ms {
            Some(stored_to_ms) if self.records() > 0 => (now_ms - stored_to_ms).max(0),
            _ => 0,
        }
    }

    /// The share of the log's patience that is used up, 0 to 1; 1 also when records are lost already.
    pub(crate) fn used(&self, retention: Retention, now_ms: i64) -> f64 {
        let Watermarks { low, high } = self.watermarks;
        if self.records() == 0 {
            return 0.0;
        }
        if self.committed < low {
            return 1.0;
        }
        let share = |part: i64, whole: i64| part as f64 / whole.max(1) as f64;
        let by_age = retention.ms.map(|ms| share(self.age_ms(now_ms), ms));
        // A log that has erased nothing yet has room.
        let full = retention.bytes.filter(|_| low > 0);
        let by_size = full.map(|_| share(self.records(), high - low));
        by_age.unwrap_or(0.0).max(by_size.unwrap_or(0.0)).min(1.0)
    }
}

/// The budgets of this instance's partitions, and who has been told what about them.
#[derive(Debug)]
pub(crate) struct Budgets {
    retentions: HashMap<String, (Retention, Instant)>,
    alarms: BTreeMap<Place, Alarm>,
    health: Component,
}

#[derive(Debug)]
struct Alarm {
    level: Level,
    used: f64,
    told: Instant,
}

impl Budgets {
    pub(crate) fn new(health: Component) -> Budgets {
        health.ok();
        Budgets {
            retentions: HashMap::new(),
            alarms: BTreeMap::new(),
            health,
        }
    }

    /// A topic's retention, as it was a minute ago at most; while the log does not say, as it said last.
    pub(crate) async fn retention(&mut self, log: &Log, topic: &str) -> Retention {
        let known = self.retentions.get(topic).copied();
        if let Some((retention, at)) = known
            && at.elapsed() < ASK_EVERY
        {
            return retention;
        }
        let retention = match log.retention(topic).await {
            Ok(retention) => retention,
            Err(error) => {
                tracing::warn!(topic, %error, "the retention of a topic is not known: no alarm will come before it is spent");
                known.map_or_else(Retention::default, |(retention, _)| retention)
            }
        };
        self.retentions
            .insert(topic.to_owned(), (retention, Instant::now()));
        retention
    }

    /// Tells whoever should know that a partition has used up so much.
    pub(crate) fn tell(&mut self, place: &Place, used: f64) {
        let level = Level::of(used);
        let before = self
            .alarms
            .get(place)
            .map_or(Level::Fine, |alarm| alarm.level);
        if level == Level::Fine {
            if self.alarms.remove(place).is_some() {
                tracing::info!(code = level.code(), %place, "the lag is no danger any more");
            }
            return;
        }
        let due = |alarm: &Alarm| alarm.told.elapsed() >= AGAIN;
        let loud = level > before || self.alarms.get(place).is_some_and(due);
        if loud {
            say(level, place, used);
        }
        let told = match self.alarms.get(place) {
            Some(alarm) if !loud => alarm.told,
            _ => Instant::now(),
        };
        self.alarms
            .insert(place.clone(), Alarm { level, used, told });
    }

    /// At the end of a round over `held`: what others hold is theirs to tell, and /health shows the rest.
    pub(crate) fn report(&mut self, held: impl Fn(&Place) -> bool) {
        self.alarms.retain(|place, _| held(place));
        let worst = self
            .alarms
            .iter()
            .max_by(|(_, one), (_, other)| one.used.total_cmp(&other.used));
        match worst {
            None => self.health.ok(),
            Some((place, alarm)) => self.health.failing(format!(
                "{}: {place} has used {:.0} % of the log's retention, and {} others at least half of it",
                alarm.level.code(),
                alarm.used * 100.0,
                self.alarms.len() - 1
            )),
        }
    }
}

fn say(level: Level, place: &Place, used: f64) {
    let (code, percent) = (level.code(), (used * 100.0).round());
    if level == Level::Nearly {
        tracing::error!(code, %place, percent, "the log is about to erase records that are not stored; mend PostgreSQL or raise retention.ms of the topic now");
    } else {
        tracing::warn!(code, %place, percent, "records wait to be stored for half the time the log keeps them; see what stops the persisters");
    }
}

#[cfg(test)]
mod tests {
    use service::Health;

    use super::*;

    const DAY: i64 = 86_400_000;

    fn lag((low, high): (i64, i64), committed: i64, stored_to_ms: Option<i64>) -> Lag {
        Lag {
            watermarks: Watermarks { low, high },
            committed,
            stored_to_ms,
        }
    }

    #[test]
    fn a_lag_uses_up_retention_by_age_or_by_size_whichever_is_worse() {
        let week = Retention {
            ms: Some(7 * DAY),
            bytes: None,
        };
        let both = Retention {
            bytes: Some(1 << 30),
            ..week
        };
        let now = 100 * DAY;
        let half = Some(now - 7 * DAY / 2);
        assert_eq!(lag((0, 10), 5, half).used(week, now), 0.5);
        assert_eq!(lag((0, 10), 10, half).used(week, now), 0.0, "nothing waits");
        assert_eq!(lag((0, 10), 5, half).used(both, now), 0.5, "not full yet");
        assert_eq!(lag((100, 200), 110, half).used(both, now), 0.9);
        assert_eq!(
            lag((100, 200), 110, half).used(Retention::default(), now),
            0.0
        );
        assert_eq!(
            lag((100, 200), 99, half).used(week, now),
            1.0,
            "lost already"
        );
        assert_eq!(lag((0, 10), 5, Some(0)).used(week, now), 1.0);
        assert_eq!(lag((0, 10), 5, None).used(week, now), 0.0);
    }

    #[test]
    fn health_names_the_worst_until_it_is_over_or_somebody_elses() {
        let health = Health::new("test");
        let mut budgets = Budgets::new(health.told("retention", Duration::from_secs(60)));
        let (one, two) = (Place::new("t", 0, 1), Place::new("t", 0, 2));
        let reason = |budgets: &mut Budgets| {
            budgets.report(|place| place.partition < 3);
            health.ready().components[0].reason.clone()
        };
        budgets.tell(&one, 0.49);
        assert_eq!(reason(&mut budgets), None);
        budgets.tell(&one, 0.5);
        budgets.tell(&two, 0.81);
        budgets.tell(&Place::new("t", 0, 3), 0.9);
        let said = reason(&mut budgets).unwrap();
        assert!(
            said.contains("RETENTION_NEARLY_USED: t~0/2 has used 81 %"),
            "{said}"
        );
        assert!(said.contains("and 1 others"), "{said}");
        assert!(
            health.ready().ok,
            "an alarm is no reason to take the work away"
        );
        budgets.tell(&two, 0.1);
        assert!(
            reason(&mut budgets)
                .unwrap()
                .contains("RETENTION_HALF_USED: t~0/1")
        );
        budgets.tell(&one, 0.0);
        assert_eq!(reason(&mut budgets), None);
    }
}
