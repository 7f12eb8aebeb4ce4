//! Folds: what a channel's accepted events add up to, its state; and how a state is kept so that nobody has to
//! begin at the first event.
//!
//! Events go in by [`Fold::apply`], in the order of their offsets, accepted ones only. [`Fold::view`] is what clients
//! are told, [`Fold::save`] and [`Fold::restore`] are how the store keeps it. A kind of state is one module below and
//! one variant here; readers and writers of the log know folds by this type alone.

mod job;
#[cfg(test)]
mod tests;

use schemas::{Channel, Event};

use crate::job::{Job, Step};

pub use job::JobFold;

/// An accepted event, as a fold takes it.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Its place in the partition.
    pub offset: i64,
    /// Its time in the log, Unix ms.
    pub at_ms: i64,
    /// Its id.
    pub id: &'a str,
    /// Its canonical name, for example `job.update`.
    pub name: &'a str,
    /// Who published it.
    pub user: Option<&'a str>,
    /// The published JSON text.
    pub data: &'a [u8],
}

impl<'a> Entry<'a> {
    /// A record that was judged to count.
    pub fn of(event: &'a Event, offset: i64, at_ms: i64) -> Entry<'a> {
        Entry {
            offset,
            at_ms,
            id: &event.id,
            name: event.name.as_str(),
            user: event.user_id.as_deref(),
            data: &event.data,
        }
    }
}

/// A state as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// Which fold wrote it, for example `job`.
    pub kind: String,
    /// The form of its bytes, from 1; a fold reads its own and all earlier ones.
    pub version: i32,
    /// For that fold alone.
    pub bytes: Vec<u8>,
}

/// A kept state that this version cannot read: it was written by a later one, or is damaged. Fold the events from the
/// channel's beginning instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable;

/// What an event did, for those who keep tables of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Nothing that any table tells of.
    Nothing,
    /// A step of the channel's job ([`Fold::job`] is the job after it).
    Step(Step),
}

/// The state of one channel.
#[derive(Debug, Clone, PartialEq)]
pub enum Fold {
    /// The channel has events and no state beside them.
    Plain,
    /// The namespace has a state in the protocol that is not built yet: asking for it is refused by name.
    Later,
    /// `jobs.<id>`: the job.
    Job(Box<JobFold>),
}

impl Fold {
    /// The state of a channel before its first event.
    pub fn of(channel: &Channel) -> Fold {
        match channel.namespace() {
            "jobs" => Fold::Job(Box::new(JobFold::new(channel.id()))),
            "session" | "docs" | "presence" | "activity" => Fold::Later,
            _ => Fold::Plain,
        }
    }

    /// Whether its state may be asked for.
    pub fn is_served(&self) -> bool {
        !matches!(self, Fold::Later)
    }

    /// Whether events change it at all. Who reads only to fold can pass over the others.
    pub fn is_moved(&self) -> bool {
        matches!(self, Fold::Job(_))
    }

    /// Folds the channel's next accepted event in.
    pub fn apply(&mut self, entry: &Entry<'_>) -> Effect {
        match self {
            Fold::Plain | Fold::Later => Effect::Nothing,
            Fold::Job(job) => job.apply(entry).map_or(Effect::Nothing, Effect::Step),
        }
    }

    /// The state as clients are told it: JSON text, `null` where there is none.
    pub fn view(&self) -> Vec<u8> {
        match self {
            Fold::Plain | Fold::Later => b"null".to_vec(),
            Fold::Job(job) => job.view(),
        }
    }

    /// The state as it is kept: equal states give equal bytes. `None` where nothing has to be kept.
    pub fn save(&self) -> Option<Saved> {
        match self {
            Fold::Plain | Fold::Later => None,
            Fold::Job(job) => Some(job.save()),
        }
    }

    /// The state of `channel` that was saved.
    ///
    /// # Errors
    /// [`Unreadable`]: fold the events from the beginning instead.
    pub fn restore(channel: &Channel, saved: &Saved) -> Result<Fold, Unreadable> {
        match Fold::of(channel) {
            Fold::Job(_) => {
                let job = JobFold::restore(channel.id(), saved)?;
                Ok(Fold::Job(Box::new(job)))
            }
            Fold::Plain | Fold::Later => Err(Unreadable),
        }
    }

    /// Whether the state is to be kept now, `unsaved` events after it was kept last. Whoever begins with a kept state
    /// folds that many events at most.
    pub fn is_due(&self, unsaved: u64) -> bool {
        match self {
            Fold::Plain | Fold::Later => false,
            // A job is small, and its end must outlive its events.
            Fold::Job(_) => unsaved > 0,
        }
    }

    /// Bytes it holds besides its own size, about.
    pub fn weight(&self) -> usize {
        match self {
            Fold::Plain | Fold::Later => 0,
            Fold::Job(job) => job.weight(),
        }
    }

    /// The channel's job, where it is a job's channel and has heard of it.
    pub fn job(&self) -> Option<&Job> {
        match self {
            Fold::Job(job) => job.job(),
            Fold::Plain | Fold::Later => None,
        }
    }
}
