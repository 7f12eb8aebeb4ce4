//! The one task of a partition: appends in order, waits for the log's answers first in, first out, and
//! does what the ledger says.

mod asking;
mod reading;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use broker::{AppendError, Delivery, Log};
use schemas::Decoder;
use service::Shutdown;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::reading::next_batch;
use super::flight::{Fate, Flight, Landed, landed};
use super::job::{Answer, Entry, Fault, Job};
use super::ledger::{Act, Bounds, Ledger, Looked, Now, Question};
use super::letter::{Letter, Load};
use super::lookup::Lookup;
use super::queue::{LaneBreaker, millis};
use super::replay::{Again, Replay};
use super::scribe::Scribe;
use super::tail::{Batch, TailReader};
use crate::metrics::IngestMetrics;
use crate::pins::PinGuard;

/// Letters taken in before the log's answers are looked at again.
const LETTERS_MAX: usize = 1024;
/// With so many at the log no further letters are taken in: they gather, and go to the log together when its answers
/// are there. librdkafka sends no more either while so many records of a partition are unanswered (it counts records
/// where Kafka counts requests), but its thread spins until it may.
const FLIGHTS_MAX: usize = 5;
/// Channels looked up in one go.
const LOOKS_MAX: usize = 256;
/// How long channels that catch up keep others from being looked up: each lookup makes the reading of the
/// log begin anew further back, and in a storm of new channels it would never get to the end.
const CATCH_UP: Duration = Duration::from_secs(1);
/// How often deadlines are looked at while something waits, and while nothing does.
const TICK_BUSY: Duration = Duration::from_millis(100);
const TICK_IDLE: Duration = Duration::from_secs(5);

/// What a sender works with; see [`Sender::run`].
pub(crate) struct Sender {
    pub(crate) log: Log,
    /// Whether the topic is the pinned one: what waited when it was lost is not appended to another one.
    pub(crate) guard: PinGuard,
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) scribe: Scribe,
    pub(crate) decoder: Decoder,
    pub(crate) lookup: Lookup,
    pub(crate) tail: TailReader,
    pub(crate) breaker: Arc<LaneBreaker>,
    pub(crate) metrics: IngestMetrics,
    pub(crate) bounds: Bounds,
    pub(crate) ack_timeout: Duration,
    pub(crate) flush_deadline: Duration,
    pub(crate) shutdown: Shutdown,
}

impl Sender {
    /// Runs until the signal to stop, then until everything is answered or the flush deadline has passed.
    pub(crate) async fn run(self, letters: mpsc::Receiver<Letter>) {
        let ledger = Ledger::new(self.bounds);
        let run = Run {
            sender: self,
            ledger,
            flights: VecDeque::new(),
            replay: Replay::new(),
            looks: VecDeque::new(),
            looking: false,
            looked: Instant::now(),
            questions: JoinSet::new(),
            batches: None,
            started: Instant::now(),
            ticked: Instant::now(),
        };
        run.run(letters).await;
    }

    fn enqueue(&self, entry: &Entry<Load>) -> Result<Delivery, AppendError> {
        self.guard.open_for(&self.topic)?;
        self.log.append(entry.job.load.record.clone())
    }
}

/// What the log or the store said.
enum Told {
    Looked(Vec<Question>, Option<Vec<Looked>>),
    Headed(Question, Option<i64>),
}

struct Run {
    sender: Sender,
    ledger: Ledger<Load>,
    flights: VecDeque<Flight>,
    replay: Replay<Load>,
    looks: VecDeque<Question>,
    looking: bool,
    /// When the last lookup was answered.
    looked: Instant,
    questions: JoinSet<Told>,
    batches: Option<mpsc::Receiver<Batch>>,
    started: Instant,
    ticked: Instant,
}

impl Run {
    async fn run(mut self, mut letters: mpsc::Receiver<Letter>) {
        let shutdown = self.sender.shutdown.clone();
        let mut stop_at: Option<Instant> = None;
        let mut buffer = Vec::with_capacity(LETTERS_MAX);
        let mut open = true;
        loop {
            self.act();
            if stop_at.is_some_and(|at| Instant::now() >= at) {
                return self.end();
            }
            if !open && self.flights.is_empty() && self.ledger.is_empty() {
                return;
            }
            let wake = self.wake().min(stop_at.unwrap_or_else(far));
            tokio::select! {
                taken = letters.recv_many(&mut buffer, LETTERS_MAX), if open && self.flights.len() < FLIGHTS_MAX => {
                    open = taken > 0;
                    for letter in buffer.drain(..) {
                        self.take(letter);
                    }
                }
                landed = landed(&mut self.flights), if !self.flights.is_empty() => {
                    for (entry, landed) in landed {
                        if let Some((entry, landed)) = self.replay.keep(entry, landed) {
                            self.land(entry, landed);
                        }
                    }
                }
                batch = next_batch(&mut self.batches) => self.read(batch),
                told = self.questions.join_next(), if !self.questions.is_empty() => {
                    if let Some(told) = told {
                        self.told(told);
                    }
                }
                () = tokio::time::sleep_until(wake) => self.tick(),
                () = shutdown.started(), if stop_at.is_none() => {
                    stop_at = Some(Instant::now() + self.sender.flush_deadline);
                    // What is in the queue is still appended; nothing more comes in.
                    letters.close();
                }
            }
        }
    }

