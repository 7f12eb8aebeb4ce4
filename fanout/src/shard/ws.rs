//! The WebSocket wire: a socket of this shard, and RFC 6455 done by tungstenite on bytes we hand it.
//!
//! The reading side keeps no buffer per connection: bytes are read into the shard's, and only what is left of
//! an unfinished message stays in the codec.

use std::io::{self, Read, Write};

use mio::net::TcpStream;
use protocol::{Limits, close};
use tokio_tungstenite::tungstenite::{
    self, Message,
    protocol::{Role, WebSocketConfig, WebSocketContext},
};

/// Bytes read at once.
pub(super) const READ_MAX: usize = 16 * 1024;
/// Reads of one connection in one turn; after that the others have theirs.
const READS_MAX: usize = 8;

/// A WebSocket of this shard.
pub(crate) struct Ws {
    pub(super) socket: TcpStream,
    codec: Box<WebSocketContext>,
    /// Bytes that came with the handshake.
    early: Vec<u8>,
    /// The codec has met broken framing: it must not be read again (it keeps the bad header and asserts), what
    /// still comes is thrown away.
    broken: bool,
}

impl std::fmt::Debug for Ws {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ws")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

/// What the client sent.
pub(super) enum Inbound {
    /// A text message: one or several lines.
    Text(tungstenite::Utf8Bytes),
    /// A binary message, which is not spoken here.
    Binary,
    /// A pong, or a ping that was answered: the client lives.
    Alive,
    /// The client closes.
    Close,
}

/// How a turn of reading ended.
pub(super) enum Turn {
    /// Nothing is left for now.
    Dry,
    /// There is more: give it another turn.
    More,
    /// The connection is over.
    Eof,
    /// The framing is broken; close with this code.
    Broken(u16, &'static str),
}

impl Ws {
    pub(super) fn new(socket: TcpStream, early: Vec<u8>, limits: &Limits) -> Self {
        let config = WebSocketConfig::default()
            // Allocated at once for every connection (128 KiB unless said): small, requests are.
            .read_buffer_size(1024)
            .write_buffer_size(0)
            .max_write_buffer_size(64 * 1024)
            .max_message_size(Some(limits.frame_bytes_max))
            .max_frame_size(Some(limits.frame_bytes_max));
        Self {
            socket,
            codec: Box::new(WebSocketContext::new(Role::Server, Some(config))),
            early,
            broken: false,
        }
    }

    /// Nothing more of the client is understood: after our close frame only the end of the stream is waited for.
    pub(super) fn end_if_broken(&self) {
        if self.broken {
            // Already gone is as good.
            drop(self.socket.shutdown(std::net::Shutdown::Write));
        }
    }

    /// The client took too little for too long: what the system still holds for it is thrown away with the socket.
    pub(super) fn reset(&self) {
        if let Err(error) =
            socket2::SockRef::from(&self.socket).set_linger(Some(std::time::Duration::ZERO))
        {
            tracing::debug!(%error, "a socket cannot be reset");
        }
    }

    /// Reads what there is, up to a turn's worth, and hands each message to `take`. Control frames that the codec
    /// answers itself (pongs, the echo of a close) are put into `control`.
    pub(super) fn read(
        &mut self,
        scratch: &mut [u8],
        control: &mut Vec<u8>,
        mut take: impl FnMut(Inbound),
    ) -> Turn {
        if !self.early.is_empty() {
            let early = std::mem::take(&mut self.early);
            if let Some(broken) = self.decode(&early, control, &mut take) {
                return broken;
            }
        }
        for _ in 0..READS_MAX {
            match self.socket.read(scratch) {
                Ok(0) => return Turn::Eof,
                Ok(n) => {
                    if let Some(broken) = self.decode(&scratch[..n], control, &mut take) {
                        return broken;
                    }
                    if n < scratch.len() {
                        // Edge-triggered: only "would block" proves that the socket is empty.
                        continue;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Turn::Dry,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Turn::Eof,
            }
        }
        Turn::More
    }

    fn decode(
        &mut self,
        input: &[u8],
        control: &mut Vec<u8>,
        take: &mut impl FnMut(Inbound),
    ) -> Option<Turn> {
        if self.broken {
            return None;
        }
        let mut stream = Lent {
            input,
            output: control,
        };
        loop {
            match self.codec.read(&mut stream) {
                Ok(Message::Text(text)) => take(Inbound::Text(text)),
                Ok(Message::Binary(_)) => take(Inbound::Binary),
                Ok(Message::Ping(_) | Message::Pong(_)) => {
                    if self.codec.flush(&mut stream).is_err() {
                        return Some(Turn::Eof);
                    }
                    take(Inbound::Alive);
                }
                Ok(Message::Close(_)) => {
                    take(Inbound::Close);
                    // The echo of the close goes out with the next step of the codec.
                    drop(self.codec.flush(&mut stream));
                    return None;
                }
                Ok(Message::Frame(_)) => {}
                Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    return None;
                }
                Err(error) => {
                    self.broken = true;
                    return Some(broken(&error));
                }
            }
        }
    }
}

fn broken(error: &tungstenite::Error) -> Turn {
    use tungstenite::Error;
    match error {
        Error::Capacity(_) => Turn::Broken(close::TOO_LARGE, "the message is too large"),
        Error::Utf8(_) => Turn::Broken(close::BAD_DATA, "a text message must be UTF-8"),
        Error::Protocol(_) => Turn::Broken(close::PROTOCOL, "broken WebSocket framing"),
        _ => Turn::Eof,
    }
}

/// The bytes just read, and a place for the codec's own answers, as the stream it expects.
struct Lent<'a> {
    input: &'a [u8],
    output: &'a mut Vec<u8>,
}

impl Read for Lent<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.input.read(into)
    }
}

