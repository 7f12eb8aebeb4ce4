//! Avro: the envelope as a datum, its schema named by a registry id or by a fingerprint.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use apache_avro::Schema;
use apache_avro::rabin::Rabin;
use apache_avro::reader::datum::GenericDatumReader;
use bytes::Bytes;

use super::avro_schema::{self, Refusal};
use super::avro_value::{Record, Seen};
use super::{Parts, bad_event, data, event_name, id, lane, without_nul};
use crate::{Poison, PoisonReason, Undecoded};

/// The envelope's schema, `schemas/avro/event.avsc`.
pub const EVENT_AVSC: &str = include_str!("../../avro/event.avsc");

/// No single string or list of a datum may claim more than this.
const ALLOCATION_BYTES_MAX: usize = 1 << 20;
/// Schema ids remembered; records may name any id, so absent ones must not pile up.
const SCHEMAS_MAX: usize = 10_000;
/// An error of the Avro library may quote a whole schema; logs get so much of it.
const DETAIL_LEN_MAX: usize = 200;

const CONFLUENT_MAGIC: u8 = 0;
const SINGLE_OBJECT_MAGIC: [u8; 2] = [0xc3, 0x01];

struct Envelope {
    schema: Schema,
    fingerprint: [u8; 8],
}

static ENVELOPE: LazyLock<Envelope> = LazyLock::new(|| {
    let schema = Schema::parse_str(EVENT_AVSC).expect("our own schema is Avro, as tests show");
    let mut fingerprint = [0; 8];
    fingerprint.copy_from_slice(&schema.fingerprint::<Rabin>().bytes);
    Envelope {
        schema,
        fingerprint,
    }
});

/// How a record says which schema its datum has, and where the datum begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// An id of the schema registry.
    Registry { id: u32, datum_at: usize },
    /// CRC-64-AVRO of the schema's canonical form, little-endian.
    SingleObject { fingerprint: [u8; 8] },
}

impl Framing {
    /// Looks at the header, then at the first bytes; `None` is not Avro.
    pub(crate) fn of(header: Option<&Bytes>, value: &[u8]) -> Result<Option<Framing>, Poison> {
        let bad = |what: &str| Poison::new(PoisonReason::BadAvro, what);
        if let Some(header) = header {
            let id = header_id(header).ok_or_else(|| {
                bad("__value_schema_id is not a numeric schema id; guids are not read")
            })?;
            return Ok(Some(Framing::Registry { id, datum_at: 0 }));
        }
        match *value {
            [CONFLUENT_MAGIC, a, b, c, d, ..] => Ok(Some(Framing::Registry {
                id: u32::from_be_bytes([a, b, c, d]),
                datum_at: 5,
            })),
            [CONFLUENT_MAGIC, ..] => Err(bad("the schema id is cut off")),
            [first, second, ..] if [first, second] == SINGLE_OBJECT_MAGIC => {
                let fingerprint = *value[2..]
                    .first_chunk()
                    .ok_or_else(|| bad("the schema fingerprint is cut off"))?;
                Ok(Some(Framing::SingleObject { fingerprint }))
            }
            _ => Ok(None),
        }
    }
}

/// The id as Confluent's clients frame it (0, then four bytes), as four bytes, or as digits.
fn header_id(header: &[u8]) -> Option<u32> {
    if !header.is_empty() && header.iter().all(u8::is_ascii_digit) {
        return std::str::from_utf8(header).ok()?.parse().ok();
    }
    match *header {
        [CONFLUENT_MAGIC, a, b, c, d] | [a, b, c, d] => Some(u32::from_be_bytes([a, b, c, d])),
        _ => None,
    }
}

/// The schemas known so far; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Avro {
    known: Arc<RwLock<HashMap<u32, Known>>>,
}

#[derive(Debug, Clone)]
enum Known {
    Schema(Arc<Schema>),
    Absent,
    Refused(String),
}

impl Avro {
    pub(crate) fn new() -> Avro {
        // The library keeps one limit for the whole process; whoever asks first sets it.
        apache_avro::util::max_allocation_bytes(ALLOCATION_BYTES_MAX);
        Avro {
            known: Arc::default(),
        }
    }

    pub(crate) fn add(&self, id: u32, json: &str) -> Result<(), String> {
        match avro_schema::parse(json) {
            Ok(schema) => {
                self.remember(id, Known::Schema(Arc::new(schema)));
                Ok(())
            }
            Err(Refusal { why, cause }) => {
                let told = match cause {
                    Some(cause) => format!("{why}: {}", short(&cause)),
                    None => why.clone(),
                };
                self.remember(id, Known::Refused(why));
                Err(told)
            }
        }
    }

