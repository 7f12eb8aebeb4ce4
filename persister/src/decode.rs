//! Decoding, with the schema registry asked when a record names a schema nobody has met.

use std::time::Duration;

use broker::Record;
use schemas::{Decoder, Event, Incoming, Poison, Undecoded};

use crate::config::SchemaFetch;

/// How long the registry may take for one schema.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// What a run of records decodes to.
pub(crate) struct Decoded {
    /// One verdict per record, in order; fewer than records when `waiting` is set.
    pub(crate) verdicts: Vec<Result<Event, Poison>>,
    /// Why the record after the last verdict has none yet: the registry could not be asked.
    pub(crate) waiting: Option<String>,
}

/// Decodes up to the first record whose schema cannot be had now. Guessing would be a verdict that other readers,
/// who could ask, do not share.
pub(crate) async fn decode(
    decoder: &Decoder,
    schemas: Option<&SchemaFetch>,
    records: &[Record],
) -> Decoded {
    let mut verdicts = Vec::with_capacity(records.len());
    for record in records {
        let mut decoded = decoder.decode(incoming(record));
        if let Err(Undecoded::UnknownSchema(id)) = decoded {
            if let Err(reason) = meet(decoder, schemas, id).await {
                return waiting(verdicts, id, &reason);
            }
            decoded = decoder.decode(incoming(record));
        }
        match decoded {
            Ok(event) => verdicts.push(Ok(event)),
            Err(Undecoded::Poison(poison)) => verdicts.push(Err(poison)),
            Err(Undecoded::UnknownSchema(id)) => return waiting(verdicts, id, "still unknown"),
        }
    }
    Decoded {
        verdicts,
        waiting: None,
    }
}

fn waiting(verdicts: Vec<Result<Event, Poison>>, id: u32, reason: &str) -> Decoded {
    Decoded {
        verdicts,
        waiting: Some(format!("schema {id}: {reason}")),
    }
}

/// Makes a schema known, present or absent, so that decoding again gives a verdict.
async fn meet(decoder: &Decoder, schemas: Option<&SchemaFetch>, id: u32) -> Result<(), String> {
    let Some(fetch) = schemas else {
        decoder.mark_absent(id);
        return Ok(());
    };
    let found = tokio::time::timeout(FETCH_TIMEOUT, fetch(id))
        .await
        .map_err(|_| "the registry does not answer".to_owned())??;
    match found {
        Some(json) => {
            if let Err(reason) = decoder.add_schema(id, &json) {
                tracing::warn!(
                    id,
                    reason,
                    "a schema is refused, its records are quarantined"
                );
            }
        }
        None => decoder.mark_absent(id),
    }
    Ok(())
}

fn incoming(record: &Record) -> Incoming<'_> {
    Incoming {
        topic: &record.topic,
        partition: record.partition,
        offset: record.offset,
        key: record.key.as_deref(),
        headers: &record.headers,
        value: record.value.as_ref(),
    }
}
