//! Four copies of one persister, killed and started again at random (F51).

use std::time::{Duration, Instant};

use testbed::{Bed, Random, until};

use crate::BINARY;
use crate::poured::{pour, tables_are_the_log};

/// How many hold three of the twelve partitions: three topics have four each.
const SHARES: &str = "
    select count(*) filter (where held = 3) from (
        select count(*) as held from rivermouth.leases l join rivermouth.members m using (owner)
        where l.until > now() and m.until > now() group by owner) s";
/// How many hold everything between them; 0 while not everything is held.
const HOLDERS: &str = "
    select case when count(*) = 12 then count(distinct owner) else 0 end
    from rivermouth.leases where until > now()";

#[tokio::test(flavor = "multi_thread")]
async fn f51_four_persisters_killed_at_random_share_evenly_and_store_every_row_once() {
    let bed = Bed::on_kafka(BINARY).await;
    let mut random = Random::seeded("copies");
    let database = bed.database();
    let (one, two, three, four) = tokio::join!(
        bed.start("persister"),
        bed.start("persister"),
        bed.start("persister"),
        bed.start("persister")
    );
    let mut copies = [one, two, three, four];
    for round in 0..5 {
        let victim = usize::try_from(random.below(4)).unwrap();
        until("four even shares", || async {
            (database.number(SHARES).await == 4).then_some(())
        })
        .await;
        let killing = async {
            copies[victim].kill_9().await;
            let dead = Instant::now();
            until("the three that live to hold everything", || async {
                (database.number(HOLDERS).await == 3).then_some(())
            })
            .await;
            let moved = dead.elapsed();
            println!("round {round}: a dead persister's partitions moved within {moved:?}");
            assert!(moved < Duration::from_secs(10), "{moved:?}");
            copies[victim].start().await;
        };
        tokio::join!(killing, pour(&bed, round * 1000, 1000));
    }
    tables_are_the_log(&bed).await;
}
