//! The test bed: real Kafka, real PostgreSQL, real processes of `rivermouth`, and a checker of its own.
//!
//! [`Bed`] builds a world in a few lines (own database, own topics, own ports) and takes it down when dropped.
//! [`checker`] reads Kafka and PostgreSQL itself, works the acceptance rule out by itself, and compares: it
//! shares no code with the services it judges.
//!
//! The shared servers come from the environment (`make test` sets it):
//!
//! - `RIVERMOUTH_TEST_KAFKA`: bootstrap address of a Kafka to make topics in;
//! - `RIVERMOUTH_TEST_DATABASE_URL`: URL of a PostgreSQL superuser, to make databases with;
//! - `RIVERMOUTH_TEST_PYTHON`: a Python with `testbed/python/requirements.txt`; `python3` without it.
#![warn(missing_docs)]
// A bed that cannot be built ends the test there and then: that is what panics are for.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

pub mod checker;
mod disk;
mod environment;
mod kafka;
mod node;
mod postgres;
mod process;
mod proxy;
mod random;
mod registry;
mod server;
mod token;
mod topics;
mod transaction;
mod wait;
mod world;

pub use crate::disk::Disk;
pub use crate::environment::{python, workspace};
pub use crate::kafka::{Broker, Cluster, Foreign};
pub use crate::node::Node;
pub use crate::postgres::{Database, Held};
pub use crate::process::{Exited, Process};
pub use crate::proxy::{Loss, Proxy, Way};
pub use crate::random::Random;
pub use crate::registry::Registry;
pub use crate::server::Server;
pub use crate::token::Token;
pub use crate::transaction::Transactions;
pub use crate::wait::{PATIENCE, until, within};
pub use crate::world::{Bed, unix_ms};
