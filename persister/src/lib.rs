//! The log -> PostgreSQL: every accepted event becomes a row exactly once.
//!
//! Instances share the partitions by leases. A leased partition is read from its stored offset, its records are
//! decoded, judged (D3) and written with the next offset in one transaction. Whoever is not where the stored offset is
//! gets fenced by that transaction and begins again from there, so everything in memory may be lost at any moment.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod batch;
mod budget;
mod channels;
mod config;
mod dead;
mod decode;
mod folds;
mod gather;
mod instance;
mod kept;
mod lane;
mod lookout;
mod metrics;
mod pause;
pub mod rebuild;
mod standings;
mod upkeep;
mod worker;

pub use config::{PersisterConfig, Ports, SchemaFetch};
pub use instance::{PersisterError, run};

// Ids the store forgets too early, or keeps too long, would give other verdicts than live readers give.
const _: () = assert!(store::HORIZON_MS == state::HORIZON_MS);
