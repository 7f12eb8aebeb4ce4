//! Outboxes that mean harm, or are out of their minds: they hurt themselves alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ingest::IngestConfig;
use protocol::client::parse_publish;
use protocol::{ErrorName, Identity};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::load::{Settled, TRIES, Told, is_slow, numbered, pause, pipeline, settle};
use crate::world::{DEADLINE, Node, World, identity, token};

/// What the protocol allows at most.
const HUGE: u64 = (1 << 53) - 1;

/// A user without a bucket, so that the attack is not over after a hundred publishes.
fn user(name: &str) -> Arc<Identity> {
    identity(&token(name, &[], &["backend"]))
}

/// One publish for each identity, all at once; the answers in any order, each with the place of its publish.
async fn burst(node: &Node, who: &Arc<Identity>, publishes: Vec<(String, u64, u64)>) -> Vec<Told> {
    let (told, mut answers) = mpsc::channel(publishes.len());
    let count = publishes.len();
    for (at, (producer, epoch, seq)) in (0_u64..).zip(publishes) {
        let text = numbered("session.1", &producer, epoch, seq);
        let told = told.clone();
        let reply = Box::new(move |answer| told.try_send((at, answer)).unwrap());
        node.gateway
            .submit(who, parse_publish(text.as_bytes()).unwrap(), reply);
    }
    let mut out = Vec::new();
    for _ in 0..count {
        let answer = tokio::time::timeout(DEADLINE, answers.recv()).await;
        out.push(answer.unwrap().unwrap());
    }
    out
}

/// As [`burst`], as a client does it: what the log was too slow for goes with the next burst. In any order.
async fn insist(
    node: &Node,
    who: &Arc<Identity>,
    publishes: Vec<(String, u64, u64)>,
) -> Vec<Settled> {
    let (mut left, mut out) = (publishes, Vec::new());
    let mut unheard = vec![0; left.len()];
    // Whoever is left was put off each time.
    let mut tries = 0;
    while !left.is_empty() {
        assert!(tries <= TRIES, "{} are not taken", left.len());
        if tries > 0 {
            tokio::time::sleep(pause(tries)).await;
        }
        let (mut again, mut still) = (Vec::new(), Vec::new());
        for (at, answer) in burst(node, who, left.clone()).await {
            let at = usize::try_from(at).unwrap();
            let error = answer.as_ref().err();
            if error.is_some_and(is_slow) {
                let unknown = error.is_some_and(|error| error.name == ErrorName::Timeout);
                still.push(unheard[at] + usize::from(unknown));
                again.push(left[at].clone());
                continue;
            }
            out.push(Settled {
                seq: left[at].2,
                answer,
                tries,
                unheard: unheard[at],
            });
        }
        (left, unheard) = (again, still);
        tries += 1;
    }
    out
}

/// The outboxes of an attacker, different ones each round.
fn attack(round: u64) -> Vec<(String, u64, u64)> {
    let mut publishes = Vec::new();
    for n in 0..60 {
        // Never seen again,
        publishes.push((format!("once-{round}-{n}"), 0, 0));
        // jumping ahead, never begun, always the same,
        publishes.push((format!("jump-{n}"), 0, HUGE - round));
        publishes.push((format!("late-{round}-{n}"), HUGE, 1));
        publishes.push(("same".to_owned(), 0, 0));
        // and up and down the epochs.
        publishes.push(("wild".to_owned(), (round * 7919 + n) % 1_000, 0));
        publishes.push(("edge".to_owned(), HUGE, 0));
    }
    publishes
}

/// The victim's stream in the same channel and partition, as long as the attack goes on.
async fn victim(
    node: Arc<Node>,
    channel: &str,
    attacked: Arc<service::Shutdown>,
) -> (u64, Duration) {
    let who = user("victim");
    let (mut seq, mut again, mut slowest) = (0, 0, Duration::ZERO);
    // So many that one standstill, which puts off ten, is not more than a tenth.
    while !attacked.is_started() || seq < 100 {
        let started = Instant::now();
        for told in settle(&node, &who, channel, "p", 0, seq..seq + 10).await {
            assert!(told.is_new(), "{channel}: {told:?}");
            again += u64::from(told.tries > 0);
        }
        slowest = slowest.max(started.elapsed());
        seq += 10;
    }
    // Who is refused round after round is stalled, however it ends.
    assert!(again * 10 <= seq, "{again} of {seq} were put off");
    (seq, slowest)
}

pub async fn hostile_outboxes_neither_stall_nor_void_anybody_else(world: World) {
    let nodes = [Arc::new(world.node().await), Arc::new(world.node().await)];
    let over = Arc::new(service::Shutdown::new());
    let same_channel = tokio::spawn({
        let (node, over) = (Arc::clone(&nodes[0]), Arc::clone(&over));
        async move { victim(node, "session.1", over).await }
    });
    // Of the same producer name: identities are of a user and a channel.
    let mut attackers = JoinSet::new();
    for attacker in 0..4_usize {
        let node = Arc::clone(&nodes[attacker % 2]);
        attackers.spawn(async move {
            let who = user(&format!("attacker{attacker}"));
            for round in 0..8 {
                let told = burst(&node, &who, attack(round)).await;
                for (_, answer) in told {
                    let Err(error) = answer else { continue };
                    let known = [
                        ErrorName::Unavailable,
                        ErrorName::StaleProducer,
                        ErrorName::Timeout,
                    ];
                    assert!(known.contains(&error.name), "{error:?}");
                }
            }
        });
    }
    while let Some(attacked) = attackers.join_next().await {
        attacked.unwrap();
    }
    over.start();
    let (count, slowest) = same_channel.await.unwrap();
    println!("{count} publishes of the victim, the slowest ten in {slowest:?}");
    let accepted = world.accepted("session.1").await;
    let victims = accepted
        .iter()
        .filter(|(_, event)| event.user_id.as_deref() == Some("victim"))
        .filter_map(|(_, event)| event.outbox.as_ref().map(|outbox| outbox.seq));
    assert_eq!(victims.collect::<Vec<_>>(), (0..count).collect::<Vec<_>>());
}

