//! Socket.IO 4 over WebSocket alone, as `bench/peers/socketio/server.js` means its events.

use std::net::SocketAddr;

use super::{Dialect, Heard, Who};
use crate::ws;

/// What stands before the payload of an event.
const EVENT: &[u8] = br#"42["event","#;

/// Speaks to a Socket.IO server.
#[derive(Debug)]
pub struct SocketIo {
    address: SocketAddr,
    pong: Vec<u8>,
}

impl SocketIo {
    /// Where it listens.
    pub fn new(address: SocketAddr) -> SocketIo {
        let mut pong = Vec::new();
        ws::write(ws::TEXT, b"3", &mut pong);
        SocketIo { address, pong }
    }
}

impl Dialect for SocketIo {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn upgrade(&self, _: &Who) -> Vec<u8> {
        ws::upgrade("/socket.io/?EIO=4&transport=websocket", "")
    }

    fn join(&self, who: &Who, out: &mut Vec<u8>) {
        // The server's open packet is on its way already, and says nothing that is needed here.
        let Who { user, channel, .. } = who;
        let connect = if who.member {
            format!(r#"40{{"user":"u{user}","room":"b{channel}"}}"#)
        } else {
            format!(r#"40{{"user":"u{user}"}}"#)
        };
        ws::write(ws::TEXT, connect.as_bytes(), out);
    }

    fn hear(&self, frame: &[u8], _: &mut Vec<u8>, told: &mut dyn FnMut(Heard<'_>)) {
        told(match frame {
            event if event.starts_with(EVENT) => Heard::Event {
                payload: &event[EVENT.len()..],
                message: event,
            },
            // A ping of engine.io.
            b"2" => Heard::Reply(&self.pong),
            // Said by the server once the room has the client.
            br#"42["joined"]"# => Heard::Joined,
            // The open packet of engine.io, and the answer to the connect packet.
            [b'0', b'{', ..] | [b'4', b'0', ..] => Heard::Nothing,
            other => Heard::Complaint(other),
        });
    }

    fn publish(&self, who: &Who, payload: &[u8], out: &mut Vec<u8>) {
        let mut message = format!(r#"42["publish","b{}","#, who.channel).into_bytes();
        message.extend_from_slice(payload);
        message.push(b']');
        ws::write(ws::TEXT, &message, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Mark;

    fn hear(frame: &str) -> String {
        let dialect = SocketIo::new(([127, 0, 0, 1], 1).into());
        let mut heard = Vec::new();
        dialect.hear(frame.as_bytes(), &mut Vec::new(), &mut |what| {
            heard.push(match what {
                Heard::Event { payload, .. } => format!("{:?}", Mark::read(payload)),
                Heard::Reply(bytes) => format!("reply {}", bytes.len()),
                Heard::Complaint(_) => "complaint".into(),
                other => format!("{other:?}"),
            });
        });
        heard.join(" ")
    }

    #[test]
    fn what_the_server_says_is_understood() {
        let open = r#"0{"sid":"mOo-MXyWJWpBVNaKAAAA","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;
        assert_eq!(hear(open), "Nothing");
        assert_eq!(hear(r#"40{"sid":"Jtwjo9QCLpCyGJBkAAAB"}"#), "Nothing");
        assert_eq!(hear(r#"42["joined"]"#), "Joined");
        assert_eq!(hear("2"), "reply 7");
        let mark = Mark {
            sender: 3,
            number: 9,
            due_ns: 77,
        };
        let event = r#"42["event",{"s":3,"n":9,"t":77,"p":"xx"}]"#;
        assert_eq!(hear(event), format!("{:?}", Some(mark)));
        assert_eq!(hear("41"), "complaint");
        assert_eq!(hear(r#"44{"message":"no"}"#), "complaint");
    }

    #[test]
    fn a_publisher_asks_for_no_room() {
        let dialect = SocketIo::new(([127, 0, 0, 1], 1).into());
        let said = |member| {
            let who = Who {
                user: 5,
                channel: 2,
                channels: 1,
                member,
                since: None,
            };
            let mut out = Vec::new();
            dialect.join(&who, &mut out);
            out.len()
        };
        assert_eq!(said(true), said(false) + r#","room":"b2""#.len());
    }
}
