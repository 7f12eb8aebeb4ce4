//! Faults of our own processes.

use testbed::{Node, Random};

use super::{Done, Injector, RECOVERY_MAX, Shows, hold};
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

/// Starts a process again, as often as it takes, and says so when it took more than once. It refuses to start when
/// what another fault does to a topic just then is more than it puts up with.
pub(super) async fn start(node: &mut Node) -> String {
    match node.supervise(RECOVERY_MAX).await {
        Ok(0) => String::new(),
        Ok(refused) => format!(" (having refused to start {refused} times)"),
        // It shows: the paths through this process do not recover.
        Err(ended) => format!(" (NOT started again: {ended})"),
    }
}

/// kill -9, and a new start a moment later.
pub(super) async fn kill(injector: &Injector, members: &[Member], random: &mut Random) -> Done {
    let member = any(random, members);
    let mut node = member.node().await;
    let from = injector.now();
    node.kill_9().await;
    let ms = hold(random, 0, 4_000).await;
    let back = start(&mut node).await;
    Done {
        what: format!("kill -9 {}, back after {ms} ms{back}", member.name),
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
        what += &start(&mut node).await;
    }
    Done {
        what,
        from,
        shows: shown(&members[0]),
    }
}
