//! Faults of our own processes.

use testbed::Random;

use super::{Done, Injector, Shows, hold};
use crate::workload::any;
use crate::world::Member;

/// A persister shows its recovery in the tables, the others on the paths.
fn shown(member: &Member) -> Shows {
    if member.name.starts_with("persister") {
        Shows::Storage
    } else {
        Shows::Delivery
    }
}

/// kill -9, and a new start a moment later.
pub(super) async fn kill(injector: &Injector, members: &[Member], random: &mut Random) -> Done {
    let member = any(random, members);
    let mut node = member.node().await;
    let from = injector.now();
    node.kill_9().await;
    let ms = hold(random, 0, 4_000).await;
    node.start().await;
    Done {
        what: format!("kill -9 {}, back after {ms} ms", member.name),
        from,
        shows: shown(member),
    }
}

/// SIGSTOP for longer than clients, leases and requests wait, then SIGCONT.
pub(super) async fn stop(injector: &Injector, members: &[Member], random: &mut Random) -> Done {
    let member = any(random, members);
    let mut node = member.node().await;
    let from = injector.now();
    node.process().pause();
    let ms = hold(random, 3_000, 14_000).await;
    node.process().go_on();
    Done {
        what: format!("SIGSTOP {} for {ms} ms", member.name),
        from,
        shows: shown(member),
    }
}

/// SIGTERM and a new start, one after the other.
pub(super) async fn roll(injector: &Injector, members: &[Member]) -> Done {
    let from = injector.now();
    let mut what = "rolling restart of".to_owned();
    for member in members {
        let mut node = member.node().await;
        let status = node.terminate().await;
        what += &format!(" {}", member.name);
        if !status.success() {
            what += &format!(" ({status})");
        }
        node.start().await;
    }
    Done {
        what,
        from,
        shows: shown(&members[0]),
    }
}
