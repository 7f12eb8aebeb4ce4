//! Pages of the past, in either direction: the same events, bytes and cursors as when they were live.

use std::sync::Arc;

use protocol::{
    ErrorName, Identity, ProtocolError,
    access::{Read, view_of},
    client::{History, Order},
    server,
};
use schemas::Channel;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use crate::{
    chunk::{Chunk, Gap, Room, Wanted},
    event::Delivered,
    node::Node,
    place::Spot,
    plan,
    pull::{Command, Pull, Reply, Want},
    start::narrowed,
    sub::From,
};

/// Bytes of one pull while a page is put together.
const PULL_BYTES: usize = 256 * 1024;
/// Events that are looked at together at least while a page is put together.
const EVENTS_MIN: u32 = 32;
/// Bytes of a page: a page of large events ends early, and `next` goes on.
const PAGE_BYTES: usize = 4 << 20;

/// A page being put together.
struct Page<'a> {
    node: &'a Arc<Node>,
    spot: Spot,
    wanted: Wanted,
    owner: Option<Arc<str>>,
    deadline: Instant,
    /// A bound was a cursor of an earlier generation of the topic: what is gone, as JSON.
    epoch: Option<Vec<u8>>,
}

/// What a bound of a page names.
#[derive(Debug, Clone, Copy)]
enum Bound<'a> {
    /// An offset of the present topic.
    Next(i64),
    /// A cursor of an earlier generation of the topic: all of that is gone.
    Outlived(&'a str),
}

impl<'a> Bound<'a> {
    fn next(self) -> Option<i64> {
        match self {
            Bound::Next(next) => Some(next),
            Bound::Outlived(_) => None,
        }
    }

    fn outlived(self) -> Option<&'a str> {
        match self {
            Bound::Next(_) => None,
            Bound::Outlived(cursor) => Some(cursor),
        }
    }
}

/// Answers a page as JSON: `{"events","next","complete","gap"?}`.
pub(crate) async fn answer(
    node: &Arc<Node>,
    who: &Identity,
    read: Read,
    asked: History,
) -> Result<Vec<u8>, ProtocolError> {
    let (channel, view) = match view_of(&asked.channel) {
        Some((channel, types)) => (channel, Some(types)),
        None => (asked.channel.clone(), None),
    };
    let names = asked
        .types
        .as_ref()
        .map(|t| t.iter().map(|n| n.as_str().to_owned()).collect());
    let mut page = Page {
        node,
        wanted: Node::wanted(who, narrowed(view, names)),
        owner: matches!(read, Read::IfJobOwner).then(|| who.sub.as_str().into()),
        spot: Spot {
            place: node.directory.durable(&channel),
            channel,
        },
        deadline: Instant::now() + node.limits.request_timeout,
        epoch: None,
    };
    let after = page.position(asked.after.as_deref())?;
    let before = page.position(asked.before.as_deref())?;
    // The end as of now: everything acknowledged before this request is below it.
    let head = page.pull(From::Latest, true, 1).await?.start;
    // A cursor names the place after its event, so `before` leaves that event out.
    let hi = match before {
        Some(Bound::Next(next)) => (next - 1).min(head).max(0),
        Some(Bound::Outlived(_)) => 0,
        None => head.max(0),
    };
    page.epoch = page.epoch(after, before, head).await?;
    let after = after.and_then(Bound::next);
    match asked.order() {
        Order::Asc => page.ascending(&asked, after, hi).await,
        Order::Desc => page.descending(&asked, after.unwrap_or(0), hi).await,
    }
}

/// The end of the channel as of now, for somebody who may read it.
pub(crate) async fn end_of(
    node: &Arc<Node>,
    who: &Identity,
    read: Read,
    channel: Channel,
    deadline: Instant,
) -> Result<i64, ProtocolError> {
    let page = Page {
        node,
        wanted: Node::wanted(who, None),
        owner: matches!(read, Read::IfJobOwner).then(|| who.sub.as_str().into()),
        spot: Spot {
            place: node.directory.durable(&channel),
            channel,
        },
        deadline,
        epoch: None,
    };
    Ok(page.pull(From::Latest, true, 1).await?.start)
}

