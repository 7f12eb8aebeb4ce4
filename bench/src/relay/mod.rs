//! The reference servers: the least that a server must do to pass a message on. No channels in a log, no identity,
//! no resumption; one thread, one epoll. What anything costs more than this is the price of what it does more.

mod conn;
mod serve;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use socket2::{Domain, Socket, Type};

pub use serve::serve;

/// How the relay writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Manner {
    /// One write for each connection that something was queued for, at the end of each round of epoll.
    Coalesce,
    /// One write for each message.
    Each,
}

impl Manner {
    /// Its name in results.
    pub fn name(self) -> &'static str {
        match self {
            Manner::Coalesce => "raw",
            Manner::Each => "raw-nocoalesce",
        }
    }
}

/// A relay in a process of its own; it ends with this value.
#[derive(Debug)]
pub struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    /// Starts this very program as a relay on a free port. It runs where the calling thread runs.
    pub fn start(manner: Manner) -> anyhow::Result<Process> {
        // The port is bound here and handed over, so that nobody else can take it in between.
        let listener = listener().context("binding a port")?;
        let address = listener.local_addr()?;
        let manner = match manner {
            Manner::Coalesce => "coalesce",
            Manner::Each => "each",
        };
        let child = Command::new(std::env::current_exe()?)
            .args(["relay", "--manner", manner])
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(listener)))
            .spawn()
            .context("starting a relay")?;
        Ok(Process { child, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }
}

/// The standard library's lets only 128 connections wait: the others of a storm would come back after a second.
fn listener() -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}

impl Drop for Process {
    fn drop(&mut self) {
        // It keeps nothing that would have to be put away.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
