//! The few calls into librdkafka that rdkafka has no safe wrapper for; the only unsafe code here.
//!
//! - `fetch`: reading without a consumer group, in batches, with the topic of every end-of-partition
//!   and error (the wrapper drops it).
//! - `describe`: the identity of a topic.
//! - `status`: whether a failed record may be stored.
#![allow(unsafe_code)]

mod describe;
mod fetch;
mod status;

pub(crate) use describe::describe;
pub(crate) use fetch::{FetchQueue, Raw};
pub(crate) use status::maybe_stored;
