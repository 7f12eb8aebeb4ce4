//! `rivermouth probe`: is the service on this machine ready? For health checks in images without curl.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A health check that takes longer has failed.
const DEADLINE: Duration = Duration::from_secs(2);

#[derive(Args, Clone, Debug)]
#[command(after_help = "Exit status: 0 ready, 1 not ready or not there.")]
pub(crate) struct ProbeArgs {
    /// The service's metrics port
    #[arg(
        long,
        env = "METRICS_PORT",
        default_value_t = 9090,
        value_name = "PORT"
    )]
    metrics_port: u16,
}

pub(crate) async fn run(args: &ProbeArgs) -> anyhow::Result<()> {
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), args.metrics_port);
    let answer = tokio::time::timeout(DEADLINE, ask(address))
        .await
        .with_context(|| format!("no answer from {address} within {DEADLINE:?}"))?
        .with_context(|| format!("asking {address}"))?;
    if answer.starts_with("HTTP/1.1 200 ") {
        return Ok(());
    }
    bail!("not ready: {}", answer.lines().last().unwrap_or_default())
}

async fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut socket = TcpStream::connect(address).await?;
    socket
        .write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await?;
    let mut answer = Vec::new();
    socket.take(64 * 1024).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
