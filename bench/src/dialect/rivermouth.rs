//! Ourselves, through the WebSocket of `docs/PROTOCOL.md`.

use std::net::SocketAddr;

use memchr::memmem::{self, Finder};
use testbed::Token;

use super::{Dialect, Heard, Who};
use crate::ws;

/// Speaks protocol version 1 as JSON.
#[derive(Debug)]
pub struct Rivermouth {
    address: SocketAddr,
    /// One for every user, made beforehand.
    tokens: Vec<String>,
    /// Asks for an answer to every publish.
    pub acknowledged: bool,
    data: Finder<'static>,
}

impl Rivermouth {
    /// `mint` gives a token to be filled in for a user's name.
    pub fn new(address: SocketAddr, users: u32, mint: impl Fn(&str) -> Token) -> Rivermouth {
        let tokens = (0..users)
            .map(|user| mint(&format!("u{user}")).role("session.*", "player").mint())
            .collect();
        Rivermouth {
            address,
            tokens,
            acknowledged: false,
            data: Finder::new(br#""data":{"s":"#),
        }
    }
}

/// The name of a channel.
pub fn channel(number: u32) -> String {
    format!("session.b{number}")
}

/// The name that the load's events have.
pub const EVENT: &str = "bench.tick";

impl Dialect for Rivermouth {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn upgrade(&self, who: &Who) -> Vec<u8> {
        let token = &self.tokens[who.user as usize];
        let protocols = format!("Sec-WebSocket-Protocol: rivermouth.v1, bearer.{token}\r\n");
        ws::upgrade("/ws", &protocols)
    }

    fn join(&self, who: &Who, out: &mut Vec<u8>) {
        if !who.member {
            let ping = r#"{"type":"request","id":"j","method":"ping"}"#;
            return ws::write(ws::TEXT, ping.as_bytes(), out);
        }
        let since = match &who.since {
            Some(cursor) => format!(r#","since":"{cursor}""#),
            None => String::new(),
        };
        for number in who.channel..who.channel + who.channels {
            let channel = channel(number);
            let request = format!(
                r#"{{"type":"request","id":"j","method":"subscribe","params":{{"channel":"{channel}"{since}}}}}"#
            );
            ws::write(ws::TEXT, request.as_bytes(), out);
        }
    }

    fn hear(&self, frame: &[u8], _: &mut Vec<u8>, told: &mut dyn FnMut(Heard<'_>)) {
        let mut rest = frame;
        while !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let (message, after) = rest.split_at(end);
            rest = after.get(1..).unwrap_or_default();
            told(self.message(message));
        }
    }

    fn publish(&self, who: &Who, payload: &[u8], out: &mut Vec<u8>) {
        let channel = channel(who.channel);
        let mut message = Vec::with_capacity(payload.len() + 120);
        if self.acknowledged {
            message.extend_from_slice(
                br#"{"type":"request","id":"p","method":"publish","params":{"channel":""#,
            );
        } else {
            message.extend_from_slice(br#"{"type":"event","channel":""#);
        }
        message.extend_from_slice(channel.as_bytes());
        message.extend_from_slice(br#"","event":"bench.tick","data":"#);
        message.extend_from_slice(payload);
        message.extend_from_slice(if self.acknowledged { b"}}" } else { b"}" });
        ws::write(ws::TEXT, &message, out);
    }

    fn cursor(&self, message: &[u8]) -> Option<String> {
        let start = memmem::find(message, br#""cursor":""#)? + 10;
        let length = memchr::memchr(b'"', &message[start..])?;
        String::from_utf8(message[start..start + length].to_vec()).ok()
    }
}

impl Rivermouth {
    fn message<'a>(&self, message: &'a [u8]) -> Heard<'a> {
        if message.starts_with(br#"{"type":"event","channel""#)
            && let Some(at) = self.data.find(message)
        {
            return Heard::Event {
                payload: &message[at + 7..],
                message,
            };
        }
        let has = |text: &str| memmem::find(message, text.as_bytes()).is_some();
        if message.starts_with(br#"{"type":"response""#) {
            return if has(r#""id":"p""#) {
                Heard::Acknowledged
            } else {
                Heard::Joined
            };
        }
        match [
            "caught_up",
            "connected",
            "heartbeat",
            "lagging",
            "stale",
            "fresh",
        ]
        .iter()
        .position(|name| has(&format!(r#""event":"{name}""#)))
        {
            Some(0) => Heard::Level,
            // Falling behind is no fault, nor is a Kafka that takes its time: what is missing comes later.
            Some(_) => Heard::Nothing,
            None => Heard::Complaint(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Mark;

    #[test]
    fn what_the_server_says_is_understood() {
        let rivermouth = Rivermouth {
            address: ([127, 0, 0, 1], 1).into(),
            tokens: Vec::new(),
            acknowledged: false,
            data: Finder::new(br#""data":{"s":"#),
        };
        let mut data = Vec::new();
        let mark = Mark {
            sender: 3,
            number: 9,
            due_ns: 77,
        };
        mark.write(80, &mut data);
        let data = String::from_utf8(data).unwrap();
        let event = format!(
            r#"{{"type":"event","channel":"session.b1","event":"bench.tick","data":{data},"cursor":"abc","prev":null}}"#
        );
        let frame = format!(
            "{event}\n{}\n{}\n{}\n{}",
            r#"{"type":"event","event":"caught_up","channel":"x"}"#,
            r#"{"type":"response","id":"p","data":{}}"#,
            r#"{"type":"event","channel":"x","event":"fresh"}"#,
            r#"{"type":"event","channel":"x","event":"gap","data":{}}"#,
        );
        let mut heard = Vec::new();
        rivermouth.hear(frame.as_bytes(), &mut Vec::new(), &mut |what| {
            heard.push(match what {
                Heard::Event { payload, message } => {
                    format!("{:?} {:?}", Mark::read(payload), rivermouth.cursor(message))
                }
                Heard::Level => "level".into(),
                Heard::Acknowledged => "acknowledged".into(),
                Heard::Complaint(_) => "complaint".into(),
                other => format!("{other:?}"),
            });
        });
        let expected = format!("{:?} {:?}", Some(mark), Some("abc".to_owned()));
        assert_eq!(
            heard,
            [
                expected.as_str(),
                "level",
                "acknowledged",
                "Nothing",
                "complaint"
            ]
        );
    }
}