impl Page<'_> {
    fn position<'a>(&self, cursor: Option<&'a str>) -> Result<Option<Bound<'a>>, ProtocolError> {
        let Some(text) = cursor else { return Ok(None) };
        let cursors = &self.node.tiers.framer.cursors;
        let position = cursors
            .decode(&self.spot.channel, text)
            .map_err(|_| ProtocolError::cursor())?;
        let present = self
            .node
            .directory
            .position(&self.spot.place, position.next);
        if position.generation < present.generation {
            return Ok(Some(Bound::Outlived(text)));
        }
        if position != present {
            return Err(ProtocolError::cursor());
        }
        Ok(Some(Bound::Next(position.next)))
    }

    /// The part of the range asked for that went with an earlier generation of the topic.
    async fn epoch(
        &self,
        after: Option<Bound<'_>>,
        before: Option<Bound<'_>>,
        head: i64,
    ) -> Result<Option<Vec<u8>>, ProtocolError> {
        let from = after.and_then(Bound::outlived);
        let to = match before.and_then(Bound::outlived) {
            Some(before) => before.to_owned(),
            None if from.is_none() => return Ok(None),
            None => {
                let first = self.node.tiers.earliest(&self.spot).await?.min(head);
                let framer = &self.node.tiers.framer;
                framer.cursor(&self.spot.channel, &self.spot.place, first)
            }
        };
        Ok(Some(server::gap_data(
            from,
            Some(&to),
            server::GapReason::Epoch,
        )))
    }

    async fn ascending(
        &self,
        asked: &History,
        after: Option<i64>,
        hi: i64,
    ) -> Result<Vec<u8>, ProtocolError> {
        let limit = asked.limit as usize;
        let mut from = match (after, asked.from) {
            (Some(next), None) => From::Next(service::planted!("page_overlaps", next - 1 => next)),
            (None, Some(ms)) => From::Time(ms),
            (Some(next), Some(ms)) => {
                let first = self.node.tiers.at_time(&self.spot, ms).await?;
                From::Next(next.max(first))
            }
            (None, None) => From::Earliest,
        };
        // One more than fit tells whether there are more. Who wants few of the events has more of them looked at.
        let mut room = (asked.limit + 1).clamp(EVENTS_MIN, Room::EVENTS_MAX);
        let mut events: Vec<Arc<Delivered>> = Vec::new();
        let mut bytes = 0;
        let mut gap = None;
        loop {
            let chunk = self.pull(from, false, room).await?;
            room = (room * 2).min(Room::EVENTS_MAX);
            let told = chunk.gap.filter(|_| after.is_some() || !events.is_empty());
            gap = match (gap, told, events.last()) {
                // A page tells of one gap; the next begins with this one.
                (Some(_), Some(_), Some(last)) => {
                    let next = last.cursor.to_string();
                    return Ok(self.page(&events, Some(next), gap));
                }
                (Some(first), Some(more), None) => Some(Gap {
                    to: more.to,
                    ..first
                }),
                (known, told, _) => known.or(told),
            };
            for event in &chunk.events {
                if event.offset >= hi {
                    return Ok(self.page(&events, None, gap));
                }
                if !self.wanted.passes(event) || !in_time(asked, event) {
                    continue;
                }
                if events.len() == limit || bytes >= PAGE_BYTES {
                    let next = events.last().map(|e| e.cursor.to_string());
                    return Ok(self.page(&events, next, gap));
                }
                bytes += event.line().len();
                events.push(Arc::clone(event));
            }
            if chunk.next >= hi || (chunk.reached_end && chunk.gap.is_none()) {
                return Ok(self.page(&events, None, gap));
            }
            from = From::Next(chunk.next);
        }
    }

    async fn descending(
        &self,
        asked: &History,
        lo: i64,
        hi: i64,
    ) -> Result<Vec<u8>, ProtocolError> {
        let limit = asked.limit as usize;
        let times = (asked.from, asked.to);
        let older = self
            .node
            .tiers
            .older(&self.spot, lo, hi, limit, &self.wanted, times)
            .await?;
        let mut events: Vec<_> = older.events.iter().rev().map(Arc::clone).collect();
        let mut exhausted = older.exhausted;
        let end = match events.last() {
            Some(oldest) if !exhausted => oldest.offset,
            _ => lo,
        };
        // Asked after the rows were read: days that were dropped meanwhile have raised the floor by now.
        let extent = self.node.tiers.extent_above(&self.spot.place, older.log);
        let mut gone = plan::gone((end, hi), &extent.await?);
        // Who does not say from where on does not ask for what is gone before the earliest.
        gone.retain(|(from, _)| *from > 0 || asked.after.is_some());
        let (gap, kept) = newest_gap(gone, &events);
        exhausted &= kept == events.len();
        events.truncate(kept);
        let next = match events.last() {
            Some(oldest) if !exhausted => Some(oldest.cursor.to_string()),
            _ => None,
        };
        let gap = gap.map(|(from, to)| Gap {
            from,
            to,
            reason: server::GapReason::Retention,
        });
        Ok(self.page(&events, next, gap))
    }

    fn page(&self, events: &[Arc<Delivered>], next: Option<String>, gap: Option<Gap>) -> Vec<u8> {
        let gap = gap.map(|gap| {
            let framer = &self.node.tiers.framer;
            let cursor = |next| framer.cursor(&self.spot.channel, &self.spot.place, next);
            server::gap_data(Some(&cursor(gap.from)), Some(&cursor(gap.to)), gap.reason)
        });
        let gap = self.epoch.clone().or(gap);
        let frames: Vec<&[u8]> = events.iter().map(|e| e.json()).collect();
        server::history(&frames, next.as_deref(), next.is_none(), gap.as_deref())
    }

    async fn pull(&self, from: From, barrier: bool, events: u32) -> Result<Chunk, ProtocolError> {
        let (reply, answer) = oneshot::channel();
        let pull = Pull {
            channel: self.spot.channel.clone(),
            from,
            want: Want::Events,
            barrier,
            attach: None,
            park: false,
            owner: self.owner.clone(),
            wanted: self.wanted.clone(),
            room: Room {
                events,
                bytes: PULL_BYTES,
            },
            passing: true,
            asked: Instant::now(),
            reply: Reply::Once(reply),
        };
        ask(self.node, pull, answer, self.deadline).await
    }
}

