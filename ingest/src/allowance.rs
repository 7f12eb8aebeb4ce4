//! How much each user may publish: one bucket for everything durable, one more for chat and dice.
//!
//! Pure: time comes in. Bounded: the user who was quiet the longest is forgotten first.

use std::num::NonZeroUsize;

use lru::LruCache;
use protocol::{Bucket, Limits, ProtocolError, Rate};

/// The buckets of the users seen lately.
#[derive(Debug)]
pub(crate) struct Allowances {
    publish: Rate,
    chat: Rate,
    backend: Option<Rate>,
    users: LruCache<String, Buckets>,
    /// Apart from the users: a backend may carry a user's name.
    backends: LruCache<String, Buckets>,
}

#[derive(Debug)]
struct Buckets {
    all: Bucket,
    /// Made when first needed.
    chat: Option<Bucket>,
}

/// Who pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Payer {
    User,
    /// Has no bucket, but a quota where one is configured.
    Backend,
}

impl Allowances {
    pub(crate) fn new(limits: &Limits, backend: Option<Rate>, users_max: usize) -> Allowances {
        Allowances {
            publish: limits.publish,
            chat: limits.chat,
            backend,
            users: bounded(users_max),
            backends: bounded(users_max),
        }
    }

    /// Charges one durable publish, or says when to come back. A refusal charges nothing.
    ///
    /// `now_ms` is of a monotonic clock.
    pub(crate) fn charge(
        &mut self,
        user: &str,
        payer: Payer,
        event: &str,
        now_ms: i64,
    ) -> Result<(), ProtocolError> {
        let rate = match (payer, self.backend) {
            (Payer::User, _) => self.publish,
            (Payer::Backend, Some(quota)) => quota,
            (Payer::Backend, None) => return Ok(()),
        };
        let chat_rate = (payer == Payer::User && is_chat(event)).then_some(self.chat);
        let known = match payer {
            Payer::User => &mut self.users,
            Payer::Backend => &mut self.backends,
        };
        let buckets = known.get_or_insert_mut_ref(user, || Buckets {
            all: Bucket::new(rate, now_ms),
            chat: None,
        });
        take(&mut buckets.all, now_ms)?;
        let Some(chat_rate) = chat_rate else {
            return Ok(());
        };
        let chat = buckets
            .chat
            .get_or_insert_with(|| Bucket::new(chat_rate, now_ms));
        take(chat, now_ms).inspect_err(|_| buckets.all.refund(1))
    }
}

fn bounded(users_max: usize) -> LruCache<String, Buckets> {
    LruCache::new(NonZeroUsize::new(users_max).unwrap_or(NonZeroUsize::MIN))
}

fn take(bucket: &mut Bucket, now_ms: i64) -> Result<(), ProtocolError> {
    bucket
        .take(1, now_ms)
        // A rate of nothing at all is a way to switch a class off; an hour is as good as never.
        .map_err(|wait_ms| ProtocolError::rate_limited(wait_ms.min(3_600_000)))
}

fn is_chat(event: &str) -> bool {
    event.starts_with("chat.") || event.starts_with("dice.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowances(users_max: usize) -> Allowances {
        Allowances::new(&Limits::default(), None, users_max)
    }

    fn spend(allowances: &mut Allowances, user: &str, event: &str, tries: u32, now_ms: i64) -> u32 {
        (0..tries)
            .map(|_| u32::from(allowances.charge(user, Payer::User, event, now_ms).is_ok()))
            .sum()
    }

    #[test]
    fn a_user_has_a_hundred_and_then_ten_a_second() {
        let mut all = allowances(10);
        assert_eq!(spend(&mut all, "u1", "draw", 150, 0), 100);
        assert_eq!(spend(&mut all, "u1", "draw", 150, 1_000), 10);
        let refused = all.charge("u1", Payer::User, "draw", 1_000).unwrap_err();
        assert_eq!(refused.retry_after_ms, Some(100));
        assert_eq!(
            spend(&mut all, "u2", "draw", 150, 1_000),
            100,
            "each user for themselves"
        );
    }

    #[test]
    fn chat_and_dice_share_a_second_bucket() {
        let mut all = allowances(10);
        assert_eq!(spend(&mut all, "u1", "chat.message", 60, 0), 60);
        // Ten seconds later the durable bucket is full again, and the other one holds 40 + 16.
        assert_eq!(spend(&mut all, "u1", "dice.roll", 100, 10_000), 56);
        assert_eq!(spend(&mut all, "u1", "draw", 100, 10_000), 44);
    }

    #[test]
    fn a_refused_chat_message_costs_no_durable_token() {
        let mut all = allowances(10);
        for ms in 0..10 {
            spend(&mut all, "u1", "chat.message", 10, ms * 1_000);
        }
        // The chat bucket has earned 15 in 9 s; once it is empty, the other one is what it was.
        let left = spend(&mut all, "u1", "chat.message", 100, 9_000);
        assert!(left <= 15);
        let durable = spend(&mut all, "u1", "draw", 200, 9_000);
        assert_eq!(
            durable,
            100 - 10 - left,
            "full at 9 s, less what that second took"
        );
    }

    #[test]
    fn backends_have_no_bucket_unless_a_quota_is_configured() {
        let mut all = allowances(10);
        assert!((0..1_000).all(|_| all.charge("b", Payer::Backend, "chat.message", 0).is_ok()));
        let mut bounded = Allowances::new(&Limits::default(), Some(Rate::new(3, 1, 1_000)), 10);
        let passed = (0..10)
            .filter(|_| bounded.charge("b", Payer::Backend, "x", 0).is_ok())
            .count();
        assert_eq!(passed, 3);
    }

    #[test]
    fn memory_is_bounded_by_the_number_of_users_kept() {
        let mut all = allowances(100);
        for user in 0..10_000 {
            assert!(
                all.charge(&user.to_string(), Payer::User, "draw", 0)
                    .is_ok()
            );
        }
        assert_eq!(all.users.len(), 100);
    }
}
