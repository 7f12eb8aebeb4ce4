//! The proxy does what a test says, and nothing else.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::within;

/// A server that sends back what it gets.
async fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    address
}

async fn connect(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(proxy.address()).await.unwrap()
}

async fn said(stream: &mut TcpStream, bytes: &[u8]) -> Vec<u8> {
    stream.write_all(bytes).await.unwrap();
    let mut back = vec![0; bytes.len()];
    within("an echo", stream.read_exact(&mut back))
        .await
        .unwrap();
    back
}

/// Everything until the connection ends.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    let _ = within("the end of a connection", stream.read_to_end(&mut rest)).await;
    rest
}

#[tokio::test]
async fn bytes_and_ends_pass_both_ways() {
    let proxy = Proxy::to(echo().await);
    let mut stream = connect(&proxy).await;
    assert_eq!(said(&mut stream, b"hello").await, b"hello");
    stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut stream).await, b"");
    assert_eq!((proxy.passed(Way::Up), proxy.passed(Way::Down)), (5, 5));
}

#[tokio::test]
async fn a_connection_is_cut_behind_the_byte() {
    for way in [Way::Up, Way::Down] {
        let proxy = Proxy::to(echo().await);
        let mut stream = connect(&proxy).await;
        assert_eq!(said(&mut stream, b"0123").await, b"0123");
        proxy.cut_after(way, 3);
        stream.write_all(b"456789").await.unwrap();
        let rest = rest(&mut stream).await;
        match way {
            // What was cut off on the way up may take its echo with it.
            Way::Up => assert!(b"456".starts_with(rest.as_slice())),
            Way::Down => assert_eq!(rest, b"456"),
        }
        assert_eq!((proxy.cut_at_byte(), proxy.passed(way)), (1, 7));
        let mut stream = connect(&proxy).await;
        assert_eq!(said(&mut stream, b"on").await, b"on", "once");
    }
}

#[tokio::test]
async fn a_held_way_keeps_what_comes_and_even_the_end() {
    let proxy = Proxy::to(echo().await);
    let mut stream = connect(&proxy).await;
    assert_eq!(said(&mut stream, b"a").await, b"a");
    proxy.hold(Way::Down);
    stream.write_all(b"bc").await.unwrap();
    let mut byte = [0];
    let early = tokio::time::timeout(Duration::from_millis(50), stream.read(&mut byte));
    assert!(early.await.is_err(), "nothing comes");
    proxy.release(Way::Down);
    stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut stream).await, b"bc");
}

#[tokio::test]
async fn delayed_bytes_come_late_and_in_order() {
    let proxy = Proxy::to(echo().await);
    let mut stream = connect(&proxy).await;
    proxy.delay(Way::Down, Duration::from_millis(300));
    let started = std::time::Instant::now();
    for piece in [b"ab", b"cd", b"ef"] {
        stream.write_all(piece).await.unwrap();
    }
    stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut stream).await, b"abcdef");
    assert!(started.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn a_question_or_its_answer_is_lost_with_the_connection() {
    for (loss, up) in [(Loss::Question, 0), (Loss::Answer, 6)] {
        let proxy = Proxy::to(echo().await);
        proxy.lose(loss, b"OMM", 1);
        let mut stream = connect(&proxy).await;
        stream.write_all(b"COMMIT").await.unwrap();
        assert_eq!(rest(&mut stream).await, b"");
        assert_eq!((proxy.still_to_lose(), proxy.passed(Way::Up)), (0, up));
        let mut stream = connect(&proxy).await;
        assert_eq!(said(&mut stream, b"COMMIT").await, b"COMMIT");
    }
}

#[tokio::test]
async fn nobody_is_let_through_while_it_is_away() {
    let proxy = Proxy::to(echo().await);
    let mut stream = connect(&proxy).await;
    assert_eq!(said(&mut stream, b"x").await, b"x");
    proxy.away();
    assert_eq!(rest(&mut stream).await, b"");
    assert_eq!(rest(&mut connect(&proxy).await).await, b"");
    proxy.back();
    assert_eq!(said(&mut connect(&proxy).await, b"y").await, b"y");
    proxy.cut();
    assert_eq!(said(&mut connect(&proxy).await, b"z").await, b"z");
}
