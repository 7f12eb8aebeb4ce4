//! What we take of an Avro record: its fields by name, whatever the record is called.

use std::fmt;

use serde::de::{
    Deserialize, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
};

/// The envelope's fields as a writer's record has them; a missing field is null.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) event: Seen,
    pub(super) data: Seen,
    pub(super) id: Seen,
    pub(super) user_id: Seen,
    pub(super) to: Seen,
    pub(super) lane: Seen,
}

/// A field's value, as far as the envelope has such values.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Seen {
    #[default]
    Null,
    /// A string or an enum's symbol.
    Text(String),
    /// A list with nothing but texts in it.
    Texts(Vec<String>),
    /// Anything else; read past, not kept.
    Other,
}

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Record, D::Error> {
        // As a map and not as a struct: a struct would have to have the record's name.
        deserializer.deserialize_map(RecordVisitor)
    }
}

struct RecordVisitor;

impl<'de> Visitor<'de> for RecordVisitor {
    type Value = Record;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Record, A::Error> {
        let mut record = Record::default();
        while let Some(Name(name)) = fields.next_key()? {
            let field = match name.as_str() {
                "event" => &mut record.event,
                "data" => &mut record.data,
                "id" => &mut record.id,
                "userId" => &mut record.user_id,
                "to" => &mut record.to,
                "lane" => &mut record.lane,
                _ => {
                    fields.next_value::<Seen>()?;
                    continue;
                }
            };
            *field = fields.next_value()?;
        }
        Ok(record)
    }
}

/// A field's name, a map's key, an enum's symbol: the library gives them as identifiers only.
struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Name, D::Error> {
        deserializer.deserialize_identifier(NameVisitor)
    }
}

struct NameVisitor;

impl Visitor<'_> for NameVisitor {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Name, E> {
        Ok(Name(name.to_owned()))
    }

    fn visit_string<E>(self, name: String) -> Result<Name, E> {
        Ok(Name(name))
    }
}

impl<'de> Deserialize<'de> for Seen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Seen, D::Error> {
        deserializer.deserialize_any(SeenVisitor)
    }
}

struct SeenVisitor;

macro_rules! other {
    ($($visit:ident: $type:ty,)*) => {
        $(fn $visit<E>(self, _: $type) -> Result<Seen, E> {
            Ok(Seen::Other)
        })*
    };
}

impl<'de> Visitor<'de> for SeenVisitor {
    type Value = Seen;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Seen, E> {
        Ok(Seen::Null)
    }

    fn visit_str<E>(self, text: &str) -> Result<Seen, E> {
        Ok(Seen::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Seen, E> {
        Ok(Seen::Text(text))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, symbol: A) -> Result<Seen, A::Error> {
        let (Name(symbol), rest) = symbol.variant()?;
        rest.unit_variant()?;
        Ok(Seen::Text(symbol))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Seen, A::Error> {
        let mut texts = Some(Vec::new());
        while let Some(item) = items.next_element::<Seen>()? {
            match (&mut texts, item) {
                (Some(texts), Seen::Text(text)) => texts.push(text),
                _ => texts = None,
            }
        }
        Ok(texts.map_or(Seen::Other, Seen::Texts))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Seen, A::Error> {
        while members.next_key::<Name>()?.is_some() {
            members.next_value::<Seen>()?;
        }
        Ok(Seen::Other)
    }

    other! {
        visit_bool: bool,
        visit_i32: i32,
        visit_i64: i64,
        visit_f32: f32,
        visit_f64: f64,
        visit_bytes: &[u8],
        visit_byte_buf: Vec<u8>,
    }
}
