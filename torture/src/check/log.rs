//! The log of a run as the recorder saw it.

/// Everything that was ever in the durable topics.
#[derive(Debug, Default)]
pub struct Log {}
