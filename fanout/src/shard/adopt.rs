//! How a connection comes to its shard: a WebSocket whose handshake is done, or a streamed answer.

use std::sync::Arc;

use mio::{Interest, Token};
use protocol::{Identity, close, server};

use super::{Shard, conn::Conn, conn::Phase, conn::Wire, deliver::line_of, out, ws::Ws};
use crate::{
    guard::Guard,
    mailbox::{Admission, NewConnection, NewStream},
    sub::SubKey,
};

impl Shard {
    pub(super) fn adopt(&mut self, new: NewConnection) {
        let socket = mio::net::TcpStream::from_std(new.socket);
        let ws = Ws::new(socket, new.early, &self.node.limits);
        let who = match &new.who {
            Admission::Known(who) => Some(Arc::clone(who)),
            _ => None,
        };
        let index = self.insert(new.id, who, Wire::Ws(ws), new.guard);
        self.node.metrics.websockets.inc();
        let conn = &mut self.conns[index];
        let serial = conn.serial;
        if let Wire::Ws(ws) = &mut conn.wire
            && let Err(error) = self.poll.registry().register(
                &mut ws.socket,
                Token(index),
                Interest::READABLE | Interest::WRITABLE,
            )
        {
            tracing::warn!(%error, "a socket cannot be watched");
            return self.forget(index);
        }
        match new.who {
            Admission::Known(_) => {
                self.greet(index);
                if let Some(sugar) = new.sugar {
                    self.sweeten(index, sugar);
                }
            }
            Admission::Awaited => {
                if let Some(sugar) = new.sugar {
                    self.awaited.insert(serial, sugar);
                }
            }
            Admission::Refused(error) => {
                self.say(
                    index,
                    line_of(server::error(None, None, &error, self.now_ms)),
                );
                self.close(
                    index,
                    error.name.close_code().unwrap_or(close::AUTH),
                    error.name.as_str(),
                );
            }
        }
        // What came with the handshake waits in the codec; a socket that is already readable tells so itself.
        self.unread.push(index);
    }

    pub(super) fn adopt_stream(&mut self, new: NewStream) {
        let wire = Wire::Http {
            pipe: Arc::clone(&new.pipe),
            form: new.form,
        };
        let index = self.insert(new.id, Some(new.who), wire, new.guard);
        self.node.metrics.streams.inc();
        let key = self.conns[index].key(index);
        if !new.pipe.owned_by(key) || self.drain.is_some() {
            new.pipe.finish();
            return self.forget(index);
        }
        let mut chunks = Vec::with_capacity(new.subs.len());
        for (mut sub, chunk) in new.subs {
            self.serials += 1;
            sub.serial = self.serials;
            sub.next = chunk.start;
            let sub_key = SubKey {
                conn: key,
                serial: sub.serial,
            };
            self.seat(&mut sub, sub_key);
            chunks.push((sub_key, chunk));
            self.conns[index].subs.push(sub);
            self.node.metrics.subscriptions.inc();
        }
        self.greet(index);
        for (sub, chunk) in chunks {
            self.pulled(sub, Ok(chunk));
        }
    }

    pub(super) fn insert(
        &mut self,
        id: Box<str>,
        who: Option<Arc<Identity>>,
        wire: Wire,
        guard: Guard,
    ) -> usize {
        self.serials += 1;
        self.conns.insert(Conn {
            serial: self.serials,
            id,
            who,
            wire,
            subs: Vec::new(),
            out: out::Out::default(),
            conflated: Vec::new(),
            opened: self.now,
            heard: self.now,
            spoke: self.now,
            beat: self.now,
            stuck_since: None,
            turn: 0,
            pulling: 0,
            waiting: 0,
            asking: 0,
            methods: None,
            malformed: None,
            phase: Phase::Open,
            answered: false,
            told_expiring: false,
            dirty: false,
            _guard: guard,
        })
    }
}
