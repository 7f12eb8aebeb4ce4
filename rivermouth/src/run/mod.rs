//! The three services, each as one process, and the parts that `dev` shares with them.

pub(crate) mod fanout;
pub(crate) mod footing;
mod ingest;
pub(crate) mod log;
pub(crate) mod persister;
pub(crate) mod process;

pub(crate) use fanout::FanoutArgs;
pub(crate) use ingest::{Door, IngestArgs, gateway, ingest};
pub(crate) use persister::PersisterArgs;
