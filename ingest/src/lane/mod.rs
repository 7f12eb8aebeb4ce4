//! One partition of the durable lane: what waits, what is in flight, and what its answers are.
//!
//! [`Lane`] is the handle that publishes enter through. Behind it stands one task (`sender`) that appends in
//! order and feeds a pure state machine (`ledger`), which knows the outboxes (`track`) and says what to
//! answer. `tail` reads the log back where other writers stand between our records; `lookup` finds out
//! where a channel's outboxes stand.

mod flight;
mod job;
mod ledger;
mod letter;
mod lookup;
mod queue;
mod replay;
mod scribe;
mod sender;
#[cfg(test)]
mod sim;
mod tail;
mod track;

pub(crate) use job::{Claim, Identity};
pub(crate) use ledger::Bounds;
pub(crate) use letter::Letter;
pub(crate) use lookup::Lookup;
pub(crate) use queue::{Lane, LaneBreaker, leaving};
pub(crate) use scribe::Scribe;
pub(crate) use sender::Sender;
pub(crate) use tail::TailReader;
