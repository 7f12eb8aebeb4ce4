//! Which schemas we dare to read with.
//!
//! The Avro library follows a schema recursively and believes counts. So a schema is refused when
//! it can nest without end, when it is deep or large once its named types are written out, when a
//! list could have items of no bytes (a few bytes could then claim a billion), or when a fixed is
//! larger than a record may be.

use std::collections::HashMap;

use apache_avro::Schema;
use apache_avro::schema::{InnerDecimalSchema, Name, UuidSchema};

use crate::VALUE_BYTES_MAX;
use crate::json::{Rules, check};

const TEXT_BYTES_MAX: usize = 65_536;
const JSON_DEPTH_MAX: usize = 64;
const DEPTH_MAX: usize = 16;
const NODES_MAX: usize = 512;

/// Why a schema is refused.
#[derive(Debug)]
pub(super) struct Refusal {
    /// Our own words, for the records' quarantine.
    pub(super) why: String,
    /// The library's words, which may quote the schema: for the operator's log alone.
    pub(super) cause: Option<String>,
}

impl<S: Into<String>> From<S> for Refusal {
    fn from(why: S) -> Refusal {
        Refusal {
            why: why.into(),
            cause: None,
        }
    }
}

/// Parses a schema of the registry.
pub(super) fn parse(json: &str) -> Result<Schema, Refusal> {
    if json.len() > TEXT_BYTES_MAX {
        return Err("the schema is larger than 64 KiB".into());
    }
    check(
        json.as_bytes(),
        Rules {
            depth_max: JSON_DEPTH_MAX,
        },
    )
    .map_err(|e| e.to_string())?;
    let schema = Schema::parse_str(json).map_err(|e| Refusal {
        why: "it is not an Avro schema".into(),
        cause: Some(e.to_string()),
    })?;
    if !matches!(schema, Schema::Record(_)) {
        return Err("the schema is not a record".into());
    }
    let mut named = HashMap::new();
    collect(&schema, &mut named);
    Walk {
        named,
        open: Vec::new(),
        nodes: 0,
    }
    .width(&schema)?;
    Ok(schema)
}

/// Named types stand in full where they come first, and by name after.
fn collect<'s>(schema: &'s Schema, named: &mut HashMap<&'s Name, &'s Schema>) {
    match schema {
        Schema::Record(record) => {
            named.insert(&record.name, schema);
            for field in &record.fields {
                collect(&field.schema, named);
            }
        }
        Schema::Array(array) => collect(&array.items, named),
        Schema::Map(map) => collect(&map.types, named),
        Schema::Union(union) => union.variants().iter().for_each(|v| collect(v, named)),
        Schema::Ref { .. } => {}
        other => {
            if let Some(name) = other.name() {
                named.insert(name, other);
            }
        }
    }
}

struct Walk<'s> {
    named: HashMap<&'s Name, &'s Schema>,
    /// The schemas we are inside of.
    open: Vec<&'s Schema>,
    nodes: usize,
}

impl<'s> Walk<'s> {
    /// The fewest bytes a datum of this schema has.
    fn width(&mut self, schema: &'s Schema) -> Result<usize, String> {
        let schema = match schema {
            Schema::Ref { name } => self
                .named
                .get(name)
                .copied()
                .ok_or("a type is named that is not defined")?,
            other => other,
        };
        if self.open.iter().any(|outer| std::ptr::eq(*outer, schema)) {
            return Err("the schema is recursive".into());
        }
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(format!("the schema has more than {NODES_MAX} parts"));
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(format!("the schema is deeper than {DEPTH_MAX}"));
        }
        self.open.push(schema);
        let width = self.width_inside(schema);
        self.open.pop();
        width
    }

    fn width_inside(&mut self, schema: &'s Schema) -> Result<usize, String> {
        match schema {
            Schema::Null => Ok(0),
            Schema::Record(record) => record
                .fields
                .iter()
                .try_fold(0, |sum, field| Ok(sum + self.width(&field.schema)?)),
            Schema::Union(union) => {
                for variant in union.variants() {
                    self.width(variant)?;
                }
                Ok(1)
            }
            Schema::Array(array) => {
                if self.width(&array.items)? == 0 {
                    return Err("a list has items of no bytes".into());
                }
                Ok(1)
            }
            Schema::Map(map) => {
                self.width(&map.types)?;
                Ok(1)
            }
            Schema::Fixed(fixed) | Schema::Duration(fixed) => fixed_width(fixed.size),
            Schema::Decimal(decimal) => match &decimal.inner {
                InnerDecimalSchema::Fixed(fixed) => fixed_width(fixed.size),
                InnerDecimalSchema::Bytes => Ok(1),
            },
            Schema::Uuid(UuidSchema::Fixed(fixed)) => fixed_width(fixed.size),
            _ => Ok(1),
        }
    }
}

fn fixed_width(size: usize) -> Result<usize, String> {
    if size > VALUE_BYTES_MAX {
        return Err("a fixed is larger than a record may be".into());
    }
    Ok(size)
}
