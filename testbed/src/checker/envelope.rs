//! The JSON and CloudEvents forms of a record, read for checking only.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::compact::compact;
use super::log::LogRecord;

/// What a record says, before the acceptance rule.
#[derive(Debug, Clone)]
pub struct Said {
    /// The channel.
    pub channel: String,
    /// The event's name.
    pub event: String,
    /// Its id, when the record gives one.
    pub id: Option<String>,
    /// Who published it.
    pub user_id: Option<String>,
    /// The data without blanks outside strings.
    pub data: String,
    /// To whom, when it is addressed.
    pub to: Option<Vec<String>>,
    /// Producer, epoch, seq.
    pub outbox: Option<(String, u64, u64)>,
}

#[derive(Deserialize)]
struct Value<'a> {
    #[serde(alias = "type")]
    event: String,
    id: Option<String>,
    #[serde(rename = "userId", alias = "userid")]
    user_id: Option<String>,
    to: Option<Vec<String>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// None for what this checker does not read: poison, and Avro.
pub(crate) fn said(prefix: &str, record: &LogRecord) -> Option<Said> {
    let key = std::str::from_utf8(record.key.as_deref()?).ok()?;
    let text = std::str::from_utf8(record.value.as_deref()?).ok()?;
    let namespace = if record.topic == format!("{prefix}.jobs") {
        "jobs"
    } else {
        "session"
    };
    let channel = record
        .header("rm-channel")
        .map_or_else(|| format!("{namespace}.{key}"), str::to_owned);
    if channel
        .split_once('.')
        .map_or(channel.as_str(), |(_, id)| id)
        != key
    {
        return None;
    }
    let outbox = match (
        record.header("rm-producer"),
        record.header("rm-epoch"),
        record.header("rm-seq"),
    ) {
        (Some(producer), Some(epoch), Some(seq)) => {
            Some((producer.to_owned(), epoch.parse().ok()?, seq.parse().ok()?))
        }
        _ => None,
    };
    if let (None, Some(_)) = (
        record
            .header("content-type")
            .filter(|kind| kind.contains("cloudevents")),
        record.header("ce_specversion"),
    ) {
        return Some(Said {
            channel,
            event: record.header("ce_type")?.to_owned(),
            id: record.header("ce_id").map(str::to_owned),
            user_id: record.header("ce_userid").map(str::to_owned),
            data: compact(text),
            to: None,
            outbox,
        });
    }
    let value: Value<'_> = serde_json::from_str(text).ok()?;
    let data = value
        .data
        .map_or_else(|| "null".to_owned(), |data| compact(data.get()));
    Some(Said {
        channel,
        event: value.event,
        id: value.id,
        user_id: value.user_id,
        data,
        to: value.to,
        outbox,
    })
}
