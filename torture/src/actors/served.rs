//! What the server serves: what is refused as not served yet is not asked for in the run.

use std::time::Duration;

use anyhow::bail;
use client::{Credential, ServerMessage, Socket, SocketOptions};
use testbed::Random;
use tokio::time::timeout;

use super::Desk;

/// What there is beyond the beginning.
#[derive(Debug, Clone, Copy, Default)]
pub struct Served {
    /// Kept cursors.
    pub durable: bool,
    /// `snapshot: true` on jobs.
    pub snapshots: bool,
}

/// Asks for each once.
///
/// # Errors
/// The server does not answer, or refuses for another reason.
pub async fn served(desk: &Desk, random: &mut Random) -> anyhow::Result<Served> {
    Ok(Served {
        durable: asked(desk, random, r#"{"channel":"session.ask","durable":"ask"}"#).await?,
        snapshots: asked(desk, random, r#"{"channel":"jobs.ask","snapshot":true}"#).await?,
    })
}

async fn asked(desk: &Desk, random: &mut Random, params: &str) -> anyhow::Result<bool> {
    let door = desk.reader_door(random);
    let credential = Credential::Header(desk.world.backend());
    let (mut socket, _) =
        Socket::open(&door, "/ws", &credential, &SocketOptions::default()).await?;
    socket.request("ask", "subscribe", params).await?;
    loop {
        match timeout(Duration::from_secs(20), socket.next()).await?? {
            ServerMessage::Response { .. } => return Ok(true),
            ServerMessage::Error { refusal, .. } => {
                let details = refusal.details.as_ref();
                let unserved = details.is_some_and(|details| details.get("unserved").is_some());
                // The job does not exist, which only somebody says who serves snapshots of jobs.
                if unserved || refusal.name == "NOT_FOUND" {
                    return Ok(!unserved);
                }
                bail!("{params} was refused: {refusal}");
            }
            _ => {}
        }
    }
}