/// The newest of the gaps of a page that goes back in time, and how many of its events stand before the one before it:
/// a page tells of one gap, the next begins with that one. Gaps without an event between them are told as one.
fn newest_gap(mut gone: Vec<(i64, i64)>, events: &[Arc<Delivered>]) -> (Option<(i64, i64)>, usize) {
    let mut gap = gone.pop();
    while let (Some((from, _)), Some((earlier, to))) = (&mut gap, gone.pop()) {
        let kept = events.iter().take_while(|e| e.offset >= to).count();
        if kept > 0 {
            return (gap, kept);
        }
        *from = earlier;
    }
    (gap, events.len())
}

fn in_time(asked: &History, event: &Delivered) -> bool {
    asked.from.is_none_or(|from| event.at_ms >= from) && asked.to.is_none_or(|to| event.at_ms < to)
}

/// Sends a pull to its hub and waits for the answer, at the longest until the deadline.
pub(crate) async fn ask(
    node: &Node,
    pull: Pull,
    answer: oneshot::Receiver<Result<Chunk, ProtocolError>>,
    deadline: Instant,
) -> Result<Chunk, ProtocolError> {
    let hub = node.hub_of(&pull.channel);
    let late = || ProtocolError::new(ErrorName::Timeout, "the events could not be read in time");
    let asked = async {
        node.hubs[hub]
            .send(Command::Pull(pull))
            .await
            .map_err(|_| ProtocolError::unavailable("this node is stopping", 1_000))?;
        answer
            .await
            .map_err(|_| ProtocolError::unavailable("this node is stopping", 1_000))?
    };
    timeout_at(deadline, asked).await.map_err(|_| late())?
}
