//! Records poured into Kafka, and what the tables must make of them.

use testbed::{Bed, Node};

/// Keys of events, so that every partition gets some.
const CHANNELS: usize = 30;

/// Pours events `from..from + count`; every seventh twice with the same id, the second of which counts for nobody.
pub(crate) async fn pour(bed: &Bed, from: usize, count: usize) {
    let records = (from..from + count).flat_map(|n| {
        let key = (n % CHANNELS).to_string();
        let value = format!(r#"{{"event":"draw","id":"e{n}","userId":"u1","data":{{"n": {n}}}}}"#);
        let times = if n % 7 == 0 { 2 } else { 1 };
        vec![(key, value); times]
    });
    bed.broker()
        .pour(&bed.broker().topic("events"), records)
        .await;
}

/// Asserts that the tables are what Kafka holds, once they are complete: row by row, and by their digests.
pub(crate) async fn tables_are_the_log(bed: &Bed) {
    let checker = bed.checker().await;
    checker.tables_equal_log().await;
    assert_eq!(checker.digests().await, checker.digests_of_log().await);
}

/// The value of a number of a process, over all its labels; 0 while there is none.
pub(crate) async fn number(node: &Node, name: &str) -> f64 {
    let Ok(answer) = node.admin().get("/metrics").await else {
        return 0.0;
    };
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    text.lines()
        .filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let of = series.split('{').next()?;
            (of == format!("rivermouth_{name}")).then(|| value.parse::<f64>().ok())?
        })
        .sum()
}

/// Whether a process says that it should get work.
pub(crate) async fn is_ready(node: &Node) -> bool {
    let answer = node.admin().get("/readyz").await;
    answer.is_ok_and(|answer| answer.status.is_success())
}
