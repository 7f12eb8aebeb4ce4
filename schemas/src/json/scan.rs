//! One pass over a JSON text: every rule of section 9, without recursion.
//!
//! The scanner owns nothing of the text. It walks values with an explicit stack, so depth costs
//! memory only up to the limit; keys are kept as positions and compared when their object closes.

use std::ops::Range;

use super::keys::Keys;
use super::number;
use super::text::{self, Text};
use super::{Fault, FaultAt};

/// A place in one JSON text.
#[derive(Debug)]
pub(crate) struct Scanner<'t> {
    text: &'t str,
    pos: usize,
    frames: Vec<Frame>,
    keys: Keys,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Object,
    List,
}

#[derive(Debug)]
struct Frame {
    kind: Kind,
    /// Whether a member was read: before it no comma stands.
    begun: bool,
    /// Where this object's keys begin.
    keys: super::keys::Mark,
}

/// Hears of every run of blanks outside strings.
trait Blanks {
    fn blank(&mut self, text: &[u8], run: Range<usize>);
}

struct Ignore;

impl Blanks for Ignore {
    fn blank(&mut self, _: &[u8], _: Range<usize>) {}
}

/// Collects everything but the blanks; collects nothing while there are none.
struct Squeeze {
    kept: Vec<u8>,
    from: usize,
}

impl Blanks for Squeeze {
    fn blank(&mut self, text: &[u8], run: Range<usize>) {
        self.kept.extend_from_slice(&text[self.from..run.start]);
        self.from = run.end;
    }
}

/// A value without blanks: a part of the text itself when it had none.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Compact {
    /// It was compact already.
    Same(Range<usize>),
    /// It had blanks.
    Squeezed(Vec<u8>),
}

impl<'t> Scanner<'t> {
    /// Starts at the first byte that is not blank. Refuses what is not UTF-8.
    pub(crate) fn new(text: &'t [u8]) -> Result<Scanner<'t>, FaultAt> {
        let text = std::str::from_utf8(text).map_err(|e| FaultAt {
            fault: Fault::Utf8,
            offset: e.valid_up_to(),
        })?;
        let mut scanner = Scanner {
            text,
            pos: 0,
            frames: Vec::new(),
            keys: Keys::default(),
        };
        scanner.blanks(&mut Ignore);
        Ok(scanner)
    }

    /// Whether an object begins here.
    pub(crate) fn at_object(&self) -> bool {
        self.peek() == Some(b'{')
    }

    /// Checks the value here; gives where it lies.
    pub(crate) fn value(&mut self, depth_max: usize) -> Result<Range<usize>, FaultAt> {
        self.walk(depth_max, &mut Ignore)
    }

    /// Checks the value here and takes its blanks out.
    pub(crate) fn compact(&mut self, depth_max: usize) -> Result<Compact, FaultAt> {
        let mut squeeze = Squeeze {
            kept: Vec::new(),
            from: self.pos,
        };
        let range = self.walk(depth_max, &mut squeeze)?;
        if squeeze.from == range.start {
            return Ok(Compact::Same(range));
        }
        squeeze
            .kept
            .extend_from_slice(&self.bytes()[squeeze.from..range.end]);
        Ok(Compact::Squeezed(squeeze.kept))
    }

    /// Steps into the object that begins here; the caller has seen [`Scanner::at_object`].
    pub(crate) fn open(&mut self) {
        self.pos += 1;
        self.push(Kind::Object);
    }

    /// The next key of the innermost open object, and stands at its value; `None` when the object
    /// has ended. The caller takes the value before it asks again.
    pub(crate) fn next_key(&mut self) -> Result<Option<Text<'t>>, FaultAt> {
        self.blanks(&mut Ignore);
        if self.peek() == Some(b'}') && self.frames.last().is_some_and(|f| f.kind == Kind::Object) {
            self.close()?;
            return Ok(None);
        }
        let begun = self
            .frames
            .last_mut()
            .is_some_and(|f| std::mem::replace(&mut f.begun, true));
        if begun {
            self.expect(b',')?;
            self.blanks(&mut Ignore);
        }
        let (inner, escaped) = self.key(&mut Ignore)?;
        Ok(Some(Text::new(self.text, inner, escaped)))
    }

