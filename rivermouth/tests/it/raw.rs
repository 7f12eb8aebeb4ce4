//! A WebSocket made of bytes, for frames that no library would send.

use testbed::{Node, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) struct RawSocket {
    tcp: TcpStream,
    read: Vec<u8>,
}

impl RawSocket {
    /// Connected and upgraded at `/ws`; with a token, or without any credential.
    pub(crate) async fn open(node: &Node, token: Option<&str>) -> RawSocket {
        let address = node.url().strip_prefix("http://").unwrap();
        let mut tcp = TcpStream::connect(address).await.unwrap();
        let bearer = token
            .map(|token| format!(", bearer.{token}"))
            .unwrap_or_default();
        let head = format!(
            "GET /ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: rivermouth.v1{bearer}\r\n\r\n"
        );
        tcp.write_all(head.as_bytes()).await.unwrap();
        let mut socket = RawSocket {
            tcp,
            read: Vec::new(),
        };
        let end = loop {
            if let Some(at) = socket
                .read
                .windows(4)
                .position(|window| window == b"\r\n\r\n")
            {
                break at + 4;
            }
            assert!(socket.more().await, "the handshake was cut");
        };
        let head = String::from_utf8(socket.read.drain(..end).collect()).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        socket
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        // A server that has already closed takes no more; its close frame is what the test looks at.
        let _ = self.tcp.write_all(bytes).await;
    }

    /// Sends a masked frame with this first byte.
    pub(crate) async fn frame(&mut self, first: u8, payload: &[u8]) {
        self.send(&frame(first, payload)).await;
    }

    /// Reads to the close frame: its code, and all text before it.
    pub(crate) async fn closed(mut self) -> (u16, String) {
        let reading = async {
            let mut text = String::new();
            loop {
                while let Some((opcode, payload)) = self.take_frame() {
                    match opcode {
                        1 => text.push_str(&(String::from_utf8(payload).unwrap() + "\n")),
                        8 => return (u16::from_be_bytes([payload[0], payload[1]]), text),
                        _ => {}
                    }
                }
                assert!(
                    self.more().await,
                    "the connection ended without a close frame after {text}"
                );
            }
        };
        within("a close", reading).await
    }

    async fn more(&mut self) -> bool {
        let mut chunk = [0; 16 * 1024];
        match within("bytes", self.tcp.read(&mut chunk)).await {
            Ok(0) | Err(_) => false,
            Ok(count) => {
                self.read.extend_from_slice(&chunk[..count]);
                true
            }
        }
    }

    /// A whole frame of the server, which never masks and never splits.
    fn take_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let (first, second) = (*self.read.first()?, *self.read.get(1)?);
        let (start, length) = match second & 0x7f {
            126 => (
                4,
                usize::from(u16::from_be_bytes(self.read.get(2..4)?.try_into().ok()?)),
            ),
            127 => (
                10,
                usize::try_from(u64::from_be_bytes(self.read.get(2..10)?.try_into().ok()?)).ok()?,
            ),
            short => (2, usize::from(short)),
        };
        let payload = self.read.get(start..start + length)?.to_vec();
        self.read.drain(..start + length);
        Some((first & 0x0f, payload))
    }
}

/// A masked frame, as a client has to send it.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..=125 => bytes.push(0x80 | u8::try_from(short).unwrap()),
        middle @ 126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(middle).unwrap().to_be_bytes());
        }
        long => {
            bytes.push(0x80 | 127);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    let mask = [1, 2, 3, 4];
    bytes.extend(mask);
    bytes.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    bytes
}
