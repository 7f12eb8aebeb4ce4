//! What grows, and how: one thing is made larger at a time, everything else stays.

mod channels;
mod partitions;
mod stored;
mod subscribers;

pub(super) use channels::take as channels;
pub(super) use partitions::take as partitions;
pub(super) use stored::take as stored;
pub(super) use subscribers::take as subscribers;
