//! A subscriber over all its connections, and the judge of what it gets.

use std::{collections::VecDeque, sync::Arc};

use schemas::Channel;
use tokio::sync::oneshot;

use super::{log::Log, store::Store, world::Done};
use crate::{
    chunk::{Chunk, Gap, Pulled, Wanted},
    event::Delivered,
    sub::{Mode, Offer, Step, Sub, Window},
};

/// Bytes that may wait for it before it falls back to the log.
const QUEUE_MAX: usize = 700;
/// With less than this queued it pulls more.
const HUNGRY_BELOW: usize = 400;

/// What is queued for it.
enum Message {
    Event(Arc<Delivered>),
    /// Whether it was true when it was told.
    Gap(Gap, bool),
}

pub(super) struct Subscriber {
    pub(super) node: usize,
    pub(super) sub: Sub,
    pub(super) pull: Option<oneshot::Receiver<Pulled>>,
    queue: VecDeque<Message>,
    queued: usize,
    opening: bool,
    /// Everything before was received, was told as gone, or is not for it: what its cursor says.
    pub(super) position: i64,
}

impl Subscriber {
    pub(super) fn new(channel: Channel, number: usize) -> Subscriber {
        let types = (number % 3 == 2).then(|| vec!["draw".to_owned(), "erase".to_owned()]);
        Subscriber {
            node: 0,
            sub: Sub {
                serial: 0,
                asked: channel.clone(),
                channel,
                wanted: Wanted {
                    types: types.map(Into::into),
                    user: format!("u{}", number % 3).into(),
                },
                mode: Mode::Ready,
                slot: None,
                next: 0,
                announce: false,
                window: Window::of((number % 4 == 1).then_some(3)),
                durable: None,
                opening: None,
            },
            pull: None,
            queue: VecDeque::new(),
            queued: 0,
            opening: true,
            position: 0,
        }
    }

    /// A new connection, perhaps elsewhere: nothing of the old one is left but the cursor.
    pub(super) fn reconnect(&mut self, node: usize, window: Option<u32>) {
        self.node = node;
        self.sub.mode = Mode::Ready;
        self.sub.next = 0;
        if self.sub.window.is_some() {
            self.sub.window = Window::of(window);
        }
        self.pull = None;
        self.queue.clear();
        self.queued = 0;
        self.opening = true;
    }

    /// Whether it would pull now, and from where.
    pub(super) fn wants(&self) -> Option<(i64, bool)> {
        let ready = self.sub.mode == Mode::Ready && self.queued < HUNGRY_BELOW;
        let from = if self.opening {
            self.position
        } else {
            self.sub.next
        };
        ready.then_some((from, self.opening))
    }

    pub(super) fn pulls(&mut self, answer: oneshot::Receiver<Pulled>) {
        self.sub.mode = Mode::Pulling;
        self.pull = Some(answer);
    }

    /// As a shard takes the answer to a pull, if it is there.
    pub(super) fn answered(&mut self, log: &Log, store: &Store, done: &mut Done) {
        let answer = self.pull.as_mut().and_then(|pull| pull.try_recv().ok());
        let Some(Ok(chunk)) = answer else { return };
        self.pull = None;
        // Gone: no row holds it, and of what the log still holds nobody can say what counts.
        let gone = chunk
            .gap
            .is_some_and(|gap| gap.to <= store.floor && log.low > 0);
        self.take(&chunk, gone, done);
    }

    fn take(&mut self, chunk: &Chunk, gone: bool, done: &mut Done) {
        self.sub.begin(chunk, std::mem::take(&mut self.opening));
        if let Some(gap) = chunk.gap {
            self.queue.push_back(Message::Gap(gap, gone));
        }
        for event in &chunk.events {
            match self.sub.step(event) {
                Step::Deliver => self.push(event),
                Step::Pass => {}
                Step::Full => {
                    done.paused += 1;
                    self.sub.mode = Mode::Paused;
                    return;
                }
            }
        }
        self.sub.next = self.sub.next.max(chunk.next);
        self.sub.mode = if chunk.live { Mode::Live } else { Mode::Ready };
    }

    /// As a shard offers a broadcast.
    pub(super) fn offered(&mut self, event: &Arc<Delivered>, done: &mut Done) {
        let full = self.queued + event.line().len() > QUEUE_MAX;
        match self.sub.offer(event, full) {
            Offer::Deliver => self.push(event),
            Offer::Pass => {}
            Offer::Lag => done.lagged += 1,
        }
    }

    fn push(&mut self, event: &Arc<Delivered>) {
        self.queued += event.line().len();
        self.queue.push_back(Message::Event(Arc::clone(event)));
    }

    /// Reads the next message of its queue, and is judged by it.
    pub(super) fn receive(
        &mut self,
        log: &Log,
        store: &Store,
        done: &mut Done,
    ) -> Result<(), String> {
        let who = format!("{} of {}", self.sub.wanted.user, self.sub.channel);
        match self.queue.pop_front() {
            None => Ok(()),
            Some(Message::Gap(gap, gone)) => {
                done.gaps += 1;
                if gap.to <= gap.from || gap.from < self.position {
                    return Err(format!(
                        "{who} at {}: a gap that is none: {gap:?}",
                        self.position
                    ));
                }
                self.missing(log, gap.from)?;
                if !gone {
                    let stored = store.stored();
                    return Err(format!(
                        "{who}: {gap:?} was not gone; now the log begins at {}, {stored:?}",
                        log.low
                    ));
                }
                self.position = gap.to;
                Ok(())
            }
            Some(Message::Event(event)) => {
                done.delivered += 1;
                self.queued -= event.line().len();
                self.missing(log, event.offset)?;
                let truth = log
                    .frames(&self.sub.channel, (event.offset, event.offset + 1))
                    .next();
                let Some(truth) = truth else {
                    return Err(format!("{who}: {} does not count", event.offset));
                };
                if event.offset < self.position {
                    return Err(format!("{who}: {} came again", event.offset));
                }
                if truth.line() != event.line() {
                    let (said, is) = (event.json(), truth.json());
                    return Err(format!(
                        "{who}: {} is {} in the log, not {}",
                        event.offset,
                        String::from_utf8_lossy(is),
                        String::from_utf8_lossy(said)
                    ));
                }
                self.position = event.offset + 1;
                Ok(())
            }
        }
    }

    /// Nothing that it should have got lies between where it stands and `to`.
    pub(super) fn missing(&self, log: &Log, to: i64) -> Result<(), String> {
        let mut between = log.frames(&self.sub.channel, (self.position, to));
        match between.find(|event| self.sub.wanted.passes(event)) {
            None => Ok(()),
            Some(event) => Err(format!(
                "{} of {} at {}: {} never came, {to} did",
                self.sub.wanted.user, self.sub.channel, self.position, event.offset
            )),
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.sub.mode == Mode::Live
    }
}
