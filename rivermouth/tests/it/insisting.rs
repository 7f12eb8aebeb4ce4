//! What is only slow is asked again, as a client does it: the same call, with the same ids, after the pause that it
//! was asked for, a few times. Never asked again is what was refused for any other reason, or broke off.

use std::time::Duration;

use client::{Error, Http, Publish, Published, Refusal};
use tokio::time::sleep;

/// A node answers each within five seconds: all of them take longer than any standstill that is meant here.
const TRIES: u32 = 6;
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Whether it says that the log or the store is slow. With details it says what the caller has to do instead.
fn is_slow(refusal: &Refusal) -> bool {
    ["TIMEOUT", "UNAVAILABLE"].contains(&refusal.name.as_str()) && refusal.details.is_none()
}

/// The tries of one call.
#[derive(Debug, Default)]
pub(crate) struct Tries {
    failed: u32,
}

impl Tries {
    /// Waits until the call may be made again; panics when it may not.
    pub(crate) async fn again(&mut self, what: &str, error: &Error) {
        let slow = match error {
            Error::Refused(refusal) => is_slow(refusal),
            Error::Timeout(_) => true,
            _ => false,
        };
        assert!(slow, "{what}: {error:?}");
        // Longer each time, for some refuse at once for as long as it lasts.
        let own = SHORTEST_PAUSE * 3u32.pow(self.failed);
        self.failed += 1;
        assert!(self.failed < TRIES, "{what}, {TRIES} times: {error:?}");
        let asked = error.retry_after().unwrap_or_default();
        sleep(asked.max(own).min(LONGEST_PAUSE)).await;
    }
}

/// The answer to a call that may be made again as it is.
pub(crate) async fn surely<T, F>(what: &str, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, Error>>,
{
    let mut tries = Tries::default();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => tries.again(what, &error).await,
        }
    }
}

/// Publishes all of them, each with its id: from the first that was too slow on they go out again. Their order is kept
/// only where each has an outbox' identity: without one, a later event may be taken while an earlier one is not yet.
pub(crate) async fn publish_all_surely(http: &Http, mut events: &[Publish]) {
    let mut tries = Tries::default();
    while !events.is_empty() {
        let refused = |(at, answer): (usize, Result<Published, Refusal>)| {
            Some((at, Error::from(answer.err()?)))
        };
        let (at, error) = match http.publish_batch(events).await {
            Ok(answers) => match answers.into_iter().enumerate().find_map(refused) {
                Some(first) => first,
                None => return,
            },
            Err(error) => (0, error),
        };
        events = &events[at..];
        tries.again("a batch of events", &error).await;
    }
}
