//! Pages of the store for pulls that are behind: readers of one channel that stand near each other share them.

use std::{collections::HashMap, sync::Arc};

use futures_util::{StreamExt, stream};
use schemas::Channel;
use tokio::time::{Instant, timeout};

use super::{
    STEP, Tiers,
    catchup::{Fetch, answer, tell},
};
use crate::{
    chunk::{Room, away},
    event::Delivered,
    metrics::CatchUpMetrics,
    place::Place,
};

/// Questions to the store at the same time, of one partition.
const QUESTIONS: usize = 4;

/// A pull that the store answers.
#[derive(Debug)]
pub(super) struct Paged {
    pub(super) fetch: Fetch,
    /// The store has everything up to here.
    pub(super) until: i64,
    /// What follows is lost up to here. Who gets no event before it is told so at once.
    pub(super) lost_to: Option<i64>,
}

impl Tiers {
    /// Answers pulls from the store, one page after the other of each channel, until `ends`; gives back the others,
    /// oldest first.
    pub(super) async fn pages(
        &self,
        place: &Place,
        stored: Vec<Paged>,
        ends: Instant,
        metrics: &CatchUpMetrics,
    ) -> Vec<Fetch> {
        // Channels in the order in which their oldest pulls came.
        let mut order: Vec<Vec<Paged>> = Vec::new();
        let mut at: HashMap<Channel, usize> = HashMap::new();
        for paged in stored {
            let channel = paged.fetch.channel.clone();
            let index = *at.entry(channel).or_insert(order.len());
            match order.get_mut(index) {
                Some(known) => known.push(paged),
                None => order.push(vec![paged]),
            }
        }
        let left = stream::iter(order)
            .map(|fetches| self.channel_pages(place, fetches, ends, metrics))
            .buffered(QUESTIONS)
            .collect::<Vec<_>>()
            .await;
        left.into_iter().flatten().collect()
    }

    async fn channel_pages(
        &self,
        place: &Place,
        mut fetches: Vec<Paged>,
        ends: Instant,
        metrics: &CatchUpMetrics,
    ) -> Vec<Fetch> {
        while !fetches.is_empty() && Instant::now() < ends {
            // From the oldest pull's place; who stands within the page shares it.
            let (next, until) = (fetches[0].fetch.next, fetches[0].until);
            let near = fetches
                .iter()
                .filter(|p| p.fetch.next >= next && p.until == until);
            let room = near.map(|p| p.fetch.room).reduce(Room::max);
            let room = room.unwrap_or(Room::of(1));
            metrics.pages.inc();
            let Some(events) = self
                .page(place, &fetches[0].fetch.channel, (next, until), room)
                .await
            else {
                fetches
                    .into_iter()
                    .for_each(|p| p.fetch.reply.send(Err(away())));
                return Vec::new();
            };
            // Only an empty page proves that there are no more rows below `until`.
            let after = events.last().map_or(until, |last| last.offset + 1);
            let (now, later): (Vec<Paged>, Vec<Paged>) = fetches
                .into_iter()
                .partition(|p| (next..after).contains(&p.fetch.next) && p.until == until);
            fetches = later;
            for Paged {
                mut fetch, lost_to, ..
            } in now
            {
                match lost_to {
                    Some(to) if events.is_empty() => {
                        fetch.next = until;
                        tell(fetch, to);
                    }
                    _ => part(fetch, &events, after),
                }
            }
        }
        fetches.into_iter().map(|paged| paged.fetch).collect()
    }

    async fn page(
        &self,
        place: &Place,
        channel: &Channel,
        (next, until): (i64, i64),
        room: Room,
    ) -> Option<Vec<Arc<Delivered>>> {
        let stored = self.framer.directory.stored(place);
        let rows = self.store.as_ref()?.events_after(
            &stored,
            channel,
            next,
            until,
            room.events,
            room.bytes,
        );
        match timeout(STEP, rows).await {
            Ok(Ok(rows)) => Some(
                rows.iter()
                    .map(|row| self.framer.stored(place, row))
                    .collect(),
            ),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the store gave no rows");
                None
            }
            Err(_) => None,
        }
    }
}

/// Answers a pull with its part of a page that reaches to `after`, no more than it has room for.
pub(crate) fn part(fetch: Fetch, page: &[Arc<Delivered>], after: i64) {
    let from = page.partition_point(|event| event.offset < fetch.next);
    let mut bytes = 0;
    let mut events = Vec::new();
    for event in &page[from..] {
        if fetch.room.is_filled(events.len(), bytes) {
            break;
        }
        bytes += event.line().len();
        events.push(Arc::clone(event));
    }
    let whole = from + events.len() == page.len();
    let next = match events.last() {
        Some(last) if !whole => last.offset + 1,
        _ => after,
    };
    let start = fetch.next;
    answer(fetch, start, None, events, next);
}
