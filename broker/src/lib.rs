//! The log: append a record, read a partition from an offset, ask for watermarks and offsets by time.
//!
//! Two implementations answer to one type, [`Log`]: Apache Kafka (this crate is the only user of
//! rdkafka) and an embedded log on disk for one machine. One suite, `tests/it`, holds both to the
//! same promises. The crate knows nothing of what is inside the records.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod delivery;
mod embedded;
mod error;
mod flaw;
mod kafka;
mod log;
mod pin_watch;
mod pins;
mod reader;
mod record;

pub use delivery::Delivery;
pub use embedded::{EmbeddedConfig, EmbeddedLog, EmbeddedReader, Fsync};
pub use error::{AppendError, BrokerError};
pub use flaw::{Code, Flaw, Weight};
pub use kafka::{KafkaConfig, KafkaLog, KafkaReader};
pub use log::Log;
pub use pin_watch::{Flaws, PinWatch, Standing, is_lost};
pub use pins::{Pin, PinError, Pins, RepinError, pin, pin_as, pinned, repin};
pub use reader::Reader;
pub use record::{
    Append, Appended, Fetched, Headers, Needs, Record, Retention, TopicFacts, TopicSpec, Watermarks,
};
