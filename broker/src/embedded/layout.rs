//! How the records of a partition lie on disk: keys that sort as it does, and values that carry what searches need.
//!
//! Key: the offset, big-endian. Value: a version byte, the timestamp, the
//! highest timestamp up to here, the stored bytes of all records before, then key, value and headers,
//! each length as a little-endian u32 with `u32::MAX` for "none". Both running numbers grow with the
//! offset, so age, size and time are found by bisection, whatever the clock did.

use std::sync::Arc;

use bytes::{BufMut, Bytes};

use crate::{Append, Record};

pub(crate) const KEY_LEN: usize = 8;
const VERSION: u8 = 1;
const NONE: u32 = u32::MAX;
const FIXED: usize = 25;

/// The key of one offset. Offsets are not negative.
pub(crate) fn key(offset: i64) -> [u8; KEY_LEN] {
    offset.to_be_bytes()
}

/// The offset in a key.
pub(crate) fn offset(key: &[u8]) -> Option<i64> {
    key.try_into().ok().map(i64::from_be_bytes)
}

/// The running numbers of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Marks {
    pub(crate) timestamp_ms: i64,
    /// The highest timestamp of this record and all before it.
    pub(crate) highest_ms: i64,
    /// Stored bytes of all records before this one.
    pub(crate) bytes_before: u64,
}

/// What a record counts for: key, value and headers, and a little for each.
pub(crate) fn weight(record: &Append) -> usize {
    let headers: usize = record
        .headers
        .iter()
        .map(|(name, value)| name.len() + value.len() + 8)
        .sum();
    record.key.as_ref().map_or(0, Bytes::len)
        + record.value.as_ref().map_or(0, Bytes::len)
        + headers
        + FIXED
}

pub(crate) fn encode(record: &Append, marks: Marks) -> Vec<u8> {
    let mut out = Vec::with_capacity(weight(record) + 12);
    out.put_u8(VERSION);
    out.put_i64_le(marks.timestamp_ms);
    out.put_i64_le(marks.highest_ms);
    out.put_u64_le(marks.bytes_before);
    put(&mut out, record.key.as_deref());
    put(&mut out, record.value.as_deref());
    for (name, value) in &record.headers {
        put(&mut out, Some(name.as_bytes()));
        put(&mut out, Some(value));
    }
    out
}

fn put(out: &mut Vec<u8>, part: Option<&[u8]>) {
    // Records are bounded far below 4 GiB before they come here.
    out.put_u32_le(part.map_or(NONE, |bytes| u32::try_from(bytes.len()).unwrap_or(NONE)));
    out.put_slice(part.unwrap_or_default());
}

/// The running numbers alone, without touching the rest.
pub(crate) fn marks(stored: &[u8]) -> Option<Marks> {
    let number = |from: usize| {
        stored
            .get(from..from + 8)?
            .try_into()
            .ok()
            .map(u64::from_le_bytes)
    };
    if stored.first() != Some(&VERSION) {
        return None;
    }
    Some(Marks {
        timestamp_ms: number(1)?.cast_signed(),
        highest_ms: number(9)?.cast_signed(),
        bytes_before: number(17)?,
    })
}

/// The key and whether there is a value, for compaction.
pub(crate) fn key_and_tombstone(stored: &Bytes) -> Option<(Option<Bytes>, bool)> {
    let mut at = FIXED;
    let key = take(stored, &mut at)?;
    let value = take(stored, &mut at)?;
    Some((key, value.is_none()))
}

/// The whole record; its parts share `stored`. `None`: not something `encode` made.
pub(crate) fn decode(
    topic: &Arc<str>,
    partition: i32,
    offset: i64,
    stored: &Bytes,
) -> Option<Record> {
    let marks = marks(stored)?;
    let mut at = FIXED;
    let key = take(stored, &mut at)?;
    let value = take(stored, &mut at)?;
    let mut headers = Vec::new();
    while at < stored.len() {
        let name = take(stored, &mut at)??;
        let value = take(stored, &mut at)??;
        headers.push((String::from_utf8(name.to_vec()).ok()?, value));
    }
    Some(Record {
        topic: Arc::clone(topic),
        partition,
        offset,
        timestamp_ms: marks.timestamp_ms,
        key,
        headers,
        value,
    })
}

/// The next part. Outer `None`: malformed; inner `None`: the part is absent.
fn take(stored: &Bytes, at: &mut usize) -> Option<Option<Bytes>> {
    let len = u32::from_le_bytes(stored.get(*at..*at + 4)?.try_into().ok()?);
    *at += 4;
    if len == NONE {
        return Some(None);
    }
    let end = at.checked_add(len as usize)?;
    if end > stored.len() {
        return None;
    }
    let part = stored.slice(*at..end);
    *at = end;
    Some(Some(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(key: Option<&'static str>, value: Option<&'static str>) -> Append {
        Append {
            topic: "t".into(),
            partition: 3,
            key: key.map(Bytes::from),
            headers: vec![("a".into(), Bytes::from("1")), ("a".into(), Bytes::new())],
            value: value.map(Bytes::from),
        }
    }

    #[test]
    fn every_record_comes_back_as_it_was() {
        let marks = Marks {
            timestamp_ms: -5,
            highest_ms: 7,
            bytes_before: 9,
        };
        for (key, value) in [
            (None, None),
            (Some(""), Some("")),
            (Some("k"), None),
            (None, Some("v")),
        ] {
            let record = append(key, value);
            let stored = Bytes::from(encode(&record, marks));
            assert_eq!(super::marks(&stored), Some(marks));
            let back = decode(&record.topic, 3, 42, &stored).unwrap();
            assert_eq!(
                (back.key, back.value, back.offset, back.timestamp_ms),
                (record.key, record.value, 42, -5)
            );
            assert_eq!(
                back.headers,
                [
                    ("a".to_owned(), Bytes::from("1")),
                    ("a".to_owned(), Bytes::new())
                ]
            );
        }
    }

    #[test]
    fn a_cut_or_altered_record_is_never_taken_for_another() {
        let whole = Bytes::from(encode(
            &append(Some("key"), Some("value")),
            Marks::default(),
        ));
        for len in 0..whole.len() {
            let cut = whole.slice(..len);
            let back = decode(&"t".into(), 0, 0, &cut);
            // Cut exactly between two headers, fewer headers remain; the store's checksums see that.
            assert!(
                back.is_none() || back.is_some_and(|r| r.headers.len() < 2),
                "{len}"
            );
        }
        let mut wild = whole.to_vec();
        wild[FIXED..FIXED + 4].copy_from_slice(&(u32::MAX - 1).to_le_bytes());
        assert!(decode(&"t".into(), 0, 0, &Bytes::from(wild)).is_none());
    }

    #[test]
    fn keys_sort_as_the_log_does() {
        let mut keys = [key(256), key(0), key(i64::MAX), key(255), key(1)];
        keys.sort_unstable();
        let order: Vec<_> = keys.iter().map(|key| offset(key).unwrap()).collect();
        assert_eq!(order, [0, 1, 255, 256, i64::MAX]);
    }
}
