//! The three services, each as one process.

mod fanout;
mod ingest;
mod persister;
pub(crate) mod process;

pub(crate) use fanout::{FanoutArgs, fanout};
pub(crate) use ingest::{Door, IngestArgs, gateway, ingest};
pub(crate) use persister::{PersisterArgs, persister};