/// Each takes the outbox from the other as fast as it can; a third one in the same channel does not notice.
pub async fn two_devices_with_one_identity_fight_and_lose_nothing_of_others(world: World) {
    let nodes = [Arc::new(world.node().await), Arc::new(world.node().await)];
    let over = Arc::new(service::Shutdown::new());
    let bystander = tokio::spawn({
        let (node, over) = (Arc::clone(&nodes[1]), Arc::clone(&over));
        async move { victim(node, "session.1", over).await }
    });
    let mut devices = JoinSet::new();
    for device in 0..2_u64 {
        let node = Arc::clone(&nodes[usize::try_from(device).unwrap()]);
        devices.spawn(async move {
            let who = user("both");
            let mut acknowledged = Vec::new();
            for turn in 0..15 {
                let epoch = turn * 2 + device;
                for (seq, answer) in pipeline(&node, &who, "session.1", "p", epoch, 0..20).await {
                    match answer {
                        Ok(published) => {
                            assert!(!published.duplicate);
                            acknowledged.push((epoch, seq));
                        }
                        Err(error) => assert!(
                            matches!(
                                error.name,
                                ErrorName::StaleProducer
                                    | ErrorName::Timeout
                                    | ErrorName::Unavailable
                            ),
                            "{error:?}"
                        ),
                    }
                }
            }
            acknowledged
        });
    }
    let mut acknowledged = Vec::new();
    while let Some(device) = devices.join_next().await {
        acknowledged.extend(device.unwrap());
    }
    over.start();
    let (count, slowest) = bystander.await.unwrap();
    println!("{count} publishes of the bystander, the slowest ten in {slowest:?}");
    let accepted = world.accepted("session.1").await;
    let of = |user: &str| -> Vec<(u64, u64)> {
        accepted
            .iter()
            .filter(|(_, event)| event.user_id.as_deref() == Some(user))
            .filter_map(|(_, event)| event.outbox.as_ref())
            .map(|outbox| (outbox.epoch, outbox.seq))
            .collect()
    };
    let both = of("both");
    assert!(
        both.is_sorted(),
        "epochs never step back and numbers never skip"
    );
    assert!(!acknowledged.is_empty());
    for told in &acknowledged {
        assert!(both.contains(told), "{told:?} was acknowledged");
    }
    assert_eq!(
        of("victim"),
        (0..count).map(|seq| (0, seq)).collect::<Vec<_>>()
    );
}

/// So many that no gateway keeps them all in mind: what it forgets changes no answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_outboxes_of_one_channel_are_all_told_the_truth() {
    const OUTBOXES: u64 = 100_000;
    let world = World::embedded().await;
    let small = IngestConfig {
        // Far less than the channel's outboxes weigh: every idle second forgets them all.
        tracked_bytes_max: 64 << 10,
        channels_tracked_max: 4,
        ..IngestConfig::default()
    };
    let node = world.node_with(small, world.pins.clone()).await;
    let who = user("many");
    let begin = |from: u64, to: u64| (from..to).map(|n| (format!("p{n}"), 0, 0)).collect();
    let (before, started) = (resident_kib(), Instant::now());
    for chunk in 0..OUTBOXES / 5_000 {
        for told in insist(&node, &who, begin(chunk * 5_000, (chunk + 1) * 5_000)).await {
            assert!(told.is_new(), "{told:?}");
        }
    }
    println!(
        "{OUTBOXES} outboxes in {:?}; {} KiB more resident than before, log included",
        started.elapsed(),
        resident_kib().saturating_sub(before)
    );
    // Other channels have their turn, and time passes: the big one is forgotten.
    for n in 0..8 {
        let told = settle(&node, &who, &format!("session.o{n}"), "p", 0, 0..1).await;
        assert!(told[0].is_new(), "{told:?}");
    }
    let fresh = world.node().await;
    for node in [&node, &fresh] {
        for n in [0, 1, 4_999, 5_000, 77_777, OUTBOXES - 1] {
            let told = insist(node, &who, vec![(format!("p{n}"), 0, 0)]).await;
            assert!(told[0].is_known(), "p{n} began long ago: {told:?}");
            let told = insist(node, &who, vec![(format!("p{n}"), 0, 7)]).await;
            let error = told[0].answer.as_ref().unwrap_err();
            assert_eq!(error.name, ErrorName::Unavailable);
            let next = if std::ptr::eq(node, &fresh) { 2 } else { 1 };
            assert_eq!(error.details, Some(json!({"seq": next})), "p{n}");
            let told = insist(node, &who, vec![(format!("p{n}"), 0, next)]).await;
            assert!(told[0].is_new(), "p{n} goes on: {told:?}");
        }
    }
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
}
