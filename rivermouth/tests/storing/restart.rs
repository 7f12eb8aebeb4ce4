//! PostgreSQL itself is killed and restarted under two persisters (F53).

use testbed::{Bed, Server};

use crate::BINARY;
use crate::poured::{pour, tables_are_the_log};

#[tokio::test(flavor = "multi_thread")]
async fn f53_a_killed_or_restarted_postgresql_loses_and_doubles_nothing() {
    let mut server = Server::start().await;
    let bed = Bed::on_kafka_and(BINARY, &server).await;
    let _persisters = tokio::join!(bed.start("persister"), bed.start("persister"));
    for round in 0..4 {
        let down = async {
            match round % 2 {
                0 => server.kill_9().await,
                _ => server.stop().await,
            }
            server.launch().await;
        };
        tokio::join!(down, pour(&bed, round * 2000, 2000));
    }
    tables_are_the_log(&bed).await;
}
