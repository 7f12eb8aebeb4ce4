//! What is appended.

use std::io::Write as _;
use std::sync::Arc;

use broker::Append;
use bytes::Bytes;

pub(super) const TOPIC: &str = "rivermouth.events";

/// A record as the gateway makes it from a publish of a drawing client, about 300 bytes. The points differ from
/// record to record, so that it compresses as real ones do.
pub(super) fn record(partition: i32, number: u64) -> Append {
    let mut value = Vec::with_capacity(320);
    // Writing to memory cannot fail.
    let _ = write!(
        value,
        r#"{{"event":"draw","data":{{"n":{number},"stroke":["#
    );
    let mut noise = (number << 8 | u64::from(partition.unsigned_abs())).wrapping_add(1);
    for point in 0..22 {
        noise = noise
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let comma = if point == 0 { "" } else { "," };
        let _ = write!(value, "{comma}0.{:06}", (noise >> 40) % 1_000_000);
    }
    let _ = write!(value, r#"]}},"userId":"user-{}"}}"#, number % 1_000);
    Append {
        topic: topic(),
        partition,
        key: Some(Bytes::from(format!("{partition:04}-{}", number % 200))),
        headers: vec![("traceparent".into(), Bytes::from_static(TRACE))],
        value: Some(value.into()),
    }
}

const TRACE: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn topic() -> Arc<str> {
    thread_local! {
        static NAME: Arc<str> = Arc::from(TOPIC);
    }
    NAME.with(Arc::clone)
}

/// Key, headers and value of one of them.
pub(super) fn record_bytes() -> u64 {
    let record = record(0, 0);
    let headers = record.headers.iter();
    let headers: usize = headers.map(|(name, value)| name.len() + value.len()).sum();
    let key = record.key.as_ref().map_or(0, Bytes::len);
    (key + headers + record.value.as_ref().map_or(0, Bytes::len)) as u64
}
