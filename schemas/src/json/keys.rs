//! The keys of the objects that are open: found twice or not, in one buffer for all of them.

use std::ops::Range;

use super::text::unescape;

/// Up to this many keys each is compared with each; beyond it they are sorted.
const PAIRWISE_MAX: usize = 8;
/// Room for the keys of an event and of its data: what most texts need, made once.
const USUAL: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Keys {
    spans: Vec<Span>,
    /// Unescaped copies of the keys that had escapes.
    copies: Vec<u8>,
}

/// Where an object's keys begin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    spans: usize,
    copies: usize,
}

#[derive(Debug)]
struct Span {
    /// Where the key stands in the text.
    offset: usize,
    /// Keys that differ here differ; see [`tag`].
    tag: u64,
    /// Where its unescaped bytes lie: in the text, or in `copies`.
    from: usize,
    len: usize,
    copied: bool,
}

impl Keys {
    pub(super) fn mark(&self) -> Mark {
        Mark {
            spans: self.spans.len(),
            copies: self.copies.len(),
        }
    }

    /// Adds a key of the innermost object; `inner` is what stands between its quotes in `text`.
    pub(super) fn add(&mut self, text: &[u8], inner: Range<usize>, escaped: bool) {
        if self.spans.is_empty() {
            self.spans.reserve(USUAL);
        }
        let offset = inner.start - 1;
        let (home, from) = if escaped {
            let from = self.copies.len();
            self.copies
                .extend_from_slice(unescape(&text[inner.clone()]).as_bytes());
            (self.copies.as_slice(), from..self.copies.len())
        } else {
            (text, inner)
        };
        self.spans.push(Span {
            offset,
            tag: tag(&home[from.clone()]),
            from: from.start,
            len: from.len(),
            copied: escaped,
        });
    }

    /// Forgets the keys of the object that began at `mark`; gives the place of one that occurred
    /// before, if any.
    pub(super) fn close(&mut self, text: &[u8], mark: Mark) -> Option<usize> {
        let Keys { spans, copies } = self;
        let bytes = |span: &Span| {
            let home = if span.copied { copies.as_slice() } else { text };
            &home[span.from..span.from + span.len]
        };
        let own = &mut spans[mark.spans..];
        let twice = if own.len() <= PAIRWISE_MAX {
            own.iter()
                .enumerate()
                .find(|(i, span)| {
                    let same = |other| bytes(other) == bytes(span);
                    own[..*i]
                        .iter()
                        .any(|other| other.tag == span.tag && same(other))
                })
                .map(|(_, span)| span.offset)
        } else {
            own.sort_unstable_by(|a, b| bytes(a).cmp(bytes(b)).then(a.offset.cmp(&b.offset)));
            own.windows(2)
                .filter(|pair| bytes(&pair[0]) == bytes(&pair[1]))
                .map(|pair| pair[1].offset)
                .min()
        };
        spans.truncate(mark.spans);
        self.copies.truncate(mark.copies);
        twice
    }
}

/// The length of a key and as many of its first bytes as fit beside it: two numbers tell most keys apart.
fn tag(key: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let head = key.len().min(7);
    bytes[..head].copy_from_slice(&key[..head]);
    bytes[7] = key.len() as u8;
    u64::from_le_bytes(bytes)
}
