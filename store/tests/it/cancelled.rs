//! Calls that somebody stops waiting for.

use std::time::Duration;

use store::testing::Database;
use store::{Store, StoreOptions};
use tokio::time::timeout;

use crate::sample::{channel, place};

#[tokio::test]
async fn a_call_that_is_given_up_leaves_no_transaction_open() {
    let (database, _store) = Database::migrated().await;
    let options = StoreOptions {
        connections_max: 1,
        application_name: "impatient".into(),
        ..StoreOptions::default()
    };
    let store = Store::connect(database.url(), options).await.unwrap();
    store.open(&place(), 0).await.unwrap();
    let open = "select count(*) from pg_stat_activity
                where application_name = 'impatient' and xact_start is not null";
    let (place, asked) = (place(), [channel("session.42")]);
    for patience in (0..1500).step_by(15) {
        let asking = store.checkpoint(&place, &asked, 1);
        let _ = timeout(Duration::from_micros(patience), asking).await;
        // Waits for the one connection, and uses it as whoever comes next does.
        store.ping().await.unwrap();
        assert_eq!(database.number(open).await, 0, "after {patience} us");
    }
}
