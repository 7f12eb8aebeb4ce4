//! Faults of the ways to processes.

use testbed::{Proxy, Random, Way};

use super::{Done, Injector, Shows, hold};
use crate::workload::any;
use crate::world::Member;

/// Some connections end behind a byte, in either direction.
pub(super) async fn cut(
    injector: &Injector,
    whose: &str,
    proxies: &[Proxy],
    random: &mut Random,
) -> Done {
    let all: Vec<&Proxy> = proxies.iter().collect();
    cut_any(injector, whose, &all, random).await
}

/// The same on the ways to some processes.
pub(super) async fn cut_members(
    injector: &Injector,
    members: &[Member],
    random: &mut Random,
) -> Done {
    let doors: Vec<&Proxy> = members.iter().map(|member| &member.door).collect();
    let whose = members[0].name.split('-').next().unwrap_or_default();
    cut_any(injector, whose, &doors, random).await
}

async fn cut_any(injector: &Injector, whose: &str, ways: &[&Proxy], random: &mut Random) -> Done {
    let from = injector.now();
    let count = || ways.iter().map(|way| way.cut_at_byte()).sum::<usize>();
    let before = count();
    for _ in 0..6 {
        let way = if random.below(3) == 0 {
            Way::Up
        } else {
            Way::Down
        };
        let most = *any(random, &[200, 5_000, 100_000]);
        let bytes = 1 + random.below(most);
        any(random, ways).cut_after(way, bytes);
        hold(random, 200, 700).await;
    }
    let cuts = count() - before;
    Done {
        what: format!("{cuts} connections of {whose} cut behind a byte"),
        from,
        shows: if cuts == 0 {
            Shows::Nothing
        } else {
            Shows::Delivery
        },
    }
}

/// All connections of a node end, and none is let in for a moment.
pub(super) async fn cut_node(injector: &Injector, random: &mut Random) -> Done {
    let member = any(random, &injector.desk.world.fanout);
    let from = injector.now();
    member.door.away();
    let ms = hold(random, 1, 4_000).await;
    member.door.back();
    Done {
        what: format!("{} cut off all its clients for {ms} ms", member.name),
        from,
        shows: Shows::Delivery,
    }
}

/// Nothing comes from a node any more; its clients have to notice by themselves.
pub(super) async fn mute_node(injector: &Injector, random: &mut Random) -> Done {
    let member = any(random, &injector.desk.world.fanout);
    let way = *any(random, &[Way::Up, Way::Down]);
    let from = injector.now();
    member.door.hold(way);
    let ms = hold(random, 2_000, 10_000).await;
    member.door.release(way);
    Done {
        what: format!("nothing passed {way:?} at {} for {ms} ms", member.name),
        from,
        shows: Shows::Delivery,
    }
}
