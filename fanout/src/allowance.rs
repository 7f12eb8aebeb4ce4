//! How often each user may do over HTTP what costs something: one bucket a user. Bounded: the user who was quiet the
//! longest is forgotten first.

use std::{
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
};

use lru::LruCache;
use protocol::{Bucket, Identity, ProtocolError, Rate};

/// Users remembered.
const USERS_MAX: NonZeroUsize = NonZeroUsize::new(65_536).expect("it is not zero");

#[derive(Debug)]
pub(crate) struct Allowance {
    rate: Rate,
    users: Mutex<LruCache<String, Bucket>>,
}

impl Allowance {
    pub(crate) fn new(rate: Rate) -> Self {
        Self {
            rate,
            users: Mutex::new(LruCache::new(USERS_MAX)),
        }
    }

    /// Charges one request, or says when to come back. Backends have no bucket.
    pub(crate) fn charge(&self, who: &Identity, now_ms: i64) -> Result<(), ProtocolError> {
        if who.is_backend() {
            return Ok(());
        }
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket =
            users.get_or_insert_mut_ref(who.sub.as_str(), || Bucket::new(self.rate, now_ms));
        bucket
            .take(1, now_ms)
            // A rate of nothing at all is a way to switch it off; an hour is as good as never.
            .map_err(|wait_ms| ProtocolError::rate_limited(wait_ms.min(3_600_000)))
    }
}
