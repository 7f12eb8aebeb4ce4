//! The hazards of librdkafka's producer (`broker/tests/it/hazards.rs` shows that they exist) behind our gateway:
//! holes are void and told, and what was reported lost and stored all the same is one event.

use std::time::Duration;

use ingest::Published;
use protocol::client::parse_publish;
use protocol::{ErrorName, ProtocolError};
use serde_json::json;
use testbed::{Cluster, Proxy, Way, until, within};

use crate::load::{Settled, numbered, settle};
use crate::world::{Node, World, backend, identity};

/// A gateway whose broker stands behind a proxy, and the same log for those who go past it.
struct Stage {
    past: World,
    node: Node,
    proxy: Proxy,
    _cluster: Cluster,
}

impl Stage {
    async fn new() -> Stage {
        let (cluster, mut proxies) = tokio::task::block_in_place(|| Cluster::behind_proxies(1));
        let proxy = proxies.remove(0);
        let world = World::at(&proxy.address()).await;
        let past = world.past(&cluster.bootstrap()).await;
        let node = world.node().await;
        let stage = Stage {
            past,
            node,
            proxy,
            _cluster: cluster,
        };
        assert!(stage.surely(0).await.is_new());
        stage
    }

    async fn send(&self, seq: u64) -> Result<Published, ProtocolError> {
        let publish = parse_publish(numbered("session.1", "p", 0, seq).as_bytes()).unwrap();
        let who = identity(&backend());
        self.node.gateway.publish(&who, publish).await
    }

    /// The data of all records in the log, void ones included, read past the proxy.
    async fn log(&self) -> Vec<String> {
        let read = self.past.read(self.past.topics.events()).await;
        let data = read.iter().map(|read| read.event.data.to_vec());
        data.map(|data| String::from_utf8(data).unwrap()).collect()
    }

    async fn accepted(&self) -> Vec<String> {
        let events = self.past.accepted("session.1").await;
        let data = events.iter().map(|(_, event)| event.data.to_vec());
        data.map(|data| String::from_utf8(data).unwrap()).collect()
    }

    async fn surely(&self, seq: u64) -> Settled {
        surely(&self.node, seq).await
    }
}

/// As a client does it: the same number until it is taken.
async fn surely(node: &Node, seq: u64) -> Settled {
    let who = identity(&backend());
    let told = settle(node, &who, "session.1", "p", 0, seq..=seq)
        .await
        .remove(0);
    assert!(told.answer.is_ok(), "{told:?}");
    told
}

fn name(answer: &Result<Published, ProtocolError>) -> ErrorName {
    answer.as_ref().unwrap_err().name
}

/// Down for longer than a record may wait: what was sent in that time is lost, what is sent later stands behind
/// the hole it left.
#[tokio::test(flavor = "multi_thread")]
async fn f24_l1_holes_of_an_outage_are_void_and_told() {
    let stage = Stage::new().await;
    stage.proxy.away();
    let lost = within("an answer", stage.send(1)).await;
    assert_eq!(name(&lost), ErrorName::Timeout, "never called failed");
    stage.proxy.back();
    // A publisher that goes on all the same is told what is missing.
    let told = until("the log to be back", || async {
        match stage.send(2).await {
            Err(error) if error.details.is_some() => Some(error),
            Err(_) => None,
            Ok(published) => panic!("a hole was accepted: {published:?}"),
        }
    })
    .await;
    assert_eq!(told.name, ErrorName::Unavailable);
    assert_eq!(told.details, Some(json!({"seq": 1})));
    for seq in 1..4 {
        assert!(stage.surely(seq).await.is_new());
    }
    assert_eq!(stage.accepted().await, ["0", "1", "2", "3"]);
}

/// The hole in the log itself: the second record waits when the first one's time runs out, and is stored.
#[tokio::test(flavor = "multi_thread")]
async fn f24_l1_a_record_behind_a_hole_counts_for_nobody_and_is_not_called_stored() {
    let stage = Stage::new().await;
    stage.proxy.away();
    let first = stage.send(1);
    let second = async {
        // Time is the fault here: the second has to be younger than the first. A second and a half is left for it to be
        // late, and more than that for the way back to be found before its own time is over.
        tokio::time::sleep(Duration::from_millis(3_000)).await;
        stage.send(2).await
    };
    let back = async {
        let first = first.await;
        stage.proxy.back();
        first
    };
    let (first, second) = within("the answers", async { tokio::join!(back, second) }).await;
    assert_eq!(name(&first), ErrorName::Timeout);
    assert_eq!(
        name(&second),
        ErrorName::Timeout,
        "D4: the tail shares its fate"
    );
    until("the second to be stored behind the hole", || async {
        (stage.log().await == ["0", "2"]).then_some(())
    })
    .await;
    assert_eq!(stage.accepted().await, ["0"]);
    for seq in 1..4 {
        stage.surely(seq).await;
    }
    assert_eq!(stage.accepted().await, ["0", "1", "2", "3"]);
}

/// What the log stored although we never heard of it ends as one event, whoever retries where.
async fn stored_and_not_heard_of(stage: &Stage, heal: impl FnOnce(&Proxy)) {
    let other = stage.past.node().await;
    let id = |id: &str| {
        let text = json!({"channel": "session.1", "event": "draw", "data": id, "id": id});
        parse_publish(text.to_string().as_bytes()).unwrap()
    };
    let who = identity(&backend());
    let (numbered, named) = within("the answers", async {
        tokio::join!(stage.send(1), stage.node.gateway.publish(&who, id("named")))
    })
    .await;
    assert_eq!(name(&numbered), ErrorName::Timeout);
    assert_eq!(name(&named), ErrorName::Timeout);
    let mut log = stage.log().await;
    log.sort();
    assert_eq!(log, ["\"named\"", "0", "1"], "both are stored all the same");
    // The publishers go to another gateway with the same identities,
    assert!(surely(&other, 1).await.is_known());
    until("the named one to be known there", || async {
        other.gateway.publish(&who, id("named")).await.ok()
    })
    .await;
    heal(&stage.proxy);
    // and back.
    assert!(stage.surely(1).await.is_known());
    assert!(stage.surely(2).await.is_new());
    until("the named one to be taken", || async {
        stage.node.gateway.publish(&who, id("named")).await.ok()
    })
    .await;
    let mut accepted = stage.accepted().await;
    accepted.sort();
    assert_eq!(accepted, ["\"named\"", "0", "1", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn f25_l2_an_acknowledgement_later_than_the_timeout_ends_as_one_event() {
    let stage = Stage::new().await;
    stage.proxy.delay(Way::Down, Duration::from_secs(8));
    stored_and_not_heard_of(&stage, |proxy| proxy.delay(Way::Down, Duration::ZERO)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f26_a_broker_that_hears_us_and_is_not_heard_ends_as_one_event() {
    let stage = Stage::new().await;
    stage.proxy.hold(Way::Down);
    stored_and_not_heard_of(&stage, |proxy| proxy.release(Way::Down)).await;
}