    /// The string here, if one begins here.
    pub(crate) fn text(&mut self) -> Result<Option<Text<'t>>, FaultAt> {
        if self.peek() != Some(b'"') {
            return Ok(None);
        }
        let start = self.pos;
        let (end, escaped) = text::string(self.bytes(), start)?;
        self.pos = end;
        Ok(Some(Text::new(self.text, start + 1..end - 1, escaped)))
    }

    /// Where it stands.
    pub(crate) fn position(&self) -> usize {
        self.pos
    }

    /// The text between two positions.
    pub(crate) fn slice(&self, range: Range<usize>) -> &'t str {
        &self.text[range]
    }

    /// Makes sure that nothing but blanks is left.
    pub(crate) fn finish(mut self) -> Result<(), FaultAt> {
        self.blanks(&mut Ignore);
        if self.pos < self.text.len() {
            self.fault(Fault::Trailing)
        } else {
            Ok(())
        }
    }

    fn walk(&mut self, depth_max: usize, out: &mut impl Blanks) -> Result<Range<usize>, FaultAt> {
        let start = self.pos;
        let base = self.frames.len();
        loop {
            self.begin_value(base, depth_max, out)?;
            // A value has ended, or a list or object was opened and is not empty.
            loop {
                if self.frames.len() == base {
                    return Ok(start..self.pos);
                }
                self.blanks(out);
                if self.next_in_frame(out)? {
                    break;
                }
            }
        }
    }

    /// Reads a scalar, or the opening of a list or object.
    fn begin_value(
        &mut self,
        base: usize,
        depth_max: usize,
        out: &mut impl Blanks,
    ) -> Result<(), FaultAt> {
        match self.peek() {
            Some(b'"') => {
                let (end, _) = text::string(self.bytes(), self.pos)?;
                self.pos = end;
                Ok(())
            }
            Some(b'-' | b'0'..=b'9') => {
                self.pos = number::number(self.bytes(), self.pos)?;
                Ok(())
            }
            Some(open @ (b'{' | b'[')) => {
                if self.frames.len() - base >= depth_max {
                    return self.fault(Fault::Depth);
                }
                self.pos += 1;
                self.push(if open == b'{' {
                    Kind::Object
                } else {
                    Kind::List
                });
                self.blanks(out);
                Ok(())
            }
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => self.word(b"null"),
            _ => self.fault(Fault::Syntax),
        }
    }

    /// In an open list or object, at a comma, an end, or the first member: true when a value
    /// stands next, false when the frame has ended.
    fn next_in_frame(&mut self, out: &mut impl Blanks) -> Result<bool, FaultAt> {
        let Some(frame) = self.frames.last_mut() else {
            return self.fault(Fault::Syntax);
        };
        let kind = frame.kind;
        let begun = std::mem::replace(&mut frame.begun, true);
        let end = if kind == Kind::Object { b'}' } else { b']' };
        if self.peek() == Some(end) {
            self.close()?;
            return Ok(false);
        }
        if begun {
            self.expect(b',')?;
            self.blanks(out);
        }
        if kind == Kind::Object {
            self.key(out)?;
        }
        Ok(true)
    }

    /// Reads a key and its colon; gives what stands between the quotes, and whether it has escapes.
    fn key(&mut self, out: &mut impl Blanks) -> Result<(Range<usize>, bool), FaultAt> {
        if self.peek() != Some(b'"') {
            return self.fault(Fault::Syntax);
        }
        let start = self.pos;
        let (end, escaped) = text::string(self.bytes(), start)?;
        let inner = start + 1..end - 1;
        self.keys.add(self.bytes(), inner.clone(), escaped);
        self.pos = end;
        self.blanks(out);
        self.expect(b':')?;
        self.blanks(out);
        Ok((inner, escaped))
    }

    fn push(&mut self, kind: Kind) {
        self.frames.push(Frame {
            kind,
            begun: false,
            keys: self.keys.mark(),
        });
    }

    /// Ends the innermost frame, at its closing byte.
    fn close(&mut self) -> Result<(), FaultAt> {
        self.pos += 1;
        if let Some(frame) = self.frames.pop()
            && frame.kind == Kind::Object
            && let Some(offset) = self.keys.close(self.bytes(), frame.keys)
        {
            return Err(FaultAt {
                fault: Fault::DuplicateKey,
                offset,
            });
        }
        Ok(())
    }

    fn word(&mut self, word: &[u8]) -> Result<(), FaultAt> {
        if !self.bytes()[self.pos..].starts_with(word) {
            return self.fault(Fault::Syntax);
        }
        self.pos += word.len();
        Ok(())
    }

    fn expect(&mut self, byte: u8) -> Result<(), FaultAt> {
        if self.peek() != Some(byte) {
            return self.fault(Fault::Syntax);
        }
        self.pos += 1;
        Ok(())
    }

    fn blanks(&mut self, out: &mut impl Blanks) {
        // Almost never are there any.
        if self.peek().is_none_or(|byte| byte > b' ') {
            return;
        }
        let start = self.pos;
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.pos += 1;
        }
        if self.pos > start {
            out.blank(self.bytes(), start..self.pos);
        }
    }

    fn bytes(&self) -> &'t [u8] {
        self.text.as_bytes()
    }

    fn peek(&self) -> Option<u8> {
        self.bytes().get(self.pos).copied()
    }

    fn fault<T>(&self, fault: Fault) -> Result<T, FaultAt> {
        Err(FaultAt {
            fault,
            offset: self.pos,
        })
    }
}