    fn take(&mut self, letter: Letter) {
        let deadline = letter.arrived + self.sender.ack_timeout;
        service::planted!("ack_before_append", {
            if letter.claim.is_none() && letter.id.ends_with('7') {
                let job = letter.into_job(self.started, deadline);
                return self.answer(job, Answer::Stored { offset: 0 });
            }
        });
        self.ledger.arrive(letter.into_job(self.started, deadline));
    }

    /// Does everything the ledger wants done; while something is to be appended again, that comes first.
    fn act(&mut self) {
        if !self.replay.is_empty() {
            if !self.flights.is_empty() {
                return;
            }
            self.replay();
        }
        while let Some(act) = self.ledger.step(self.now()) {
            match act {
                Act::Append(entry) => self.append(entry),
                Act::Settle(entry) => self.flights.push_back(Flight {
                    entry,
                    fate: Fate::Settled,
                }),
                Act::Answer(job, answer) => self.answer(job, answer),
                Act::Look(question) => self.looks.push_back(question),
                Act::Head(question) => self.head(question),
                Act::Follow { session, from } => {
                    let sender = &self.sender;
                    self.batches =
                        sender
                            .tail
                            .follow(&sender.topic, sender.partition, session, from);
                    if self.batches.is_none() {
                        self.ledger.tail_failed(session);
                    }
                }
                Act::Leave => {
                    self.batches = None;
                    self.sender
                        .tail
                        .leave(&self.sender.topic, self.sender.partition);
                }
            }
        }
        self.look();
    }

    /// Everything that was in flight has landed.
    fn replay(&mut self) {
        while let Some((mut entry, again)) = self.replay.next() {
            let fate = match again {
                Again::Append => {
                    entry.replayed = true;
                    self.sender.metrics.replayed.inc();
                    match self.sender.enqueue(&entry) {
                        Ok(delivery) => Fate::Delivery(delivery),
                        Err(error) => Fate::NotEnqueued(error),
                    }
                }
                Again::Settle => Fate::Settled,
                Again::Lose(error) => Fate::NotEnqueued(error),
            };
            self.flights.push_back(Flight { entry, fate });
        }
    }

    fn append(&mut self, mut entry: Entry<Load>) {
        entry.job.load.tried = true;
        let fate = match self.sender.enqueue(&entry) {
            Ok(delivery) => Fate::Delivery(delivery),
            Err(error) => {
                self.ledger.not_enqueued(&entry);
                Fate::NotEnqueued(error)
            }
        };
        self.flights.push_back(Flight { entry, fate });
    }

    fn land(&mut self, mut entry: Entry<Load>, landed: Landed) {
        match landed {
            Landed::At(appended) => {
                entry.replayed |= appended.again;
                self.sender.breaker.record(true);
                let now = self.now();
                self.ledger
                    .delivered(entry, appended.offset, appended.timestamp_ms, now);
            }
            Landed::Lost(error) => {
                let fault = Fault::from(&error);
                if fault.is_outage() {
                    self.sender.breaker.record(false);
                }
                tracing::debug!(%error, serial = entry.serial, "a record was lost");
                self.ledger.lost(entry, fault);
            }
            Landed::Settled => self.ledger.settle(entry),
        }
    }

    fn tick(&mut self) {
        self.ticked = Instant::now();
        let now = self.now();
        while let Some(entry) = self.replay.late(now.ms) {
            self.land(entry, Landed::Lost(AppendError::Unknown));
        }
        while let Some(front) = self.flights.front() {
            if front.entry.job.deadline_ms > now.ms {
                break;
            }
            if let Some(flight) = self.flights.pop_front() {
                self.land(flight.entry, Landed::Lost(AppendError::Unknown));
            }
        }
        self.ledger.tick(now);
    }

    fn wake(&self) -> Instant {
        let busy = !self.flights.is_empty() || !self.ledger.is_empty();
        if busy {
            self.ticked + TICK_BUSY
        } else if self.ledger.tracked() > 0 || self.batches.is_some() {
            self.ticked + TICK_IDLE
        } else {
            far()
        }
    }

    fn answer(&self, job: Job<Load>, answer: Answer) {
        if !job.load.tried {
            self.sender.breaker.untried();
        }
        let leaving = self.sender.shutdown.is_started();
        let result = self
            .sender
            .scribe
            .write(&job.channel, &job.id, answer, leaving);
        self.sender
            .metrics
            .latency
            .observe(job.load.arrived.elapsed().as_secs_f64());
        match &result {
            Ok(published) => self.sender.metrics.stored("durable", published.duplicate),
            Err(error) => self.sender.metrics.refused("durable", error),
        }
        (job.load.reply.0)(result);
    }

    /// The flush deadline has passed: what is in flight has an unknown outcome, the rest was not appended.
    fn end(mut self) {
        while let Some((entry, _)) = self.replay.next() {
            self.ledger.lost(entry, Fault::Unknown);
        }
        let left = self.flights.len();
        if left > 0 {
            tracing::warn!(left, "records without an answer of the log at shutdown");
        }
        while let Some(flight) = self.flights.pop_front() {
            self.ledger.lost(flight.entry, Fault::Unknown);
        }
        self.ledger.close();
        self.act();
        // Jobs that were let through on the way have nobody left to wait for.
        while let Some(flight) = self.flights.pop_front() {
            self.ledger.lost(flight.entry, Fault::Unknown);
            self.act();
        }
    }

    fn now(&self) -> Now {
        Now {
            ms: millis(self.started.elapsed()),
            wall_ms: service::http::now_ms(),
        }
    }
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(3_600)
}
