//! Credentials and frames that end a connection, with the code that says why.

use client::{Credential, ServerMessage, Socket, SocketOptions};
use serde_json::json;
use testbed::{Bed, Node, within};

use crate::BINARY;
use crate::bad::none_algorithm;
use crate::raw::{RawSocket, frame};
use crate::talk::Talk;

#[tokio::test(flavor = "multi_thread")]
async fn bad_credentials_and_broken_frames_end_the_connection_with_their_code() {
    let bed = Bed::on_kafka(BINARY).await;
    let node = bed.start("fanout").await;
    let mut bystander = Talk::open(&node, &bed.gm("bystander")).await;
    bystander.subscribe(json!({"channel": "session.1"})).await;
    credentials(&bed, &node).await;
    origins(&bed, &node).await;
    frames(&bed, &node).await;
    // All of that cost nobody else anything.
    bystander.quiet().await;
}

async fn credentials(bed: &Bed, node: &Node) {
    let good = bed.gm("u1");
    let tampered = {
        let (head, signature) = good.rsplit_once('.').unwrap();
        format!("{head}.{}", signature.chars().rev().collect::<String>())
    };
    for (token, code, name) in [
        ("nonsense".to_owned(), 3500, "AUTH_REQUIRED"),
        (tampered, 3500, "AUTH_REQUIRED"),
        (none_algorithm(&good), 3500, "AUTH_REQUIRED"),
        (bed.token("u1").expires_in(-5).mint(), 3501, "TOKEN_EXPIRED"),
    ] {
        for credential in [
            Credential::Header(token.clone()),
            Credential::Subprotocol(token.clone()),
        ] {
            let socket = Socket::handshake(
                &node.endpoint(),
                "/ws",
                &credential,
                &SocketOptions::default(),
            )
            .await;
            let mut socket = socket.unwrap();
            match within("an error", socket.next()).await.unwrap() {
                ServerMessage::Error { refusal, .. } => assert_eq!(refusal.name, name, "{token}"),
                other => panic!("{other:?}"),
            }
            within("a close", socket.next()).await.unwrap_err();
            assert_eq!(socket.close_frame().unwrap().0, code, "{token}");
        }
    }
    // Without any credential nothing but `connect` is heard.
    let mut socket = RawSocket::open(node, None).await;
    socket
        .frame(0x81, br#"{"type":"request","id":"1","method":"ping"}"#)
        .await;
    let (code, said) = socket.closed().await;
    assert_eq!(code, 3500, "{said}");
    let mut socket = RawSocket::open(node, None).await;
    socket.frame(0x81, &[b' '; 9 * 1024]).await;
    let (code, said) = socket.closed().await;
    assert!(
        code == 1009 && said.contains("MESSAGE_TOO_LARGE"),
        "{code} {said}"
    );
}

async fn origins(bed: &Bed, node: &Node) {
    let good = bed.gm("u1");
    let origin = |origin: &str| SocketOptions {
        origin: Some(origin.to_owned()),
        ..SocketOptions::default()
    };
    let credential = Credential::Subprotocol(good.clone());
    for bad in [
        "https://evil.example",
        "null",
        "http://app.example.org",
        "https://app.example.org.evil",
        "https://app.example.org:444",
    ] {
        let refused = Socket::open(&node.endpoint(), "/ws", &credential, &origin(bad))
            .await
            .unwrap_err();
        assert_eq!(
            refused.name(),
            Some("PERMISSION_DENIED"),
            "{bad}: {refused}"
        );
    }
    Socket::open(
        &node.endpoint(),
        "/ws",
        &credential,
        &origin("https://app.example.org"),
    )
    .await
    .unwrap();
    let refused = Socket::open(
        &node.endpoint(),
        &format!("/ws?token={good}"),
        &credential,
        &SocketOptions::default(),
    )
    .await;
    assert_eq!(
        refused.unwrap_err().name(),
        Some("AUTH_REQUIRED"),
        "a token in the query refuses whatever else there is"
    );
}

async fn frames(bed: &Bed, node: &Node) {
    let good = bed.gm("u1");
    let ping = br#"{"type":"request","id":"1","method":"ping"}"#;
    let mut unmasked = vec![0x81, u8::try_from(ping.len()).unwrap()];
    unmasked.extend(ping);
    let huge = [
        vec![0x81, 0xff],
        (1u64 << 40).to_be_bytes().to_vec(),
        vec![1, 2, 3, 4],
    ]
    .concat();
    let fragments: Vec<u8> = (0..9)
        .flat_map(|at| frame(if at == 0 { 0x01 } else { 0x00 }, &[b'x'; 32 * 1024]))
        .collect();
    for (what, bytes, codes) in [
        ("unmasked", unmasked, [1002, 1002]),
        ("reserved bits", frame(0xc1, ping), [1002, 1002]),
        ("an unknown opcode", frame(0x83, ping), [1002, 1002]),
        ("a long control frame", frame(0x89, &[0; 126]), [1002, 1002]),
        ("a split control frame", frame(0x09, b"x"), [1002, 1002]),
        ("a continuation of nothing", frame(0x80, ping), [1002, 1002]),
        (
            "broken UTF-8",
            frame(0x81, &[b'"', 0xff, 0xfe, b'"']),
            [1007, 1007],
        ),
        ("a binary frame", frame(0x82, ping), [1003, 1003]),
        (
            "a frame over the limit",
            frame(0x81, &vec![b' '; 262_145]),
            [1009, 1009],
        ),
        ("a length that nobody means", huge, [1009, 1009]),
        ("fragments over the limit", fragments, [1009, 1009]),
        (
            "a hundred unreadable messages",
            frame(0x81, "{\n".repeat(100).as_bytes()),
            [1008, 1008],
        ),
    ] {
        let mut socket = RawSocket::open(node, Some(&good)).await;
        socket.send(&bytes).await;
        let (code, said) = socket.closed().await;
        assert!(
            codes.contains(&code),
            "{what}: closed with {code} after {said}"
        );
    }
}
