//! What is queued for one connection: shared messages, framed at the last moment and written together.

use std::{
    collections::VecDeque,
    io::{self, Write},
};

use bytes::Bytes;

/// Payload bytes packed into one WebSocket frame, unless one message is larger.
const FRAME_MAX: usize = 64 * 1024;
/// Bytes put together for one write. What the socket does not take of them is this connection's own memory, while what
/// still waits in the queue is shared with others.
const WRITE_MAX: usize = 64 * 1024;

/// What the reason of a close holds.
pub(crate) const REASON_MAX: usize = 123;

/// What a message is to the subscription that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owed {
    /// The subscription's serial.
    pub(crate) sub: u64,
    /// Where the subscription goes on from for whoever got everything before this message. `None`: nowhere, it is told
    /// of its beginning only now.
    pub(crate) from: Option<i64>,
}

#[derive(Debug)]
struct Queued {
    message: Bytes,
    owed: Option<Owed>,
}

/// The queue of one connection. Empty, it holds no memory.
#[derive(Debug, Default)]
pub(crate) struct Out {
    /// Whole messages, each ending in a newline.
    queue: VecDeque<Queued>,
    queued: usize,
    /// Control frames, ready made: they go between messages.
    control: Vec<u8>,
    /// Framed bytes that the socket did not take yet.
    partial: Vec<u8>,
    /// Goes out after everything else; nothing follows it.
    close: Option<Vec<u8>>,
}

/// How a flush ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// Nothing is left.
    Empty,
    /// The socket is full.
    Blocked { progress: bool },
}

impl Out {
    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.queued + self.partial.len()
    }

    /// The socket did not take everything the last time.
    pub(crate) fn is_blocked(&self) -> bool {
        !self.partial.is_empty()
    }

    pub(crate) fn push(&mut self, message: Bytes) {
        self.queued += message.len();
        self.queue.push_back(Queued {
            message,
            owed: None,
        });
        service::planted!("two_swapped", every 50, {
            if let Some(before) = self.queue.len().checked_sub(2) {
                self.queue.swap(before, before + 1);
            }
        });
    }

    /// The message that was queued last belongs to a subscription.
    pub(crate) fn owe(&mut self, owed: Owed) {
        if let Some(last) = self.queue.back_mut() {
            last.owed = Some(owed);
        }
    }

    /// The first of the subscription's messages that no byte of has been framed yet: everything before it reaches the
    /// client before whatever is said from now on.
    pub(crate) fn unsent(&self, sub: u64) -> Option<Owed> {
        let mut owed = self.queue.iter().filter_map(|queued| queued.owed);
        owed.find(|owed| owed.sub == sub)
    }

    pub(crate) fn push_control(&mut self, frame: &[u8]) {
        self.control.extend_from_slice(frame);
    }

    /// The last thing this connection says.
    pub(crate) fn finish(&mut self, frame: Vec<u8>) {
        self.close.get_or_insert(frame);
    }

    /// Forgets the messages that have not begun to be written.
    pub(crate) fn clear(&mut self) {
        self.queue = VecDeque::new();
        self.queued = 0;
    }

    /// The messages, for a wire that does its own framing.
    pub(crate) fn take(&mut self) -> Option<Bytes> {
        let message = self.queue.pop_front()?.message;
        self.queued -= message.len();
        Some(message)
    }

    /// Writes as much as the socket takes: all that is queued in as few writes as there are blocks of 64 KiB.
    pub(crate) fn flush(
        &mut self,
        socket: &mut impl Write,
        scratch: &mut Vec<u8>,
    ) -> io::Result<Flushed> {
        let mut progress = false;
        if !self.partial.is_empty() {
            let written = write_some(socket, &self.partial)?;
            progress = written > 0;
            self.partial.drain(..written);
            if !self.partial.is_empty() {
                return Ok(Flushed::Blocked { progress });
            }
            self.partial = Vec::new();
        }
        loop {
            self.frame(scratch);
            if scratch.is_empty() {
                if self.queue.capacity() > 32 {
                    self.queue = VecDeque::new();
                }
                return Ok(Flushed::Empty);
            }
            let written = write_some(socket, scratch)?;
            progress |= written > 0;
            if written < scratch.len() {
                self.partial = scratch[written..].to_vec();
                return Ok(Flushed::Blocked { progress });
            }
        }
    }

    fn frame(&mut self, scratch: &mut Vec<u8>) {
        scratch.clear();
        if !self.control.is_empty() {
            scratch.append(&mut self.control);
        }
        while scratch.len() < WRITE_MAX && !self.queue.is_empty() {
            let mut payload = 0;
            let mut count = 0;
            for Queued { message, .. } in &self.queue {
                if count > 0 && payload + message.len() > FRAME_MAX {
                    break;
                }
                payload += message.len();
                count += 1;
            }
            // The newline of the last message is left out: one message in a frame is just its JSON.
            text_header(scratch, payload - 1);
            for queued in self.queue.drain(..count) {
                scratch.extend_from_slice(&queued.message);
            }
            scratch.pop();
            self.queued -= payload;
        }
        if self.queue.is_empty()
            && let Some(close) = self.close.take()
        {
            scratch.extend_from_slice(&close);
        }
    }
}

