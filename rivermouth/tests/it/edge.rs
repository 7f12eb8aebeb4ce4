//! The network between clients and nodes breaks (F01-F04): what an outbox sent is in the log once and in order, and
//! whoever reads gets all of it, wherever the cuts fall.

use std::sync::Arc;
use std::time::Duration;

use client::Endpoint;
use testbed::{Bed, Node, Proxy, Random, Way, until};

use crate::BINARY;
use crate::traffic::{Door, Progress, Traffic};

fn traffic(nodes: Vec<Endpoint>) -> Traffic {
    Traffic {
        sessions: 4,
        users_per_session: 4,
        messages_per_user: 120,
        pace: Duration::from_millis(100),
        nodes,
        door: Door::Socket,
    }
}

/// A way to a node that can be cut.
fn before(node: &Node) -> (Proxy, Endpoint) {
    let proxy = Proxy::to(node.url().trim_start_matches("http://"));
    let endpoint = Endpoint::parse(&format!("http://{}", proxy.address())).unwrap();
    (proxy, endpoint)
}

/// One number of a node's metrics.
pub(crate) async fn metric(node: &Node, name: &str) -> f64 {
    let answer = node.admin().get("/metrics").await.unwrap();
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let of = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
    text.lines().find_map(of).unwrap_or(0.0)
}

/// Breaks something again and again until the traffic is over; how often.
async fn while_it_flows(progress: &Progress, total: u64, breaking: impl AsyncFn()) -> usize {
    let mut times = 0;
    loop {
        tokio::select! {
            () = progress.reached(total) => return times,
            () = breaking() => times += 1,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f01_connections_cut_at_any_byte_of_a_publish_lose_double_and_reorder_nothing() {
    let bed = Bed::on_kafka(BINARY).await;
    let (fanout, _persister) = tokio::join!(bed.start("fanout"), bed.start("persister"));
    let (proxy, endpoint) = before(&fanout);
    let traffic = traffic(vec![endpoint]);
    let progress = Arc::new(Progress::default());
    let random = std::sync::Mutex::new(Random::seeded("cuts at any byte"));
    let breaking = while_it_flows(&progress, traffic.total(), async || {
        // A network that cuts faster than anybody can connect is no network.
        progress.reached(progress.count() + 25).await;
        let cuts = proxy.cut_at_byte();
        let byte = 1 + random.lock().unwrap().below(3_000);
        proxy.cut_after(Way::Up, byte);
        until("a cut", || async {
            (proxy.cut_at_byte() > cuts).then_some(())
        })
        .await;
    });
    let ((), cuts) = tokio::join!(traffic.run(&bed, Arc::clone(&progress)), breaking);
    println!("{cuts} cuts");
    assert!(cuts >= 20, "{cuts}");
}

/// The node has stored and answered; nobody hears it.
#[tokio::test(flavor = "multi_thread")]
async fn f02_acknowledgements_that_nobody_hears_end_as_one_event() {
    let bed = Bed::on_kafka(BINARY).await;
    let (fanout, _persister) = tokio::join!(bed.start("fanout"), bed.start("persister"));
    let (proxy, endpoint) = before(&fanout);
    let traffic = traffic(vec![endpoint]);
    let progress = Arc::new(Progress::default());
    let stored = r#"rivermouth_ingest_publishes_total{lane="durable",told="ok"}"#;
    let breaking = while_it_flows(&progress, traffic.total() * 9 / 10, async || {
        // Somebody gets through first, so that the traffic comes to its end.
        progress.reached(progress.count() + 40).await;
        proxy.hold(Way::Down);
        loop {
            let (heard, before) = (progress.count(), metric(&fanout, stored).await);
            until("publishes to be stored", || async {
                (metric(&fanout, stored).await >= before + 3.0).then_some(())
            })
            .await;
            // What had passed before was still being heard; now nobody hears of what is stored.
            if progress.count() == heard {
                break;
            }
        }
        proxy.cut();
        proxy.release(Way::Down);
    });
    let ((), times) = tokio::join!(traffic.run(&bed, Arc::clone(&progress)), breaking);
    println!("{times} times the answers were lost");
    assert!(times >= 5, "{times}");
    let doubled = metric(
        &fanout,
        r#"rivermouth_ingest_publishes_total{lane="durable",told="duplicate"}"#,
    );
    assert!(doubled.await >= 3.0, "they were sent again");
}

/// The peer is gone and nobody was told: both sides find out by themselves.
#[tokio::test(flavor = "multi_thread")]
async fn f03_half_open_connections_are_noticed_by_both_sides() {
    let mut bed = Bed::on_kafka(BINARY).await;
    bed.set("RIVERMOUTH_HEARTBEAT_INTERVAL", "2s");
    bed.set("RIVERMOUTH_HEARTBEAT_TIMEOUT", "6s");
    let (first, second, _persister) = tokio::join!(
        bed.start("fanout"),
        bed.start("fanout"),
        bed.start("persister")
    );
    let (proxy, endpoint) = before(&first);
    let traffic = traffic(vec![endpoint, second.endpoint()]);
    let progress = Arc::new(Progress::default());
    let breaking = async {
        progress.reached(traffic.total() / 3).await;
        assert!(metric(&first, "rivermouth_fanout_websockets").await > 0.0);
        proxy.hold(Way::Up);
        proxy.hold(Way::Down);
        // The node lets go of all of them although not one end has reached it,
        until("the node to let go of its connections", || async {
            (metric(&first, "rivermouth_fanout_websockets").await == 0.0).then_some(())
        })
        .await;
        // and the clients have all gone to the other one.
        until("the clients to be elsewhere", || async {
            (metric(&second, "rivermouth_fanout_websockets").await >= 16.0).then_some(())
        })
        .await;
        proxy.cut();
        proxy.release(Way::Up);
        proxy.release(Way::Down);
    };
    tokio::join!(traffic.run(&bed, Arc::clone(&progress)), breaking);
}

#[tokio::test(flavor = "multi_thread")]
async fn f04_clients_go_on_at_another_node_where_they_were_and_hear_nothing_twice() {
    let bed = Bed::on_kafka(BINARY).await;
    let (first, second, _persister) = tokio::join!(
        bed.start("fanout"),
        bed.start("fanout"),
        bed.start("persister")
    );
    let ((one, to_first), (other, to_second)) = (before(&first), before(&second));
    let traffic = traffic(vec![to_first, to_second]);
    let progress = Arc::new(Progress::default());
    let breaking = async {
        for turn in 1..=6 {
            progress.reached(traffic.total() * turn / 7).await;
            let (away, there) = if turn % 2 == 1 {
                (&one, &other)
            } else {
                (&other, &one)
            };
            there.back();
            away.away();
        }
        one.back();
        other.back();
    };
    tokio::join!(traffic.run(&bed, Arc::clone(&progress)), breaking);
}
