//! Many connections to one node.

use client::{Credential, Event, Http, Publish, ServerMessage, Socket, SocketOptions};
use testbed::{Bed, Node, within};
use tokio::task::JoinSet;

use crate::BINARY;
use crate::talk::Talk;
use crate::traffic::publish_surely;

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
        let publish = publish.id(format!("e{number}"));
        published.push(publish_surely(std::slice::from_ref(&backend), &publish).await);
    }
    let all = within("all readers", readers.join_all()).await;
    assert_eq!(all.len(), CONNECTIONS);
    let first = &all[0];
    assert_eq!(first.len(), published.len());
    for (event, published) in first.iter().zip(&published) {
        assert_eq!(event.id, published.id);
        // Published again, it may be answered with the place of a second, void record.
        assert!(
            published.duplicate || published.cursor == event.cursor,
            "{published:?} {event:?}"
        );
    }
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

/// WebSockets and streams of one address count together; whoever leaves makes room.
#[tokio::test(flavor = "multi_thread")]
async fn too_many_connections_of_one_address_are_refused() {
    let mut bed = Bed::on_kafka(BINARY).await;
    bed.set("RATE_LIMIT_CONNECTIONS_PER_IP", "4");
    let fanout = bed.start("fanout").await;
    let token = bed.gm("u1");
    let channels = ["session.1".to_owned()];
    let http = fanout.http(&token);
    let mut sockets = Vec::new();
    for _ in 0..3 {
        sockets.push(Talk::open(&fanout, &token).await);
    }
    let stream = http.stream(&channels, None, &[]).await.unwrap();
    let refused = http.sse(&channels, None, None, &[]).await.unwrap_err();
    assert_eq!(refused.name(), Some("RATE_LIMIT_EXCEEDED"));
    let credential = Credential::Subprotocol(token.clone());
    let options = SocketOptions::default();
    let refused = Socket::open(&fanout.endpoint(), "/ws", &credential, &options).await;
    assert_eq!(refused.unwrap_err().name(), Some("RATE_LIMIT_EXCEEDED"));
    drop(stream);
    drop(sockets);
    within("room", async {
        while Socket::open(&fanout.endpoint(), "/ws", &credential, &options)
            .await
            .is_err()
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
