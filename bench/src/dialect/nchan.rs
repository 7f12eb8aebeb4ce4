//! nchan, the module of nginx: a frame is a message, nothing around it.

use std::net::SocketAddr;

use super::{Dialect, Heard, Who};
use crate::payload::START;
use crate::ws;

/// Speaks to the places that `crate::peers` configures.
#[derive(Debug)]
pub struct Nchan {
    /// Where it listens.
    pub address: SocketAddr,
}

impl Dialect for Nchan {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn upgrade(&self, who: &Who) -> Vec<u8> {
        let place = if who.member { "member" } else { "publisher" };
        ws::upgrade(&format!("/{place}?id=b{}", who.channel), "")
    }

    fn join(&self, _: &Who, _: &mut Vec<u8>) {}

    /// It answers the upgrade when the channel has the subscriber.
    fn joined_by_upgrade(&self, _: &Who) -> bool {
        true
    }

    fn hear(&self, frame: &[u8], _: &mut Vec<u8>, told: &mut dyn FnMut(Heard<'_>)) {
        told(if frame.starts_with(START) {
            Heard::Event {
                payload: frame,
                message: frame,
            }
        } else if frame.starts_with(b"queued messages: ") {
            // What a publisher that is no subscriber is told after each message.
            Heard::Nothing
        } else {
            Heard::Complaint(frame)
        });
    }

    fn publish(&self, _: &Who, payload: &[u8], out: &mut Vec<u8>) {
        ws::write(ws::TEXT, payload, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_says_is_understood() {
        let dialect = Nchan {
            address: ([127, 0, 0, 1], 1).into(),
        };
        let hear = |frame: &[u8]| {
            let mut heard = Vec::new();
            dialect.hear(frame, &mut Vec::new(), &mut |what| {
                heard.push(match what {
                    Heard::Event { .. } => "event".to_owned(),
                    Heard::Complaint(_) => "complaint".to_owned(),
                    other => format!("{other:?}"),
                });
            });
            heard.join(" ")
        };
        assert_eq!(hear(br#"{"s":3,"n":9,"t":77,"p":"xx"}"#), "event");
        let receipt = b"queued messages: 1\r\nlast requested: 1 sec. ago\r\nactive subscribers: 1\r\nlast message id: 1795278295:0";
        assert_eq!(hear(receipt), "Nothing");
        assert_eq!(hear(b"internal server error"), "complaint");
    }
}
