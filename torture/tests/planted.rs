//! The judge can fail: every mistake that can be planted is found, as what it is, and the same runs without one find
//! nothing.
//!
//! `make planted` builds `rivermouth-planted` and runs this; the tests of the workspace leave it out, for each of
//! these is a world of its own for half a minute. `RIVERMOUTH_PLANTED_BINARY` names another program.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use torture::actors::Part;
use torture::page::page;
use torture::run::{Order, Report, run};
use torture::schedule::Kind;
use torture::world::Size;

fn binary() -> PathBuf {
    std::env::var_os("RIVERMOUTH_PLANTED_BINARY").map_or_else(
        || testbed::workspace().join("target/debug/rivermouth-planted"),
        PathBuf::from,
    )
}

/// The seed of the first run of each.
const SEED: u64 = 20_261_121;

/// A short run that leads a mistake into temptation.
#[derive(Clone, Copy)]
enum Profile {
    /// Everybody, and no faults.
    Calm,
    /// Fan-out nodes are killed: channels are warmed from the store, readers catch up.
    Kills,
    /// Persisters are killed.
    Storing,
    /// Much for slow readers.
    Heavy,
    /// Events are deleted before they are stored.
    Losing,
}

impl Profile {
    fn order(self, seed: u64, mistake: Option<&str>, patience: Duration) -> Order {
        let (kinds, rate, parts): (&[Kind], f64, &[Part]) = match self {
            Profile::Calm => (&[], 200.0, &Part::ALL),
            Profile::Kills => (&[Kind::KillFanout], 250.0, &Part::ALL),
            Profile::Storing => (&[Kind::KillPersister], 200.0, &Part::ALL),
            Profile::Heavy => (&[], 700.0, &[Part::Sockets, Part::Gateways]),
            // Nobody here uses an id twice: what the rule would have learned from lost records cannot be known.
            Profile::Losing => (
                &[Kind::Lose],
                200.0,
                &[Part::Sockets, Part::Streams, Part::Archive, Part::Backends],
            ),
        };
        let planted = mistake.map(|name| ("RIVERMOUTH_PLANTED".to_owned(), name.to_owned()));
        Order {
            size: Size {
                binary: binary().display().to_string(),
                brokers: 1,
                copies: 2,
                settings: planted.into_iter().collect(),
            },
            seed,
            duration: match self {
                // A node has to be killed after an id was used, and the id to be used again; a reader has to come
                // back to what was lost.
                Profile::Kills | Profile::Losing => Duration::from_secs(22),
                _ => Duration::from_secs(14),
            },
            every: Duration::from_secs(4),
            kinds: kinds.to_vec(),
            rate,
            parts: parts.to_vec(),
            patience,
        }
    }

    async fn run(
        self,
        seed: u64,
        mistake: Option<&str>,
        patience: Duration,
    ) -> anyhow::Result<Report> {
        // Nobody stops it before its time.
        let (_stop, stopped) = watch::channel(false);
        run(self.order(seed, mistake, patience), stopped).await
    }
}

/// Asserts that a run with this mistake is found to be wrong in one of these ways. Not every short run leads every
/// mistake into temptation: some wait for a retry that crosses a kill. Three in a row without one would be a judge that
/// does not see it.
async fn finds(mistake: &str, profile: Profile, kinds: &[&str]) {
    let mut pages = String::new();
    for seed in SEED..SEED + 3 {
        // What a mistake keeps from coming to its end is not waited for as long as in a real run.
        let patience = Duration::from_secs(8);
        let report = match profile.run(seed, Some(mistake), patience).await {
            Ok(report) => report,
            // What it did could not be judged: nothing was found.
            Err(error) => {
                pages += &format!("seed {seed}: {error:#}\n");
                continue;
            }
        };
        let violated = &report.verdict.violated;
        if kinds.iter().any(|kind| violated.contains_key(*kind)) {
            println!("{mistake}: found as {violated:?} with seed {seed}");
            return;
        }
        pages += &page(&report);
    }
    panic!("{mistake} was not found as {kinds:?}:\n{pages}");
}

/// Asserts that there is nothing to be found without a mistake.
async fn finds_nothing(profile: Profile) -> Report {
    let report = profile
        .run(SEED, None, Duration::from_secs(60))
        .await
        .expect("a run can be judged");
    let wrong = report.verdict.total();
    assert!(
        wrong == 0 && report.troubles.is_empty(),
        "{}",
        page(&report)
    );
    report
}

macro_rules! mistakes {
    ($($mistake:ident: $profile:ident, $kinds:expr;)*) => {
        const MISTAKES: &[&str] = &[$(stringify!($mistake)),*];

        mod a_planted_mistake_is_found {
            use super::{Profile, finds};
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $mistake() {
                    finds(stringify!($mistake), Profile::$profile, &$kinds).await;
                }
            )*
        }
    };
}

mistakes! {
    ack_before_append: Calm, ["acknowledged"];
    ack_off_by_one: Calm, ["acknowledged"];
    other_partitioner: Calm, ["placed"];
    two_swapped: Calm, ["order"];
    handover_skips: Kills, ["complete"];
    resume_off_by_one: Calm, ["order"];
    rule_forgets: Kills, ["counts"];
    void_delivered: Calm, ["counts"];
    queue_dropped: Heavy, ["complete"];
    window_ignored: Calm, ["window"];
    whisper_to_all: Calm, ["entitled"];
    store_forgets_prev: Kills, ["prev"];
    gap_untold: Losing, ["recovered"];
    page_overlaps: Calm, ["history"];
    snapshot_late: Calm, ["snapshot"];
    cursors_of_one_node: Calm, ["resumed"];
    kept_too_far: Calm, ["kept"];
    offsets_before_rows: Calm, ["rows"];
    persister_forgets: Storing, ["rows"];
}

mod without_a_mistake_nothing_is_found {
    use super::{Profile, finds_nothing, page};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn in_calm() {
        finds_nothing(Profile::Calm).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn when_nodes_are_killed() {
        finds_nothing(Profile::Kills).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn when_persisters_are_killed() {
        finds_nothing(Profile::Storing).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn under_much_for_slow_readers() {
        finds_nothing(Profile::Heavy).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn when_events_are_lost() {
        let report = finds_nothing(Profile::Losing).await;
        let gaps = report.verdict.checks["gap"];
        assert!(gaps > 0, "nobody was told of a gap:\n{}", page(&report));
    }
}

/// The one test of these that looks at files only: whoever plants a mistake has to show that it is found.
#[test]
fn every_mistake_of_the_sources_is_among_these() {
    let mut planted = BTreeSet::new();
    for house in [
        "ingest",
        "fanout",
        "persister",
        "rivermouth",
        "service",
        "store",
    ] {
        collect(&testbed::workspace().join(house).join("src"), &mut planted);
    }
    planted.remove("name");
    let tested: BTreeSet<String> = MISTAKES.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(planted, tested);
}

fn collect(dir: &Path, planted: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, planted);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let names = text.split("planted!(").skip(1);
            let name = |rest: &str| {
                Some(
                    rest.trim_start()
                        .strip_prefix('"')?
                        .split('"')
                        .next()?
                        .to_owned(),
                )
            };
            planted.extend(names.filter_map(name));
        }
    }
}
