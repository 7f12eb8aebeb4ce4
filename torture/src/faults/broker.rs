//! Faults of Kafka.

use std::sync::Arc;
use std::time::Duration;

use testbed::{Cluster, Random, Way};

use super::{Done, Injector, Shows, hold};
use crate::workload::any;
use crate::world::PARTITIONS;

/// A broker by its number, from 1.
fn one(injector: &Injector, random: &mut Random) -> u32 {
    let count = injector.desk.world.bed.broker().proxies().len().max(1);
    1 + u32::try_from(random.below(count as u64)).expect("there are few brokers")
}

/// With others beside it, things have to go on while a broker is away; a single one is waited for.
fn alone(injector: &Injector) -> bool {
    injector.desk.world.bed.broker().proxies().len() == 1
}

/// The script that keeps the brokers blocks until it is done.
async fn with_cluster(injector: &Injector, act: impl FnOnce(&Cluster) + Send + 'static) {
    let world = Arc::clone(&injector.desk.world);
    tokio::task::spawn_blocking(move || act(world.bed.broker().cluster()))
        .await
        .expect("the script of the brokers works");
}

/// kill -9, and a new start a moment later.
pub(super) async fn kill(injector: &Injector, random: &mut Random) -> Done {
    let number = one(injector, random);
    let killed = injector.now();
    with_cluster(injector, move |cluster| cluster.kill_9(number)).await;
    let ms = hold(random, 0, 3_000).await;
    with_cluster(injector, move |cluster| cluster.restart(number)).await;
    Done {
        what: format!("kill -9 broker {number}, started again after {ms} ms"),
        from: if alone(injector) {
            injector.now()
        } else {
            killed
        },
        shows: Shows::Delivery,
    }
}

/// SIGSTOP and SIGCONT.
pub(super) async fn stop(injector: &Injector, random: &mut Random) -> Done {
    let number = one(injector, random);
    let stopped = injector.now();
    with_cluster(injector, move |cluster| cluster.pause(number)).await;
    let ms = hold(random, 1_000, 9_000).await;
    with_cluster(injector, move |cluster| cluster.go_on(number)).await;
    Done {
        what: format!("SIGSTOP broker {number} for {ms} ms"),
        from: if alone(injector) {
            injector.now()
        } else {
            stopped
        },
        shows: Shows::Delivery,
    }
}

/// Stopped in order and started again: its leaderships move, when there is somebody to take them.
pub(super) async fn roll(injector: &Injector, random: &mut Random) -> Done {
    let number = one(injector, random);
    let began = injector.now();
    with_cluster(injector, move |cluster| cluster.restart(number)).await;
    Done {
        what: format!("restart of broker {number} in order"),
        from: if alone(injector) {
            injector.now()
        } else {
            began
        },
        shows: Shows::Delivery,
    }
}

/// One of several becomes the leader of everything.
pub(super) async fn lead(injector: &Injector, random: &mut Random) -> Done {
    let number = one(injector, random);
    let began = injector.now();
    let topics = injector.desk.world.topics();
    with_cluster(injector, move |cluster| {
        for topic in &topics {
            cluster.lead(topic, PARTITIONS, number);
        }
    })
    .await;
    Done {
        what: format!("broker {number} leads every partition"),
        from: began,
        shows: Shows::Delivery,
    }
}

/// What brokers say comes late.
pub(super) async fn slow(injector: &Injector, random: &mut Random) -> Done {
    let delay = Duration::from_millis(*any(random, &[300, 1_500, 4_000, 7_000]));
    let proxies = injector.desk.world.bed.broker().proxies();
    for proxy in proxies {
        proxy.delay(Way::Down, delay);
    }
    let ms = hold(random, 4_000, 9_000).await;
    for proxy in proxies {
        proxy.delay(Way::Down, Duration::ZERO);
    }
    Done {
        what: format!("brokers' answers {delay:?} late for {ms} ms"),
        from: injector.now(),
        shows: Shows::Delivery,
    }
}

/// One direction is dead and nobody is told.
pub(super) async fn mute(injector: &Injector, random: &mut Random) -> Done {
    let proxies = injector.desk.world.bed.broker().proxies();
    let way = *any(random, &[Way::Up, Way::Down]);
    let chosen = any(random, proxies);
    chosen.hold(way);
    let ms = hold(random, 2_000, 9_000).await;
    chosen.release(way);
    Done {
        what: format!("nothing passed {way:?} between services and a broker for {ms} ms"),
        from: injector.now(),
        shows: Shows::Delivery,
    }
}
