//! Which fault comes when: a list made from the seed before the run begins. Pure.
//!
//! Every kind comes about equally often: kinds are dealt from a shuffled pack that is filled again when it is
//! empty. What a fault does in detail (whom, how long, after which byte) comes from a seed of its own, so that the
//! list is the same whatever happens in between. What threads and networks make of it is not repeatable.

use std::time::Duration;

use testbed::Random;

use crate::workload::index;

/// Something that one fault at a time may touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// The fan-out processes and the ways to them.
    Fanout,
    /// The gateways and the ways to them.
    Ingest,
    /// The persisters.
    Persister,
    /// The brokers, and the ways to them.
    Broker,
    /// PostgreSQL, and the way to it.
    Store,
    /// What the log holds.
    Records,
}

impl Resource {
    /// All, in the order in which they have to be taken.
    pub const ALL: [Resource; 6] = [
        Resource::Fanout,
        Resource::Ingest,
        Resource::Persister,
        Resource::Broker,
        Resource::Store,
        Resource::Records,
    ];
}

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// kill -9 of a fan-out node, and a new start.
    KillFanout,
    /// The same of a gateway.
    KillIngest,
    /// The same of a persister.
    KillPersister,
    /// SIGSTOP of a fan-out node until its clients have left, then SIGCONT.
    StopFanout,
    /// The same of a gateway, until its clients have published elsewhere.
    StopIngest,
    /// The same of a persister, until its leases have run out.
    StopPersister,
    /// SIGTERM and a new start, one fan-out node after the other.
    RollFanout,
    /// The same of the gateways.
    RollIngest,
    /// The same of the persisters.
    RollPersister,
    /// kill -9 of a broker, and a new start.
    KillBroker,
    /// SIGSTOP and SIGCONT of a broker.
    StopBroker,
    /// A broker stops in order, hands its leaderships over when there are others, and starts again.
    RollBroker,
    /// One broker becomes the leader of every partition. Needs three.
    MoveLeaders,
    /// What brokers answer arrives late, at times later than anybody waits.
    SlowAcks,
    /// Nothing passes from or to the brokers in one direction.
    MuteBroker,
    /// Connections to brokers are cut behind a byte.
    CutBroker,
    /// PostgreSQL is stopped, cutting everybody off, and started.
    RestartStore,
    /// The same by kill -9.
    KillStore,
    /// A connection to PostgreSQL is cut behind a byte, in either direction.
    CutStore,
    /// Connections of clients to a fan-out node are cut behind a byte.
    CutClients,
    /// Connections to a gateway are cut behind a byte.
    CutPublishers,
    /// All connections of a node end at once.
    CutNode,
    /// Nothing comes from a node any more, and it is not told.
    MuteNode,
    /// `delete_records` up to what is stored.
    Erase,
    /// Retention by segments.
    Expire,
    /// Events are deleted before they are stored: what is gone is gone, and has to be told.
    Lose,
}

impl Kind {
    /// Those of a usual run: nothing is lost by them. [`Kind::Lose`] stands apart: what the acceptance rule would
    /// have learned from lost records nobody can know, so it is for workloads whose ids are never used again.
    pub const ALL: [Kind; 25] = [
        Kind::KillFanout,
        Kind::KillIngest,
        Kind::KillPersister,
        Kind::StopFanout,
        Kind::StopIngest,
        Kind::StopPersister,
        Kind::RollFanout,
        Kind::RollIngest,
        Kind::RollPersister,
        Kind::KillBroker,
        Kind::StopBroker,
        Kind::RollBroker,
        Kind::MoveLeaders,
        Kind::SlowAcks,
        Kind::MuteBroker,
        Kind::CutBroker,
        Kind::RestartStore,
        Kind::KillStore,
        Kind::CutStore,
        Kind::CutClients,
        Kind::CutPublishers,
        Kind::CutNode,
        Kind::MuteNode,
        Kind::Erase,
        Kind::Expire,
    ];

