//! Socket.IO: `bench/peers/socketio/server.js`, alone or with Redis, which runs where the load runs and is counted apart.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;

use anyhow::{Context as _, ensure};

use super::Server;
use super::process::{Process, free_port, missing, program};
use crate::dialect::SocketIo;

pub(super) fn start(with_redis: bool) -> anyhow::Result<Server> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/socketio");
    let installed = here.join("node_modules/socket.io").exists();
    ensure!(installed, missing("Socket.IO"));
    let dir = tempfile::tempdir()?;
    let redis = with_redis.then(|| redis(dir.path())).transpose()?;
    let mut command = Command::new(program("node")?);
    command.env("NODE_ENV", "production");
    command.arg(here.join("server.js"));
    if let Some((_, address)) = &redis {
        command.arg(format!("redis://{address}"));
    }
    let mut node = Process::measured("node", &mut command, dir.path())?;
    let address = node
        .until(|node| {
            let said = node.output();
            let address = said.split_once("listening on ")?.1.split_once('\n')?.0;
            address.parse().ok()
        })
        .context("where the Socket.IO server listens")?;
    let pid = node.pid();
    let beside = redis.as_ref().map(|(process, _)| process.pid());
    let mut processes = vec![node];
    processes.extend(redis.map(|(process, _)| process));
    Ok(Server {
        dialect: Rc::new(SocketIo::new(address)),
        pid,
        redis: beside,
        _processes: processes,
        _dir: dir,
    })
}

/// A Redis that writes nothing down.
fn redis(dir: &Path) -> anyhow::Result<(Process, SocketAddr)> {
    let address = free_port()?;
    let mut command = Command::new(program("redis-server")?);
    command.args(["--bind", "127.0.0.1", "--port"]);
    command.arg(address.port().to_string());
    command.args(["--save", "", "--appendonly", "no", "--dir"]);
    command.arg(dir);
    let mut redis = Process::beside("redis-server", &mut command, dir)?;
    redis.until_listening(address)?;
    Ok((redis, address))
}