    pub(crate) fn mark_absent(&self, id: u32) {
        self.remember(id, Known::Absent);
    }

    fn remember(&self, id: u32, what: Known) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= SCHEMAS_MAX {
            // Asking the registry again is the worst that forgetting costs.
            known.retain(|_, what| matches!(what, Known::Schema(_)));
            if known.len() >= SCHEMAS_MAX {
                known.clear();
            }
        }
        known.insert(id, what);
    }

    /// Reads the datum of a framed value.
    pub(crate) fn read(&self, framing: Framing, value: &[u8]) -> Result<Parts, Undecoded> {
        match framing {
            Framing::SingleObject { fingerprint } => {
                if fingerprint != ENVELOPE.fingerprint {
                    let detail = "the fingerprint is not the envelope's";
                    return Err(Poison::new(PoisonReason::UnknownSchema, detail).into());
                }
                let datum = &value[SINGLE_OBJECT_MAGIC.len() + 8..];
                Ok(read(&ENVELOPE.schema, "the envelope's schema", datum)?)
            }
            Framing::Registry { id, datum_at } => {
                let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
                let schema = match known.get(&id) {
                    None => return Err(Undecoded::UnknownSchema(id)),
                    Some(Known::Schema(schema)) => Arc::clone(schema),
                    Some(Known::Absent) => {
                        let detail = format!("the registry has no schema {id}");
                        return Err(Poison::new(PoisonReason::UnknownSchema, detail).into());
                    }
                    Some(Known::Refused(why)) => {
                        let detail = format!("schema {id}: {why}");
                        return Err(Poison::new(PoisonReason::RefusedSchema, detail).into());
                    }
                };
                drop(known);
                Ok(read(
                    &schema,
                    format_args!("schema {id}"),
                    &value[datum_at..],
                )?)
            }
        }
    }
}

/// Reads a datum by its writer's schema and takes from it what the envelope has, by field name.
/// Fields we do not know are skipped, nullable ones may be missing: writers may evolve.
///
/// The library's errors say where in the library they arose, so a refusal is told in our words.
fn read(schema: &Schema, its_name: impl fmt::Display, mut datum: &[u8]) -> Result<Parts, Poison> {
    let bad = |detail| Poison::new(PoisonReason::BadAvro, detail);
    let reader = GenericDatumReader::builder(schema)
        .build()
        .map_err(|_| bad(format!("{its_name} cannot be read with")))?;
    let bytes = datum.len();
    let read: Result<Record, _> = reader.read_deser(&mut datum);
    let record = read.map_err(|_| {
        let good = bytes - datum.len();
        bad(format!(
            "the value is not a datum of {its_name}: it is cut off or a field does not fit, seen \
             after {good} of its {bytes} bytes"
        ))
    })?;
    if !datum.is_empty() {
        let detail = format!("{} bytes follow the datum", datum.len());
        return Err(Poison::new(PoisonReason::BadAvro, detail));
    }

    let event = text(record.event, "event")?.ok_or_else(|| bad_event("event is missing"))?;
    let payload = text(record.data, "data")?.ok_or_else(|| bad_event("data is missing"))?;
    Ok(Parts {
        name: event_name(&event)?,
        data: data(&Bytes::from(payload))?,
        id: text(record.id, "id")?.map(|text| id(&text)).transpose()?,
        user_id: text(record.user_id, "userId")?
            .map(|text| without_nul(&text).map(str::to_owned))
            .transpose()?,
        to: texts(record.to)?,
        lane: text(record.lane, "lane")?
            .map(|text| lane(&text))
            .transpose()?,
    })
}

fn text(seen: Seen, name: &str) -> Result<Option<String>, Poison> {
    match seen {
        Seen::Null => Ok(None),
        Seen::Text(text) => Ok(Some(text)),
        Seen::Texts(_) | Seen::Other => Err(bad_event(&format!("{name} is not a string"))),
    }
}

fn texts(seen: Seen) -> Result<Option<Vec<String>>, Poison> {
    match seen {
        Seen::Null => Ok(None),
        Seen::Texts(texts) => {
            for text in &texts {
                without_nul(text)?;
            }
            Ok(Some(texts))
        }
        Seen::Text(_) | Seen::Other => Err(bad_event("to is not a list of strings")),
    }
}

fn short(text: &str) -> String {
    let mut end = text.len().min(DETAIL_LEN_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