    /// As it is called on the command line and on the page.
    pub fn name(self) -> &'static str {
        match self {
            Kind::KillFanout => "kill-fanout",
            Kind::KillIngest => "kill-ingest",
            Kind::KillPersister => "kill-persister",
            Kind::StopFanout => "stop-fanout",
            Kind::StopIngest => "stop-ingest",
            Kind::StopPersister => "stop-persister",
            Kind::RollFanout => "roll-fanout",
            Kind::RollIngest => "roll-ingest",
            Kind::RollPersister => "roll-persister",
            Kind::KillBroker => "kill-broker",
            Kind::StopBroker => "stop-broker",
            Kind::RollBroker => "roll-broker",
            Kind::MoveLeaders => "move-leaders",
            Kind::SlowAcks => "slow-acks",
            Kind::MuteBroker => "mute-broker",
            Kind::CutBroker => "cut-broker",
            Kind::RestartStore => "restart-store",
            Kind::KillStore => "kill-store",
            Kind::CutStore => "cut-store",
            Kind::CutClients => "cut-clients",
            Kind::CutPublishers => "cut-publishers",
            Kind::CutNode => "cut-node",
            Kind::MuteNode => "mute-node",
            Kind::Erase => "erase",
            Kind::Expire => "expire",
            Kind::Lose => "lose",
        }
    }

    /// Whether so many brokers are enough for it.
    pub fn possible(self, brokers: u32) -> bool {
        self != Kind::MoveLeaders || brokers > 1
    }

    /// What nobody else may touch meanwhile.
    pub fn touches(self) -> &'static [Resource] {
        match self {
            Kind::KillFanout
            | Kind::StopFanout
            | Kind::RollFanout
            | Kind::CutClients
            | Kind::CutNode
            | Kind::MuteNode => &[Resource::Fanout],
            Kind::KillIngest | Kind::StopIngest | Kind::RollIngest | Kind::CutPublishers => {
                &[Resource::Ingest]
            }
            Kind::KillPersister | Kind::StopPersister | Kind::RollPersister => {
                &[Resource::Persister]
            }
            Kind::KillBroker
            | Kind::StopBroker
            | Kind::RollBroker
            | Kind::MoveLeaders
            | Kind::SlowAcks
            | Kind::MuteBroker
            | Kind::CutBroker => &[Resource::Broker],
            Kind::RestartStore | Kind::KillStore | Kind::CutStore => &[Resource::Store],
            Kind::Erase => &[Resource::Broker, Resource::Records],
            Kind::Lose => &[Resource::Persister, Resource::Broker, Resource::Records],
            // What has not been stored must not expire, so nothing may keep the persisters from storing.
            Kind::Expire => &[
                Resource::Persister,
                Resource::Broker,
                Resource::Store,
                Resource::Records,
            ],
        }
    }
}

impl std::str::FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Kind, String> {
        let named = |kind: &&Kind| kind.name() == text;
        let kinds = || Kind::ALL.iter().chain(&[Kind::Lose]);
        kinds().find(named).copied().ok_or_else(|| {
            let names: Vec<&str> = kinds().map(|kind| kind.name()).collect();
            format!(
                "no fault is called `{text}`; there are {}",
                names.join(", ")
            )
        })
    }
}

/// One fault to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// How long after the beginning.
    pub at: Duration,
    /// What.
    pub kind: Kind,
    /// Decides the rest.
    pub seed: u64,
}

/// The faults of a run: one about every `every`, none in the first and last moments. Empty without kinds.
pub fn plan(seed: u64, duration: Duration, every: Duration, kinds: &[Kind]) -> Vec<Planned> {
    let mut random = Random::of(seed);
    let mut planned = Vec::new();
    let mut pack: Vec<Kind> = Vec::new();
    let mut at = every.min(Duration::from_secs(3));
    while at + every.min(Duration::from_secs(5)) < duration && !kinds.is_empty() {
        if pack.is_empty() {
            pack = kinds.to_vec();
        }
        let kind = pack.swap_remove(index(&mut random, pack.len()));
        let seed = random.below(u64::MAX);
        planned.push(Planned { at, kind, seed });
        // Between half and one and a half of the time, so that some overlap.
        at += every.mul_f64(0.5 + random.below(1001) as f64 / 1000.0);
    }
    planned
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTES: Duration = Duration::from_secs(600);
    const EVERY: Duration = Duration::from_secs(8);

    #[test]
    fn one_seed_makes_one_plan() {
        let plan = |seed| plan(seed, MINUTES, EVERY, &Kind::ALL);
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
    }

    #[test]
    fn ten_minutes_have_sixty_faults_and_every_kind_comes_about_equally_often() {
        for seed in 0..100 {
            let planned = plan(seed, MINUTES, EVERY, &Kind::ALL);
            assert!(planned.len() >= 60, "{} with seed {seed}", planned.len());
            let count = |kind| planned.iter().filter(|one| one.kind == kind).count();
            let counts: Vec<usize> = Kind::ALL.into_iter().map(count).collect();
            let (least, most) = (counts.iter().min(), counts.iter().max());
            assert!(
                most.zip(least)
                    .is_some_and(|(most, least)| most - least <= 1)
            );
            assert!(planned.windows(2).all(|pair| pair[0].at < pair[1].at));
        }
    }

    #[test]
    fn names_are_read_back_and_resources_are_taken_in_order() {
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
            assert!(kind.touches().is_sorted());
        }
        assert!("nothing".parse::<Kind>().is_err());
    }
}
