//! The machine under the measurement: who runs on which processor, and what it costs, from the kernel's own counters.

mod cpu;
mod family;
mod memory;
mod record;

pub use cpu::{Busy, Pinned, alone_on, anywhere, cpu_of, cpu_of_family, foreign_percent};
pub use family::{children_of, family_of};
pub use memory::{Slab, private_kib};
pub use record::Machine;

/// The processor of the servers under test.
pub const SERVER_CPU: usize = 0;
/// The processor of everything else: load, Kafka, PostgreSQL.
pub const LOAD_CPU: usize = 1;
