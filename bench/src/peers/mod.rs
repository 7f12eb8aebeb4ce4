//! The servers of others, as `scripts/peers.sh` installs them: each in processes with a configuration of its own, in a
//! directory and on ports that nothing else uses. What is configured is what is written here; all else is theirs.

mod nats;
mod nchan;
mod process;
mod socketio;
mod versions;

use std::fmt;
use std::rc::Rc;

use tempfile::TempDir;

use crate::dialect::Dialect;
use process::Process;
pub use versions::versions;

/// A server that is compared with. All of them send a ping every 25 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// One Socket.IO server alone.
    SocketIo,
    /// One Socket.IO server that could be one of many, over Redis.
    SocketIoRedis,
    /// nginx with nchan, one worker.
    Nchan,
    /// The NATS server over WebSocket.
    Nats,
}

impl Peer {
    /// Starts it on the processor of the servers under test, and what it needs besides on the other one.
    pub fn start(self) -> anyhow::Result<Server> {
        match self {
            Peer::SocketIo => socketio::start(false),
            Peer::SocketIoRedis => socketio::start(true),
            Peer::Nchan => nchan::start(),
            Peer::Nats => nats::start(),
        }
    }
}

/// A peer that runs; it ends with this value.
pub struct Server {
    /// How it is spoken to.
    pub dialect: Rc<dyn Dialect>,
    /// The process that does the work: its time and memory count.
    pub pid: i32,
    /// The Redis beside it.
    pub redis: Option<i32>,
    /// In the order in which they end.
    _processes: Vec<Process>,
    _dir: TempDir,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("dialect", &self.dialect)
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}
