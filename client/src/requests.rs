//! Requests on their way: what waits to be sent, what waits for its answer, and until when.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::commands::Reply;
use crate::error::{Error, Refusal};

/// How many requests may wait for an answer on one connection: the server refuses the 65th.
pub(crate) const IN_FLIGHT_MAX: usize = 60;

/// How many calls may wait to be sent.
const QUEUE_MAX: usize = 4096;

/// Waited before a refused call is repeated when the server did not say how long.
const RETRY_DEFAULT: Duration = Duration::from_millis(100);

/// Which record of which outbox.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct OutboxKey {
    pub(crate) producer: String,
    pub(crate) epoch: u64,
    pub(crate) channel: String,
}

/// What a request was for.
#[derive(Debug)]
pub(crate) enum Purpose {
    Subscribe {
        channel: String,
        id: u64,
    },
    Unsubscribe,
    Outbox {
        key: OutboxKey,
        seq: u64,
        round: u64,
    },
    Call(Call),
}

/// A request of a caller.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: &'static str,
    pub(crate) params: String,
    /// Whether it may be sent again when its outcome is unknown: reads, and publishes with an id.
    pub(crate) again: bool,
    pub(crate) deadline: Instant,
    pub(crate) reply: Reply,
    not_before: Option<Instant>,
    /// Why the last try failed, for the day of the deadline.
    last: Option<Error>,
}

impl Call {
    pub(crate) fn new(
        method: &'static str,
        params: String,
        again: bool,
        deadline: Instant,
        reply: Reply,
    ) -> Call {
        Call {
            method,
            params,
            again,
            deadline,
            reply,
            not_before: None,
            last: None,
        }
    }

    fn give_up(self, patience: Duration) {
        let error = self.last.unwrap_or(Error::Timeout(patience));
        // A caller that went away does not want the answer.
        let _ = self.reply.send(Err(error));
    }
}

/// The requests of one client, across its connections.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    next_id: u64,
    in_flight: HashMap<u64, Purpose>,
    queue: VecDeque<Call>,
}

impl Requests {
    /// Whether another request may be sent now.
    pub(crate) fn room(&self) -> bool {
        self.in_flight.len() < IN_FLIGHT_MAX
    }

    /// A number for a request that is about to be sent.
    pub(crate) fn sent(&mut self, purpose: Purpose) -> String {
        self.next_id += 1;
        self.in_flight.insert(self.next_id, purpose);
        self.next_id.to_string()
    }

    /// What the answered request was for; none when nobody waits any more.
    pub(crate) fn answered(&mut self, id: &str) -> Option<Purpose> {
        self.in_flight.remove(&id.parse().ok()?)
    }

    pub(crate) fn enqueue(&mut self, call: Call) {
        if self.queue.len() >= QUEUE_MAX {
            let _ = call.reply.send(Err(Error::Full));
            return;
        }
        self.queue.push_back(call);
    }

    /// The next call to send.
    pub(crate) fn next_call(&mut self, now: Instant) -> Option<Call> {
        let at = self
            .queue
            .iter()
            .position(|call| call.not_before.is_none_or(|at| at <= now))?;
        self.queue.remove(at)
    }

    /// A call was refused: again later, or the caller hears it.
    pub(crate) fn refused(&mut self, mut call: Call, refusal: Refusal, now: Instant) {
        if call.again && refusal.retryable {
            let wait = refusal
                .retry_after_ms
                .map_or(RETRY_DEFAULT, Duration::from_millis);
            call.not_before = Some(now + wait);
            call.last = Some(Error::from(refusal));
            self.queue.push_back(call);
        } else {
            let _ = call.reply.send(Err(Error::from(refusal)));
        }
    }

    /// The connection is gone: what may be repeated is queued again, in the order in which it was sent.
    pub(crate) fn lost(&mut self, why: &Error) {
        let mut sent: Vec<(u64, Purpose)> = self.in_flight.drain().collect();
        sent.sort_unstable_by_key(|(id, _)| std::cmp::Reverse(*id));
        for (_, purpose) in sent {
            match purpose {
                Purpose::Call(mut call) if call.again => {
                    call.last = Some(why.clone());
                    self.queue.push_front(call);
                }
                Purpose::Call(call) => {
                    let _ = call.reply.send(Err(why.clone()));
                }
                Purpose::Subscribe { .. } | Purpose::Unsubscribe | Purpose::Outbox { .. } => {}
            }
        }
    }

    /// Answers every call whose deadline has come.
    pub(crate) fn expire(&mut self, now: Instant, patience: Duration) {
        let late = |call: &Call| call.deadline <= now;
        let ids: Vec<u64> = self
            .in_flight
            .iter()
            .filter(|(_, purpose)| matches!(purpose, Purpose::Call(call) if late(call)))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            if let Some(Purpose::Call(call)) = self.in_flight.remove(&id) {
                call.give_up(patience);
            }
        }
        while let Some(at) = self.queue.iter().position(late) {
            if let Some(call) = self.queue.remove(at) {
                call.give_up(patience);
            }
        }
    }

    /// When something has to be done though nothing happens.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        let in_flight = self.in_flight.values().filter_map(|purpose| match purpose {
            Purpose::Call(call) => Some(call.deadline),
            _ => None,
        });
        let queued = self.queue.iter().map(|call| {
            call.not_before
                .map_or(call.deadline, |at| at.min(call.deadline))
        });
        in_flight.chain(queued).min()
    }

    /// Nothing will ever be sent again.
    pub(crate) fn end(&mut self, why: &Error) {
        let waiting = self
            .in_flight
            .drain()
            .filter_map(|(_, purpose)| match purpose {
                Purpose::Call(call) => Some(call),
                _ => None,
            });
        for call in waiting.chain(self.queue.drain(..)) {
            let _ = call.reply.send(Err(why.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn repeatable_calls_survive_a_lost_connection_in_order_and_others_are_told() {
        let now = Instant::now();
        let deadline = now + Duration::from_secs(9);
        let mut requests = Requests::default();
        let mut replies = Vec::new();
        for (params, again) in [("a", true), ("b", false), ("c", true)] {
            let (reply, answer) = oneshot::channel();
            replies.push(answer);
            requests.enqueue(Call::new("publish", params.into(), again, deadline, reply));
        }
        while let Some(call) = requests.next_call(now) {
            requests.sent(Purpose::Call(call));
        }
        requests.lost(&Error::Lost("cut".into()));
        assert!(matches!(replies[1].try_recv(), Ok(Err(Error::Lost(_)))));
        let again: Vec<String> = std::iter::from_fn(|| requests.next_call(now))
            .map(|call| call.params)
            .collect();
        assert_eq!(again, ["a", "c"]);
    }

    #[test]
    fn a_deadline_ends_waiting_wherever_the_call_is_and_tells_the_last_reason() {
        let now = Instant::now();
        let mut requests = Requests::default();
        let (reply, mut answer) = oneshot::channel();
        requests.enqueue(Call::new(
            "publish",
            String::new(),
            true,
            now + Duration::from_secs(1),
            reply,
        ));
        let call = requests.next_call(now).unwrap();
        let refusal =
            serde_json::from_str(r#"{"code":4503,"name":"UNAVAILABLE","retryable":true}"#).unwrap();
        requests.refused(call, refusal, now);
        assert!(requests.next_call(now).is_none());
        requests.expire(now + Duration::from_secs(2), Duration::from_secs(1));
        assert!(matches!(answer.try_recv(), Ok(Err(Error::Refused(_)))));
        assert_eq!(requests.wake_at(), None);
    }
}