fn write_some(socket: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match socket.write(&bytes[written..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => written += n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}

/// The header of an unfragmented, unmasked text frame (RFC 6455, section 5.2).
fn text_header(into: &mut Vec<u8>, payload: usize) {
    into.push(0x81);
    match payload {
        0..=125 => into.push(payload as u8),
        126..=0xffff => {
            into.push(126);
            into.extend_from_slice(&(payload as u16).to_be_bytes());
        }
        _ => {
            into.push(127);
            into.extend_from_slice(&(payload as u64).to_be_bytes());
        }
    }
}

/// A close frame; the reason is cut to what a control frame holds.
pub(crate) fn close_frame(code: u16, reason: &str) -> Vec<u8> {
    let mut end = reason.len().min(REASON_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let reason = &reason.as_bytes()[..end];
    let mut frame = vec![0x88, (reason.len() + 2) as u8];
    frame.extend_from_slice(&code.to_be_bytes());
    frame.extend_from_slice(reason);
    frame
}

/// An empty ping frame.
pub(crate) const PING: [u8; 2] = [0x89, 0x00];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio_tungstenite::tungstenite::{
        Error, Message,
        protocol::{Role, WebSocketContext},
    };

    use super::*;

    /// A socket that takes as many bytes as it is told to, then blocks.
    struct Narrow {
        taken: Vec<u8>,
        room: usize,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let n = bytes.len().min(self.room);
            if n == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.room -= n;
            self.taken.extend_from_slice(&bytes[..n]);
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Bytes to read; what the codec writes (pongs) is of no interest.
    struct Incoming(io::Cursor<Vec<u8>>);

    impl io::Read for Incoming {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.0.read(into)
        }
    }

    impl Write for Incoming {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What a WebSocket client makes of the bytes: the lines of all text messages, and the close code.
    fn read(bytes: Vec<u8>) -> (Vec<String>, Option<u16>) {
        let mut codec = WebSocketContext::new(Role::Client, None);
        let mut stream = Incoming(io::Cursor::new(bytes));
        let mut lines = Vec::new();
        loop {
            match codec.read(&mut stream) {
                Ok(Message::Text(text)) => {
                    lines.extend(text.as_str().split('\n').map(str::to_owned))
                }
                Ok(Message::Close(frame)) => return (lines, frame.map(|f| f.code.into())),
                Ok(_) => {}
                Err(Error::ConnectionClosed) | Err(Error::Protocol(_)) | Err(Error::Io(_)) => {
                    return (lines, None);
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_the_socket_takes_at_a_time_the_client_reads_every_line_once_in_order(
            sizes in prop::collection::vec(1usize..70_000, 1..12),
            rooms in prop::collection::vec(1usize..200_000, 1..12),
            pinged in any::<bool>(),
        ) {
            let lines: Vec<String> = sizes
                .iter()
                .enumerate()
                .map(|(i, size)| format!("{i}:{}", "x".repeat(*size)))
                .collect();
            let mut out = Out::default();
            let mut socket = Narrow { taken: Vec::new(), room: 0 };
            let mut scratch = Vec::new();
            let mut rooms = rooms.into_iter().cycle();
            for line in &lines {
                out.push(Bytes::from(format!("{line}\n")));
                if pinged {
                    out.push_control(&PING);
                }
                socket.room = rooms.next().unwrap_or(1);
                out.flush(&mut socket, &mut scratch).unwrap();
            }
            out.finish(close_frame(3001, "bye"));
            loop {
                socket.room = rooms.next().unwrap_or(1);
                if out.flush(&mut socket, &mut scratch).unwrap() == Flushed::Empty {
                    break;
                }
            }
            prop_assert_eq!(out.bytes(), 0);
            let (read, code) = read(socket.taken);
            prop_assert_eq!(read, lines);
            prop_assert_eq!(code, Some(3001));
        }
    }

    #[test]
    fn a_message_counts_as_sent_once_its_first_byte_is_framed() {
        let mut out = Out::default();
        for at in 0..4 {
            out.push(Bytes::from(format!("{}\n", "x".repeat(40_000))));
            out.owe(Owed {
                sub: at as u64 % 2,
                from: Some(at),
            });
        }
        let from = |out: &Out, sub| out.unsent(sub).map(|owed| owed.from);
        assert_eq!(
            (from(&out, 0), from(&out, 1)),
            (Some(Some(0)), Some(Some(1)))
        );
        // Blocks of 64 KiB: the first two frames are made together, and taken in part.
        let mut socket = Narrow {
            taken: Vec::new(),
            room: 10,
        };
        out.flush(&mut socket, &mut Vec::new()).unwrap();
        assert_eq!(
            (from(&out, 0), from(&out, 1)),
            (Some(Some(2)), Some(Some(3)))
        );
        // So it is in front of a close.
        out.clear();
        out.finish(close_frame(3008, "here"));
        socket.room = usize::MAX;
        assert_eq!(
            out.flush(&mut socket, &mut Vec::new()).unwrap(),
            Flushed::Empty
        );
        let (lines, code) = read(socket.taken);
        assert_eq!((lines.len(), code), (2, Some(3008)));
        assert_eq!((from(&out, 0), from(&out, 1)), (None, None));
    }

    #[test]
    fn a_close_reason_is_cut_at_a_character_to_what_a_control_frame_holds() {
        let frame = close_frame(3008, &"ä".repeat(100));
        assert!(frame.len() <= 127);
        assert!(std::str::from_utf8(&frame[4..]).is_ok());
    }
}