impl Write for Lent<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A socket that nobody speaks through: what is tested takes its bytes by hand.
    fn ws() -> (Ws, std::net::TcpListener) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        socket.set_nonblocking(true).unwrap();
        let limits = Limits::default();
        let ws = Ws::new(TcpStream::from_std(socket), Vec::new(), &limits);
        (ws, listener)
    }

    /// A masked frame, as a client has to send it.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first];
        match payload.len() {
            short @ 0..=125 => bytes.push(0x80 | short as u8),
            long => {
                bytes.push(0x80 | 126);
                bytes.extend((long as u16).to_be_bytes());
            }
        }
        let mask = [7, 1, 2, 3];
        bytes.extend(mask);
        bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
        bytes
    }

    /// Feeds `bytes` in pieces of these sizes; what was heard, and how the framing ended if it broke.
    fn feed(bytes: &[u8], pieces: &[usize]) -> (Vec<String>, usize, Option<u16>) {
        let (mut ws, _listener) = ws();
        let mut control = Vec::new();
        let (mut texts, mut alive, mut broken) = (Vec::new(), 0, None);
        let mut rest = bytes;
        let mut pieces = pieces.iter().cycle();
        while !rest.is_empty() {
            let (piece, later) = rest.split_at((*pieces.next().unwrap()).min(rest.len()));
            rest = later;
            let turn = ws.decode(piece, &mut control, &mut |inbound| match inbound {
                Inbound::Text(text) => texts.push(text.as_str().to_owned()),
                Inbound::Alive => alive += 1,
                Inbound::Binary => texts.push("binary".to_owned()),
                Inbound::Close => texts.push("close".to_owned()),
            });
            if let Some(Turn::Broken(code, _)) = turn {
                assert!(
                    broken.replace(code).is_none(),
                    "broken framing is told once"
                );
            }
        }
        (texts, alive, broken)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn however_the_bytes_are_cut_the_same_messages_are_heard(
            messages in prop::collection::vec((0u8..4, ".{0,200}"), 1..12),
            pieces in prop::collection::vec(1usize..300, 1..8),
            closes: bool,
        ) {
            let (mut bytes, mut texts, mut pings) = (Vec::new(), Vec::new(), 0);
            for (kind, text) in &messages {
                match kind {
                    0 => {
                        pings += 1;
                        bytes.extend(frame(0x89, b"p"));
                    }
                    // In two fragments, cut anywhere: also inside a letter.
                    1 => {
                        let cut = text.len() / 2;
                        bytes.extend(frame(0x01, &text.as_bytes()[..cut]));
                        bytes.extend(frame(0x80, &text.as_bytes()[cut..]));
                        texts.push(text.clone());
                    }
                    _ => {
                        bytes.extend(frame(0x81, text.as_bytes()));
                        texts.push(text.clone());
                    }
                }
            }
            if closes {
                bytes.extend(frame(0x88, &1000u16.to_be_bytes()));
                texts.push("close".to_owned());
            }
            prop_assert_eq!(feed(&bytes, &pieces), (texts, pings, None));
        }

        #[test]
        fn no_bytes_whatever_make_it_panic_and_after_broken_framing_nothing_is_heard(
            good in ".{0,50}",
            garbage in prop::collection::vec(any::<u8>(), 0..400),
            pieces in prop::collection::vec(1usize..60, 1..8),
        ) {
            let mut bytes = frame(0x81, good.as_bytes());
            bytes.extend(&garbage);
            let (texts, _, _) = feed(&bytes, &pieces);
            prop_assert_eq!(texts.first(), Some(&good));
            // An unmasked frame breaks the framing; what follows it is not understood any more.
            let mut bytes = frame(0x81, good.as_bytes());
            bytes.extend([0x81, 0x01, b'x']);
            bytes.extend(frame(0x81, b"after"));
            let (texts, _, broken) = feed(&bytes, &pieces);
            prop_assert_eq!((texts, broken), (vec![good], Some(close::PROTOCOL)));
        }
    }
}
