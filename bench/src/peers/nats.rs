//! `nats-server`: its WebSocket without TLS and compression, on whatever port is free.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;

use anyhow::Context as _;

use super::Server;
use super::process::{Process, program};
use crate::dialect::Nats;

pub(super) fn start() -> anyhow::Result<Server> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("nats.conf");
    std::fs::write(&file, config(dir.path()))?;
    let mut command = Command::new(program("nats-server")?);
    command.arg("--config").arg(&file);
    let mut nats = Process::measured("nats-server", &mut command, dir.path())?;
    let ports = dir.path().join(format!("nats-server_{}.ports", nats.pid()));
    let address = nats
        .until(|_| address(&std::fs::read(&ports).ok()?))
        .context("where nats-server listens")?;
    nats.until_listening(address)?;
    Ok(Server {
        dialect: Rc::new(Nats::new(address)),
        pid: nats.pid(),
        redis: None,
        _processes: vec![nats],
        _dir: dir,
    })
}

/// It says in a file of that directory which ports it took.
fn config(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        r#"listen: "127.0.0.1:-1"
ports_file_dir: "{dir}"
ping_interval: "25s"
websocket {{ listen: "127.0.0.1:-1", no_tls: true, compression: false }}
"#
    )
}

/// The address of the WebSocket in the file of ports; nothing while the file is not whole.
fn address(ports: &[u8]) -> Option<SocketAddr> {
    let ports: serde_json::Value = serde_json::from_slice(ports).ok()?;
    let url = ports["websocket"][0].as_str()?;
    url.strip_prefix("ws://")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_read_from_the_servers_own_file() {
        let ports = br#"{"nats":["nats://127.0.0.1:44439"],"websocket":["ws://127.0.0.1:45273"]}"#;
        assert_eq!(address(ports), Some(([127, 0, 0, 1], 45273).into()));
        assert_eq!(address(&ports[..40]), None);
    }
}
