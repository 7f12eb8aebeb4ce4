//! The headers that mean something to us, read once, and what they say.

use bytes::Bytes;

use crate::{Outbox, Poison, PoisonReason, valid_id};

const TRACEPARENT_LEN_MAX: usize = 128;

/// Raw values of the headers we know; all others are carried by the record and mean nothing.
#[derive(Debug, Default)]
pub(crate) struct Headers<'a> {
    pub(crate) channel: Option<&'a Bytes>,
    pub(crate) content_type: Option<&'a Bytes>,
    pub(crate) value_schema_id: Option<&'a Bytes>,
    pub(crate) ce_specversion: Option<&'a Bytes>,
    pub(crate) ce_type: Option<&'a Bytes>,
    pub(crate) ce_id: Option<&'a Bytes>,
    pub(crate) ce_source: Option<&'a Bytes>,
    pub(crate) ce_userid: Option<&'a Bytes>,
    producer: Option<&'a Bytes>,
    epoch: Option<&'a Bytes>,
    seq: Option<&'a Bytes>,
    traceparent: Option<&'a Bytes>,
}

impl<'a> Headers<'a> {
    /// Picks the headers we know. A header given twice with two meanings is poison: one reader
    /// would take the first, another the last.
    pub(crate) fn read(headers: &'a [(String, Bytes)]) -> Result<Headers<'a>, Poison> {
        let mut known = Headers::default();
        for (name, value) in headers {
            let (slot, reason) = match name.as_str() {
                "rm-channel" => (&mut known.channel, PoisonReason::BadChannel),
                "rm-producer" => (&mut known.producer, PoisonReason::BadOutbox),
                "rm-epoch" => (&mut known.epoch, PoisonReason::BadOutbox),
                "rm-seq" => (&mut known.seq, PoisonReason::BadOutbox),
                "ce_specversion" => (&mut known.ce_specversion, PoisonReason::BadCloudEvent),
                "ce_type" => (&mut known.ce_type, PoisonReason::BadCloudEvent),
                "ce_id" => (&mut known.ce_id, PoisonReason::BadCloudEvent),
                "ce_source" => (&mut known.ce_source, PoisonReason::BadCloudEvent),
                "ce_userid" => (&mut known.ce_userid, PoisonReason::BadCloudEvent),
                "__value_schema_id" => (&mut known.value_schema_id, PoisonReason::BadAvro),
                "traceparent" => {
                    known.traceparent = Some(value);
                    continue;
                }
                _ if name.eq_ignore_ascii_case("content-type") => {
                    known.content_type = Some(value);
                    continue;
                }
                _ => continue,
            };
            if slot.replace(value).is_some_and(|earlier| earlier != value) {
                return Err(Poison::new(reason, format!("header {name} occurs twice")));
            }
        }
        Ok(known)
    }

    /// The outbox's identity: all three headers or none.
    pub(crate) fn outbox(&self) -> Result<Option<Outbox>, Poison> {
        let bad = |what: &str| Poison::new(PoisonReason::BadOutbox, what);
        let (producer, epoch, seq) = match (self.producer, self.epoch, self.seq) {
            (None, None, None) => return Ok(None),
            (Some(producer), Some(epoch), Some(seq)) => (producer, epoch, seq),
            _ => return Err(bad("rm-producer, rm-epoch and rm-seq belong together")),
        };
        let producer = std::str::from_utf8(producer)
            .ok()
            .filter(|name| valid_id(name))
            .ok_or_else(|| bad("rm-producer is not [A-Za-z0-9_:@~.-]{1,64}"))?;
        let number = |value, what| count(value).ok_or_else(|| bad(what));
        Ok(Some(Outbox {
            producer: producer.to_owned(),
            epoch: number(epoch, "rm-epoch is not a number from 0 to 2^53-1")?,
            seq: number(seq, "rm-seq is not a number from 0 to 2^53-1")?,
        }))
    }

    /// The trace context; one that cannot be is left out, as the W3C rules ask.
    pub(crate) fn traceparent(&self) -> Option<String> {
        let value = std::str::from_utf8(self.traceparent?).ok()?;
        let sane = !value.is_empty()
            && value.len() <= TRACEPARENT_LEN_MAX
            && value.bytes().all(|b| b.is_ascii_graphic());
        sane.then(|| value.to_owned())
    }

    /// Whether the value is a structured CloudEvent.
    pub(crate) fn is_structured_cloudevent(&self) -> bool {
        const STRUCTURED: &[u8] = b"application/cloudevents+json";
        self.content_type.is_some_and(|value| {
            let media = value.split(|b| *b == b';').next().unwrap_or_default();
            media.trim_ascii().eq_ignore_ascii_case(STRUCTURED)
        })
    }
}

/// Decimal digits and nothing else.
fn count(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(value).ok()?.parse().ok()?;
    (number <= Outbox::MAX).then_some(number)
}
