//! Many connections to one node.

use client::{Credential, Event, Http, Publish, ServerMessage, Socket, SocketOptions};
use testbed::{Bed, Node, within};
use tokio::task::JoinSet;

use crate::BINARY;

const CONNECTIONS: usize = 1_000;
const BROADCASTS: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_connections_all_get_every_broadcast() {
    let bed = Bed::on_kafka(BINARY).await;
    let fanout = bed.start("fanout").await;
    let mut readers = JoinSet::new();
    // A few at a time: the test is about broadcasts, not about a listener's queue.
    for group in 0..CONNECTIONS / 50 {
        let opening =
            (0..50).map(|at| open(&fanout, bed.token(&format!("u{}", group * 50 + at)).mint()));
        let opened = within("fifty connections", futures_util::future::join_all(opening)).await;
        for socket in opened {
            readers.spawn(read(socket));
        }
    }
    let backend: Http = fanout.http(&bed.backend());
    let mut published = Vec::new();
    for number in 0..BROADCASTS {
        let publish = Publish::new("broadcast", "news", format!(r#"{{"n":{number}}}"#)).unwrap();
        published.push(backend.publish(&publish).await.unwrap());
    }
    let all = within("all readers", readers.join_all()).await;
    assert_eq!(all.len(), CONNECTIONS);
    let first = &all[0];
    assert_eq!(
        first
            .iter()
            .map(|event| (&event.id, &event.cursor))
            .collect::<Vec<_>>(),
        published
            .iter()
            .map(|published| (&published.id, &published.cursor))
            .collect::<Vec<_>>()
    );
    for events in &all {
        assert_eq!(events, first);
    }
}

/// At the path that comes with the subscription, up to the announcement of it.
async fn open(node: &Node, token: String) -> Socket {
    let options = SocketOptions {
        connect_timeout: testbed::PATIENCE,
        read_buffer_bytes: 4096,
        ..SocketOptions::default()
    };
    let credential = Credential::Subprotocol(token);
    let (mut socket, _) = Socket::open(&node.endpoint(), "/ws/broadcast", &credential, &options)
        .await
        .unwrap();
    match within("`subscribed`", socket.next()).await.unwrap() {
        ServerMessage::Subscribed { channel, .. } => assert_eq!(channel, "broadcast"),
        other => panic!("{other:?}"),
    }
    socket
}

async fn read(mut socket: Socket) -> Vec<Event> {
    let mut events = Vec::new();
    while events.len() < BROADCASTS {
        if let ServerMessage::Event(event) = socket.next().await.unwrap() {
            events.push(*event);
        }
    }
    events
}
