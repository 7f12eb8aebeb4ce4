//! A way to PostgreSQL that a test can cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes bytes both ways until told otherwise.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    state: Arc<State>,
    cut: watch::Sender<u64>,
}

struct State {
    /// Nobody is let through.
    away: AtomicBool,
    /// How many commits are still to lose their answer.
    deaf_commits: AtomicUsize,
}

impl Proxy {
    pub(crate) async fn to(address: String) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            away: AtomicBool::new(false),
            deaf_commits: AtomicUsize::new(0),
        });
        let (cut, cuts) = watch::channel(0);
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if shared.away.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(server) = TcpStream::connect(&address).await else {
                    continue;
                };
                let mut cuts = cuts.clone();
                cuts.mark_unchanged();
                let state = Arc::clone(&shared);
                tokio::spawn(async move {
                    tokio::select! {
                        _ = cuts.changed() => {}
                        () = pass(client, server, &state) => {}
                    }
                });
            }
        });
        Proxy { port, state, cut }
    }

    /// Ends all connections and lets nobody in.
    pub(crate) fn away(&self) {
        self.state.away.store(true, Ordering::SeqCst);
        self.cut.send_modify(|cuts| *cuts += 1);
    }

    pub(crate) fn back(&self) {
        self.state.away.store(false, Ordering::SeqCst);
    }

    /// The next `count` commits reach PostgreSQL, but their answers are lost with their connections.
    pub(crate) fn lose_commits(&self, count: usize) {
        self.state.deaf_commits.store(count, Ordering::SeqCst);
    }

    pub(crate) fn commits_to_lose(&self) -> usize {
        self.state.deaf_commits.load(Ordering::SeqCst)
    }
}

async fn pass(mut client: TcpStream, mut server: TcpStream, state: &State) {
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let up = async {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let Ok(count @ 1..) = from_client.read(&mut buffer).await else {
                return;
            };
            let bytes = &buffer[..count];
            if to_server.write_all(bytes).await.is_err() {
                return;
            }
            let commits = bytes.windows(6).any(|window| window == b"COMMIT");
            let lose = |left: usize| left.checked_sub(1);
            if commits
                && state
                    .deaf_commits
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, lose)
                    .is_ok()
            {
                // PostgreSQL has the command; hearing its answer proves that it is done, and nobody else hears it.
                return;
            }
        }
    };
    let down = async {
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}
