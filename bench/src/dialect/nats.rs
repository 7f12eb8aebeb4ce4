//! NATS: its protocol of lines is a stream, which WebSocket frames cut anywhere.

use std::net::SocketAddr;

use super::{Dialect, Heard, Who};
use crate::ws;

/// Speaks to `nats-server`.
#[derive(Debug)]
pub struct Nats {
    address: SocketAddr,
    pong: Vec<u8>,
}

impl Nats {
    /// Where its WebSocket listens.
    pub fn new(address: SocketAddr) -> Nats {
        let mut pong = Vec::new();
        ws::write(ws::BINARY, b"PONG\r\n", &mut pong);
        Nats { address, pong }
    }
}

impl Dialect for Nats {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn upgrade(&self, _: &Who) -> Vec<u8> {
        ws::upgrade("/", "")
    }

    fn join(&self, who: &Who, out: &mut Vec<u8>) {
        let Who { user, channel, .. } = who;
        let mut said = format!(
            r#"CONNECT {{"verbose":false,"pedantic":false,"lang":"rust","version":"1","protocol":1,"name":"u{user}"}}"#
        );
        said.push_str("\r\n");
        if who.member {
            said.push_str(&format!("SUB b{channel} 1\r\n"));
        }
        // Commands are taken in order: the answer says that the subscription stands.
        said.push_str("PING\r\n");
        ws::write(ws::BINARY, said.as_bytes(), out);
    }

    fn hear(&self, frame: &[u8], rest: &mut Vec<u8>, told: &mut dyn FnMut(Heard<'_>)) {
        if rest.is_empty() {
            let taken = self.take(frame, told);
            rest.extend_from_slice(&frame[taken..]);
        } else {
            rest.extend_from_slice(frame);
            let taken = self.take(rest, told);
            rest.drain(..taken);
        }
    }

    fn publish(&self, who: &Who, payload: &[u8], out: &mut Vec<u8>) {
        let mut message = format!("PUB b{} {}\r\n", who.channel, payload.len()).into_bytes();
        message.extend_from_slice(payload);
        message.extend_from_slice(b"\r\n");
        ws::write(ws::BINARY, &message, out);
    }
}

impl Nats {
    /// Tells what is complete at the beginning of the stream; how many bytes that was.
    fn take(&self, stream: &[u8], told: &mut dyn FnMut(Heard<'_>)) -> usize {
        let mut taken = 0;
        while let Some(end) = memchr::memchr(b'\n', &stream[taken..]) {
            let start = taken;
            taken += end + 1;
            let line = stream[start..taken].trim_ascii_end();
            if let Some(head) = line.strip_prefix(b"MSG ") {
                let Some(length) = length(head) else {
                    told(Heard::Complaint(line));
                    continue;
                };
                // After the payload comes the end of its line.
                if stream.len() < taken + length + 2 {
                    return start;
                }
                told(Heard::Event {
                    payload: &stream[taken..taken + length],
                    message: &stream[taken..taken + length],
                });
                taken += length + 2;
                continue;
            }
            told(match line {
                b"PING" => Heard::Reply(&self.pong),
                b"PONG" => Heard::Joined,
                b"+OK" => Heard::Nothing,
                info if info.starts_with(b"INFO ") => Heard::Nothing,
                other => Heard::Complaint(other),
            });
        }
        taken
    }
}

/// The last word of a message's line: `<subject> <subscription> [<reply to>] <bytes>`.
fn length(head: &[u8]) -> Option<usize> {
    let at = memchr::memrchr(b' ', head)? + 1;
    std::str::from_utf8(&head[at..]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Mark;

    const SAID: &str = concat!(
        r#"INFO {"server_id":"NB2","version":"2.9.10","proto":1,"headers":true,"max_payload":1048576,"client_id":5}"#,
        " \r\nPONG\r\nMSG b1 1 29\r\n",
        r#"{"s":3,"n":9,"t":77,"p":"xx"}"#,
        "\r\nPING\r\nMSG b1 1 28\r\n",
        r#"{"s":3,"n":10,"t":78,"p":""}"#,
        "\r\n-ERR 'Slow Consumer'\r\n",
    );

    fn hear(frames: &[&[u8]]) -> Vec<String> {
        let dialect = Nats::new(([127, 0, 0, 1], 1).into());
        let mut rest = Vec::new();
        let mut heard = Vec::new();
        for frame in frames {
            dialect.hear(frame, &mut rest, &mut |what| {
                heard.push(match what {
                    Heard::Event { payload, .. } => {
                        format!("{}", Mark::read(payload).unwrap().number)
                    }
                    Heard::Reply(_) => "reply".into(),
                    Heard::Complaint(_) => "complaint".into(),
                    other => format!("{other:?}"),
                });
            });
        }
        assert!(rest.is_empty());
        heard
    }

    #[test]
    fn what_the_server_says_is_understood_however_frames_cut_it() {
        let said = SAID.as_bytes();
        let expected = ["Nothing", "Joined", "9", "reply", "10", "complaint"];
        assert_eq!(hear(&[said]), expected);
        for cut in 1..said.len() {
            let (first, second) = said.split_at(cut);
            assert_eq!(hear(&[first, second]), expected, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = said.chunks(1).collect();
        assert_eq!(hear(&bytes), expected);
    }
}
