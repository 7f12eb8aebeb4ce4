//! What is at the log: entries that wait for its answer, first in, first out.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use broker::{AppendError, Appended, Delivery};

use super::job::Entry;
use super::letter::Load;

/// An entry and what it waits for.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) entry: Entry<Load>,
    pub(super) fate: Fate,
}

#[derive(Debug)]
pub(super) enum Fate {
    Delivery(Delivery),
    NotEnqueued(AppendError),
    Settled,
}

/// What came of a flight.
pub(super) enum Landed {
    At(Appended),
    Lost(AppendError),
    Settled,
}

/// Waits for the first flight to land, then takes all that have landed behind it. Cancel safe.
pub(super) async fn landed(flights: &mut VecDeque<Flight>) -> Vec<(Entry<Load>, Landed)> {
    poll_fn(|cx| {
        let mut landed = Vec::new();
        while let Some(front) = flights.front_mut() {
            let Poll::Ready(what) = front.fate.poll(cx) else {
                break;
            };
            if let Some(flight) = flights.pop_front() {
                landed.push((flight.entry, what));
            }
        }
        if landed.is_empty() {
            Poll::Pending
        } else {
            Poll::Ready(landed)
        }
    })
    .await
}

impl Fate {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Landed> {
        match self {
            Fate::Delivery(delivery) => Pin::new(delivery).poll(cx).map(|outcome| match outcome {
                Ok(appended) => Landed::At(appended),
                Err(error) => Landed::Lost(error),
            }),
            Fate::NotEnqueued(error) => Poll::Ready(Landed::Lost(error.clone())),
            Fate::Settled => Poll::Ready(Landed::Settled),
        }
    }
}
