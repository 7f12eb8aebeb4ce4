//! Faults of PostgreSQL. Events must get through all the while, so recovery counts from the beginning.

use testbed::{Random, Way};

use super::{Done, Injector, Shows, hold};

/// Stopped, cutting everybody off, and started.
pub(super) async fn restart(injector: &Injector, random: &mut Random) -> Done {
    let mut server = injector.desk.world.server.lock().await;
    server.stop().await;
    let ms = hold(random, 0, 5_000).await;
    server.launch().await;
    Done {
        what: format!("PostgreSQL stopped for {ms} ms"),
        from: injector.now(),
        shows: Shows::Storage,
    }
}

/// kill -9, and a new start.
pub(super) async fn kill(injector: &Injector, random: &mut Random) -> Done {
    let mut server = injector.desk.world.server.lock().await;
    server.kill_9().await;
    let ms = hold(random, 0, 5_000).await;
    server.launch().await;
    Done {
        what: format!("kill -9 PostgreSQL, started again after {ms} ms"),
        from: injector.now(),
        shows: Shows::Storage,
    }
}

/// Some connections end behind a byte: within a statement, its answer, a commit.
pub(super) async fn cut(injector: &Injector, random: &mut Random) -> Done {
    let store = &injector.desk.world.store;
    let from = injector.now();
    let before = store.cut_at_byte();
    for _ in 0..4 {
        let way = if random.below(2) == 0 {
            Way::Up
        } else {
            Way::Down
        };
        store.cut_after(way, 1 + random.below(60_000));
        hold(random, 300, 900).await;
    }
    let cuts = store.cut_at_byte() - before;
    Done {
        what: format!("{cuts} connections to PostgreSQL cut behind a byte"),
        from,
        shows: if cuts == 0 {
            Shows::Nothing
        } else {
            Shows::Storage
        },
    }
}
