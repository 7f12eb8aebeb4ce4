//! A node that dies or stands still under many clients: they go on elsewhere, soon, with nothing lost or doubled
//! (F42, F43).

use std::time::Duration;

use client::{Client, Endpoint, Event, Item, Options, Publish, Since, Subscribe};
use testbed::checker::Received;
use testbed::{Bed, Node, within};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::BINARY;
use crate::traffic::publish_surely;

const CHANNEL: &str = "session.leaving";
const LAST: &str = "the.end";
const CLIENTS: usize = 300;
/// Between two events: nobody can have resumed later than one of them says.
const PACE: Duration = Duration::from_millis(100);

/// What one client got, and when it had resumed after the node was gone.
struct Followed {
    events: Vec<Event>,
    resumed: Option<Duration>,
}

/// Reads on through all reconnects; with the client library's own back-off.
async fn follow(
    places: Vec<Endpoint>,
    token: String,
    gone: watch::Receiver<Option<Instant>>,
    ready: watch::Sender<usize>,
) -> Followed {
    let client = Client::start(Options::new(places, token)).unwrap();
    let asked = Subscribe::new(CHANNEL, Since::Earliest);
    let mut reader = within("a subscription", client.subscribe(asked))
        .await
        .unwrap();
    let mut followed = Followed {
        events: Vec::new(),
        resumed: None,
    };
    let mut stands = false;
    while followed
        .events
        .last()
        .is_none_or(|event| event.name != LAST)
    {
        let item = within("the next event", reader.next()).await.unwrap();
        match item {
            Item::Event(event) => followed.events.push(*event),
            Item::Subscribed { .. } => {
                let since = *gone.borrow();
                if let Some(since) = since {
                    followed.resumed.get_or_insert_with(|| since.elapsed());
                }
                if !std::mem::replace(&mut stands, true) {
                    ready.send_modify(|ready| *ready += 1);
                }
            }
            Item::Broken { .. } | Item::Gap(_) | Item::Ended(_) => panic!("{item:?}"),
            _ => {}
        }
    }
    assert_eq!(client.stats().broken, 0);
    client.close().await;
    followed
}

/// Publishes at a steady pace until `stop`, then the last event.
async fn publish(bed: &Bed, door: &Node, mut stop: watch::Receiver<bool>) {
    let http = [door
        .http(&bed.backend())
        .with_deadline(Duration::from_secs(7))];
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut number = 0;
    while !*stop.borrow_and_update() {
        pace.tick().await;
        let event = Publish::new(CHANNEL, "draw", number.to_string()).unwrap();
        publish_surely(&http, &event.id(format!("e{number}"))).await;
        number += 1;
    }
    let last = Publish::new(CHANNEL, LAST, "null").unwrap().id("last");
    publish_surely(&http, &last).await;
}

/// The clients of a node that is gone at `gone`, and everything they got, judged.
async fn resumed(bed: &Bed, followed: Vec<Followed>) -> Vec<Duration> {
    let accepted = bed
        .checker()
        .await
        .tables_equal_log()
        .await
        .remove(CHANNEL)
        .unwrap();
    let mut times = Vec::new();
    for (number, one) in followed.into_iter().enumerate() {
        Received(one.events).assert_equal(&format!("client {number}"), &accepted);
        times.extend(one.resumed);
    }
    times.sort_unstable();
    times
}

fn p99(times: &[Duration]) -> Duration {
    times[(times.len() * 99).div_ceil(100) - 1]
}

async fn world() -> (Bed, Node, Node, Node, Node) {
    let bed = Bed::on_kafka(BINARY).await;
    let (first, second, door, persister) = tokio::join!(
        bed.start("fanout"),
        bed.start("fanout"),
        bed.start("ingest"),
        bed.start("persister")
    );
    (bed, first, second, door, persister)
}

