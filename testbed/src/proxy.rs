//! A way to a server that a test can cut at a byte, hold, delay or close.
//!
//! Bytes pass both ways unchanged until told otherwise, and everything can be told while they pass.

mod pump;

use std::net::TcpListener as StdListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// What is lost of a question that is recognised by its bytes, together with its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// It never reaches the server.
    Question,
    /// The server has answered it, and nobody hears the answer.
    Answer,
}

/// A TCP proxy on a free loopback port. Ends with all its connections when dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

/// What the connections of one proxy share.
#[derive(Debug)]
struct Shared {
    plan: watch::Sender<Plan>,
    tally: Mutex<Tally>,
}

/// How things are at present.
#[derive(Debug, Clone, Default)]
struct Plan {
    target: Option<String>,
    away: bool,
    held: [bool; 2],
    delay: [Duration; 2],
    /// Grows with each call that ends all connections.
    cuts: u64,
}

/// What is counted, and what is to happen at a count.
#[derive(Debug, Default)]
struct Tally {
    /// How many more bytes pass before their connection is cut.
    left: [Option<u64>; 2],
    passed: [u64; 2],
    cut_at_byte: usize,
    losing: Option<Losing>,
    open: usize,
}

#[derive(Debug)]
struct Losing {
    needle: Vec<u8>,
    loss: Loss,
    count: usize,
}

impl Proxy {
    /// To a server (`host:port`). Needs a tokio runtime.
    pub fn to(target: impl Into<String>) -> Proxy {
        let proxy = Proxy::listen();
        proxy.forward(target);
        proxy
    }

    /// To nobody yet: connections are closed at once. For servers that have to know their proxy's port first.
    pub fn listen() -> Proxy {
        let listener = StdListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a bound socket").port();
        listener.set_nonblocking(true).expect("a fresh socket");
        let listener = TcpListener::from_std(listener).expect("a tokio runtime");
        let shared = Arc::new(Shared {
            plan: watch::Sender::new(Plan::default()),
            tally: Mutex::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Proxy {
            port,
            shared,
            accepting,
        }
    }

    /// Sends connections from now on to `target` (`host:port`).
    pub fn forward(&self, target: impl Into<String>) {
        let target = Some(target.into());
        self.shared.plan.send_modify(|plan| plan.target = target);
    }

    /// Where it listens, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Ends all connections now; new ones are let through.
    pub fn cut(&self) {
        self.shared.plan.send_modify(|plan| plan.cuts += 1);
    }

    /// Exactly `bytes` more pass this way, over all connections; the one that carries the last of them is cut
    /// right behind it. Once; the last call counts.
    pub fn cut_after(&self, way: Way, bytes: u64) {
        self.shared.tally().left[way as usize] = Some(bytes);
    }

    /// How many connections [`cut_after`](Proxy::cut_after) and [`lose`](Proxy::lose) have ended.
    pub fn cut_at_byte(&self) -> usize {
        self.shared.tally().cut_at_byte
    }

    /// Ends all connections and lets nobody in.
    pub fn away(&self) {
        self.shared.plan.send_modify(|plan| {
            plan.away = true;
            plan.cuts += 1;
        });
    }

    /// Lets connections in again.
    pub fn back(&self) {
        self.shared.plan.send_modify(|plan| plan.away = false);
    }

    /// Nothing passes this way any more, not even that the sender has gone: as if the packets were dropped.
    /// What is under way is kept and passes after [`release`](Proxy::release).
    pub fn hold(&self, way: Way) {
        self.shared.plan.send_modify(|plan| {
            plan.held[way as usize] = true;
        });
    }

    /// Ends [`hold`](Proxy::hold).
    pub fn release(&self, way: Way) {
        self.shared.plan.send_modify(|plan| {
            plan.held[way as usize] = false;
        });
    }

    /// What comes this way from now on arrives so much later, in order; zero ends that.
    pub fn delay(&self, way: Way, delay: Duration) {
        self.shared.plan.send_modify(|plan| {
            plan.delay[way as usize] = delay;
        });
    }

    /// The next `count` questions with these bytes in one piece are lost, or their answers, with their
    /// connections. The last call counts.
    pub fn lose(&self, loss: Loss, needle: &[u8], count: usize) {
        self.shared.tally().losing = Some(Losing {
            needle: needle.to_vec(),
            loss,
            count,
        });
    }

    /// How many of them are still to come.
    pub fn still_to_lose(&self) -> usize {
        let tally = self.shared.tally();
        tally.losing.as_ref().map_or(0, |losing| losing.count)
    }

    /// Bytes that passed this way so far.
    pub fn passed(&self, way: Way) -> u64 {
        self.shared.tally().passed[way as usize]
    }

    /// Connections at present.
    pub fn open(&self) -> usize {
        self.shared.tally().open
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.away();
    }
}

impl Shared {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        let mut plan = shared.plan.subscribe();
        let now = plan.borrow_and_update().clone();
        let Some(target) = now.target.filter(|_| !now.away) else {
            continue;
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            shared.tally().open += 1;
            let cut = plan.wait_for(|plan| plan.cuts != now.cuts);
            tokio::select! {
                _ = cut => {}
                () = pass(client, &target, &shared) => {}
            }
            shared.tally().open -= 1;
        });
    }
}

/// One connection, until both ends have ended or it is cut.
async fn pass(client: TcpStream, target: &str, shared: &Arc<Shared>) {
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    // Small messages arrive when they are sent, as without a proxy.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // Told of a question whose answer is to be lost.
    let (lost, losing) = watch::channel(false);
    let up = pump::up(from_client, to_server, shared, lost);
    let down = pump::down(from_server, to_client, shared, losing);
    let (mut up, mut down) = (std::pin::pin!(up), std::pin::pin!(down));
    // One way may end and the other go on; a cut ends both.
    let ended = tokio::select! {
        ended = &mut up => (ended, Way::Down),
        ended = &mut down => (ended, Way::Up),
    };
    match ended {
        (pump::Ended::Cut, _) => {}
        (pump::Ended::Over, Way::Up) => {
            up.await;
        }
        (pump::Ended::Over, Way::Down) => {
            down.await;
        }
    }
}

#[cfg(test)]
mod tests;
