//! What a checkpoint keeps of a channel, so that the acceptance rule (D3) can go on from the middle of the log.

/// The acceptance rule's state of one channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelState {
    /// The largest time accepted so far, Unix milliseconds.
    pub log_time_ms: i64,
    /// Offset of the last accepted event that everybody may see.
    pub last: Option<i64>,
    /// The last accepted `(epoch, seq)` of every outbox.
    pub producers: Vec<ProducerState>,
    /// Records of the partition were erased before they were stored: those outboxes stand here, and not in `producers`,
    /// that had their last accepted record before that. `None` when nothing was lost.
    pub unheard: Option<Vec<ProducerState>>,
    /// Given ids accepted within [`crate::HORIZON_MS`] of `log_time_ms`, in log order.
    pub ids: Vec<KnownId>,
}

/// Where an outbox stands in one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerState {
    /// The user the outbox belongs to; `None` for a backend without one.
    pub user: Option<String>,
    /// The outbox's name.
    pub producer: String,
    /// Its last accepted epoch.
    pub epoch: u64,
    /// Its last accepted sequence number within that epoch.
    pub seq: u64,
}

/// An id that would make a later record void.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownId {
    /// The event's id.
    pub id: String,
    /// The channel's log time when it was accepted, Unix milliseconds.
    pub log_time_ms: i64,
}