#[tokio::test(flavor = "multi_thread")]
async fn f42_a_killed_fanout_node_s_clients_have_resumed_elsewhere_within_three_seconds() {
    let (bed, mut first, second, door, _persister) = world().await;
    let (tell, gone) = watch::channel(None);
    let (stop, stopped) = watch::channel(false);
    let (ready, mut subscribed) = watch::channel(0);
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let places = vec![first.endpoint(), second.endpoint()];
        let token = bed.gm(&format!("u{number}"));
        clients.spawn(follow(places, token, gone.clone(), ready.clone()));
    }
    let breaking = async {
        within(
            "everybody to subscribe",
            subscribed.wait_for(|count| *count == CLIENTS),
        )
        .await
        .unwrap();
        let connected = crate::retention::figure(&first, "rivermouth_fanout_websockets").await;
        tell.send(Some(Instant::now())).unwrap();
        first.kill_9().await;
        let back = "rivermouth_fanout_websockets";
        within("everybody to be elsewhere", async {
            while crate::retention::figure(&second, back).await < CLIENTS as f64 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        stop.send(true).unwrap();
        connected
    };
    let ((), connected, followed) = tokio::join!(
        publish(&bed, &door, stopped),
        breaking,
        within("the clients", clients.join_all())
    );
    let times = resumed(&bed, followed).await;
    println!(
        "{connected} of {CLIENTS} clients were on the killed node; {} resumed: p50 {:?}, p99 {:?}, most {:?}",
        times.len(),
        times[times.len() / 2],
        p99(&times),
        times[times.len() - 1]
    );
    assert_eq!(times.len(), connected as usize);
    assert!(p99(&times) <= Duration::from_secs(3), "{:?}", p99(&times));
}

/// A node that stands still for longer than its clients wait, and then goes on with what it had in its hands.
#[tokio::test(flavor = "multi_thread")]
async fn f43_a_fanout_node_that_stands_still_is_left_and_delivers_nothing_stale_as_new() {
    const STANDS: Duration = Duration::from_secs(20);
    let mut bed = Bed::on_kafka(BINARY).await;
    // Clients take a server for dead after the time it announces.
    bed.set("RIVERMOUTH_HEARTBEAT_INTERVAL", "2s");
    bed.set("RIVERMOUTH_HEARTBEAT_TIMEOUT", "5s");
    let (mut first, second, door, _persister) = tokio::join!(
        bed.start("fanout"),
        bed.start("fanout"),
        bed.start("ingest"),
        bed.start("persister")
    );
    let (tell, gone) = watch::channel(None);
    let (stop, stopped) = watch::channel(false);
    let (ready, mut subscribed) = watch::channel(0);
    let mut clients = JoinSet::new();
    for number in 0..40 {
        let places = vec![first.endpoint(), second.endpoint()];
        let token = bed.gm(&format!("u{number}"));
        clients.spawn(follow(places, token, gone.clone(), ready.clone()));
    }
    let breaking = async {
        within(
            "everybody to subscribe",
            subscribed.wait_for(|count| *count == 40),
        )
        .await
        .unwrap();
        let began = Instant::now();
        tell.send(Some(began)).unwrap();
        first.process().pause();
        within("everybody to be elsewhere", async {
            while crate::retention::figure(&second, "rivermouth_fanout_websockets").await < 40.0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        // Standing still is what is tested here: no other thing to wait for.
        tokio::time::sleep_until(began + STANDS).await;
        first.process().go_on();
        // It is well again, reads the log again, and what it had queued went to nobody.
        first.ready().await;
        stop.send(true).unwrap();
    };
    let ((), (), followed) = tokio::join!(
        publish(&bed, &door, stopped),
        breaking,
        within("the clients", clients.join_all())
    );
    // Who comes to it now gets what everybody got.
    let late = crate::ways::Reading {
        place: first.endpoint(),
        token: bed.gm("late"),
        channel: CHANNEL.to_owned(),
        way: crate::ways::Way::Socket,
    };
    let late = late.to("earliest", "last").await.events;
    assert!(
        late == followed[0].events,
        "the same bytes at the node that stood still"
    );
    let times = resumed(&bed, followed).await;
    println!(
        "{} left by heartbeat: p50 {:?}, p99 {:?}",
        times.len(),
        times[times.len() / 2],
        p99(&times)
    );
}
