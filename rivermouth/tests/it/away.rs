//! Every broker is away: what publishers are told, what memory it costs, and how it goes on (F23).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use client::Publish;
use serde_json::json;
use testbed::{Bed, Node, until, within};
use tokio::task::JoinSet;

use crate::BINARY;
use crate::edge::metric;
use crate::talk::Talk;
use crate::traffic::publish_surely;

const OUTAGE: Duration = Duration::from_secs(20);
const FLOODERS: u64 = 16;
const LINES: u64 = 200;

/// What the flood was told.
#[derive(Debug, Default)]
struct Told {
    unavailable: AtomicU64,
    unknown: AtomicU64,
    slowest_ms: AtomicU64,
}

/// Publishes batches as fast as it is answered, until told to stop.
async fn flood(
    node: Arc<Node>,
    token: String,
    number: u64,
    stop: Arc<AtomicBool>,
    told: Arc<Told>,
) {
    let http = node.http(&token).with_deadline(Duration::from_secs(60));
    let data = format!("\"{}\"", "x".repeat(2_000));
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let batch: Vec<Publish> = (0..LINES)
            .map(|n| {
                Publish::new(format!("session.{n}"), "draw", data.clone())
                    .unwrap()
                    .id(format!("f{number}-{round}-{n}"))
            })
            .collect();
        let asked = Instant::now();
        let answers = http.publish_batch(&batch).await.unwrap();
        let took = u64::try_from(asked.elapsed().as_millis()).unwrap();
        told.slowest_ms.fetch_max(took, Ordering::Relaxed);
        for answer in answers {
            // Stored: the last ones before the outage.
            let Err(refusal) = answer else { continue };
            assert!(refusal.retryable, "{refusal:?}");
            match refusal.name.as_str() {
                "UNAVAILABLE" => {
                    assert!(refusal.retry_after_ms.is_some(), "{refusal:?}");
                    told.unavailable.fetch_add(1, Ordering::Relaxed)
                }
                "TIMEOUT" => told.unknown.fetch_add(1, Ordering::Relaxed),
                _ => panic!("{refusal:?}"),
            };
        }
    }
}

/// What a process has in RAM.
fn resident_kib(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.unwrap().trim().trim_end_matches(" kB").trim();
    number.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn f23_while_all_brokers_are_away_publishes_are_refused_in_time_and_in_bounded_memory() {
    let bed = Bed::behind_proxies(BINARY, 1).await;
    let (mut ingest, fanout) = tokio::join!(bed.start("ingest"), bed.start("fanout"));
    let pid = ingest.process().pid();
    let ingest = Arc::new(ingest);
    let mut reader = Talk::open(&fanout, &bed.gm("u1")).await;
    let since = json!({"channel": "session.quiet", "since": "earliest"});
    reader.subscribe(since).await;
    reader.caught_up("session.quiet").await;
    let publish = |id: &str| Publish::new("session.quiet", "draw", "1").unwrap().id(id);
    let backend = ingest.http(&bed.backend());
    publish_surely(std::slice::from_ref(&backend), &publish("before")).await;
    assert_eq!(reader.event().await.id, "before");
    // Read all the time: who answers no ping for a minute is taken for gone.
    let hearing = tokio::spawn(async move { reader.event().await.id });

    let proxy = &bed.broker().proxies()[0];
    let (stop, told) = (Arc::new(AtomicBool::new(false)), Arc::new(Told::default()));
    let before = resident_kib(pid);
    proxy.away();
    let mut flooders = JoinSet::new();
    for number in 0..FLOODERS {
        flooders.spawn(flood(
            Arc::clone(&ingest),
            bed.backend(),
            number,
            Arc::clone(&stop),
            Arc::clone(&told),
        ));
    }
    let (started, mut most, mut open) = (Instant::now(), before, 0.0_f64);
    while started.elapsed() < OUTAGE {
        most = most.max(resident_kib(pid));
        open = open.max(metric(&ingest, "rivermouth_ingest_breakers_open").await);
        // Sampling: there is nothing to wait for but the end of the outage.
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(done) = flooders.join_next().await {
        done.unwrap();
    }
    println!(
        "F23: {told:?}, {open} breakers open, {} KiB more resident at most than the {before} before",
        most - before
    );
    assert!(open >= 1.0, "no breaker opened");
    assert!(
        told.unavailable.load(Ordering::Relaxed) > 10_000,
        "{told:?}"
    );
    // Five seconds are promised for an answer; a batch is as slow as its slowest line, and the machine is busy.
    assert!(told.slowest_ms.load(Ordering::Relaxed) < 10_000, "{told:?}");
    // Four lanes of 8 MiB, librdkafka's 32 MiB, the requests themselves, and what the allocator keeps.
    assert!(most - before < 128 << 10, "{most} KiB after {before}");

    proxy.back();
    let back = Instant::now();
    until("publishing to go on", || async {
        backend.publish(&publish("after")).await.ok()
    })
    .await;
    let resumed = back.elapsed();
    println!("F23: publishing went on after {resumed:?}");
    // Ten are promised; this machine is busy.
    assert!(resumed < Duration::from_secs(20), "{resumed:?}");
    until("every breaker to close", || async {
        let _ = backend.publish(&publish("after")).await;
        let open = metric(&ingest, "rivermouth_ingest_breakers_open").await;
        // A breaker closes when somebody publishes to its partition.
        let probes: Vec<Publish> = (0..LINES)
            .map(|n| Publish::new(format!("session.{n}"), "probe", "1").unwrap())
            .collect();
        let _ = backend.publish_batch(&probes).await;
        (open == 0.0).then_some(())
    })
    .await;
    // The reader's connection has outlived it all.
    let heard = within("the reader to hear of it", hearing).await;
    assert_eq!(heard.unwrap(), "after");
}
