//! Server-sent events: bytes in, blocks out. Pure.

use crate::error::Error;

/// The largest line taken: an event of 64 KiB with its frame around it, and room.
const LINE_BYTES_MAX: usize = 512 * 1024;

/// One dispatched block.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Block {
    /// The `id:` of this very block; none when it has none.
    pub id: Option<String>,
    /// The `event:` field, empty when absent.
    pub event: String,
    /// The `data:` lines joined with line feeds.
    pub data: String,
    /// The `retry:` field in milliseconds.
    pub retry_ms: Option<u64>,
}

/// A parser that is fed with chunks as they come.
#[derive(Debug, Default)]
pub struct Parser {
    rest: Vec<u8>,
    block: Block,
    any: bool,
    data: bool,
}

impl Parser {
    /// A parser at the start of a stream.
    pub fn new() -> Parser {
        Parser::default()
    }

    /// Takes a chunk and appends the blocks that it completes. A block with `data`, or with `retry` alone,
    /// is given out; comments are not. [`Error::Unexpected`] for bytes that are no UTF-8 and endless lines.
    pub fn feed(&mut self, chunk: &[u8], out: &mut Vec<Block>) -> Result<(), Error> {
        self.rest.extend_from_slice(chunk);
        let mut taken = 0;
        while let Some(length) = self.rest[taken..].iter().position(|byte| *byte == b'\n') {
            let line = self.rest[taken..taken + length].to_vec();
            taken += length + 1;
            let line = line.strip_suffix(b"\r").unwrap_or(&line);
            let line = std::str::from_utf8(line)
                .map_err(|_| Error::Unexpected("an event stream that is no UTF-8".into()))?;
            self.line(line, out);
        }
        self.rest.drain(..taken);
        if self.rest.len() > LINE_BYTES_MAX {
            return Err(Error::Unexpected(
                "an endless line in an event stream".into(),
            ));
        }
        Ok(())
    }

    fn line(&mut self, line: &str, out: &mut Vec<Block>) {
        if line.is_empty() {
            let block = std::mem::take(&mut self.block);
            if self.any && (self.data || block.retry_ms.is_some()) {
                out.push(block);
            }
            (self.any, self.data) = (false, false);
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" if !value.contains('\0') => self.block.id = Some(value.to_owned()),
            "event" => self.block.event = value.to_owned(),
            "retry" => self.block.retry_ms = value.parse().ok(),
            "data" => {
                if self.data {
                    self.block.data.push('\n');
                }
                self.block.data.push_str(value);
                self.data = true;
            }
            _ => return,
        }
        self.any = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "retry: 500\n\n: hello\n\nid: s1\nevent: connected\ndata: {\"a\":1}\n\nid:s2\r\nevent:draw\r\ndata: x\r\ndata: y\r\n\r\nid: s3\n\n";

    #[test]
    fn blocks_come_out_whole_wherever_chunks_are_cut() {
        for size in 1..STREAM.len() {
            let mut parser = Parser::new();
            let mut blocks = Vec::new();
            for chunk in STREAM.as_bytes().chunks(size) {
                parser.feed(chunk, &mut blocks).unwrap();
            }
            assert_eq!(blocks.len(), 3, "chunks of {size}");
            assert_eq!(blocks[0].retry_ms, Some(500));
            assert_eq!(
                (blocks[1].id.as_deref(), blocks[1].event.as_str()),
                (Some("s1"), "connected")
            );
            assert_eq!(
                (blocks[2].id.as_deref(), blocks[2].data.as_str()),
                (Some("s2"), "x\ny")
            );
        }
    }

    #[test]
    fn an_unfinished_block_is_not_given_out() {
        let mut blocks = Vec::new();
        Parser::new()
            .feed(b"id: 1\ndata: x\n", &mut blocks)
            .unwrap();
        assert!(blocks.is_empty());
    }

    #[test]
    fn endless_lines_and_broken_text_end_the_stream() {
        let mut blocks = Vec::new();
        assert!(Parser::new().feed(b"data: \xff\n", &mut blocks).is_err());
        assert!(
            Parser::new()
                .feed(&vec![b'x'; LINE_BYTES_MAX + 1], &mut blocks)
                .is_err()
        );
    }
}
