//! A database without tables, or with those of an earlier version, is told in the same words by everybody.

use testbed::{Bed, until};

use super::metrics;
use crate::BINARY;

const MISSING: &str =
    "NOT_MIGRATED postgres: the tables are not there; mend it: rivermouth migrate";
const EARLIER: &str = "NOT_MIGRATED postgres: the tables are of an earlier version: 1 of ";

/// Whoever stores or looks at rows refuses; nobody says what PostgreSQL says of it.
async fn refused_by_all(bed: &Bed, words: &str) {
    for command in [
        &["persister", "--metrics-port", "0"][..],
        &["digest"],
        &["rebuild"],
        &["doctor"],
    ] {
        let ended = bed.run(command).await;
        let said = &ended.output;
        assert_eq!(ended.status.code(), Some(1), "{command:?}: {said}");
        assert!(said.contains(words), "{command:?}: {said}");
        assert!(!said.contains("does not exist"), "{command:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_are_missing_or_older_are_refused_with_the_command_that_makes_them() {
    let mut bed = Bed::on_kafka(BINARY).await;
    bed.set("RIVERMOUTH_SETTINGS_CHECK_INTERVAL", "500ms");
    let database = bed.database();
    database
        .execute("delete from rivermouth.schema_migrations where version = (select max(version) from rivermouth.schema_migrations)")
        .await;
    refused_by_all(&bed, EARLIER).await;
    database
        .execute("drop schema rivermouth, analytics cascade")
        .await;
    refused_by_all(&bed, MISSING).await;

    // Delivering needs no tables: a node goes on, and shouts until they are there.
    let fanout = bed.start("fanout").await;
    for on in [1, 0] {
        let finding =
            format!("rivermouth_findings{{code=\"NOT_MIGRATED\",about=\"postgres\"}} {on}\n");
        until("what the node finds", || async {
            metrics(&fanout).await.contains(&finding).then_some(())
        })
        .await;
        assert!(bed.run(&["migrate"]).await.status.success());
    }
    assert!(bed.run(&["digest"]).await.status.success());
    bed.start("persister").await;
}
