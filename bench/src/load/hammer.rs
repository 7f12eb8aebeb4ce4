//! Clients that publish over HTTP, each waiting for its answer before the next.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use super::run::{Reading, Watched};
use super::{Counts, Run};
use crate::dialect::{EVENT, channel};
use crate::payload::Mark;

/// An answer is smaller than this.
const ANSWER_MAX: usize = 4096;

/// A crowd with a connection each.
#[derive(Debug)]
pub struct Hammer {
    /// The gateway.
    pub address: SocketAddr,
    /// One for each client.
    pub tokens: Vec<String>,
    /// Spread over so many channels.
    pub channels: u32,
    /// Bytes of a payload.
    pub bytes: usize,
}

/// What the clients share.
#[derive(Debug)]
struct Shared {
    counts: RefCell<Counts>,
    complaints: RefCell<Vec<String>>,
    end: Instant,
}

impl Hammer {
    /// Publishes for that long.
    pub async fn run(
        &self,
        warm_up: Duration,
        time: Duration,
        watched: &[Watched],
    ) -> anyhow::Result<Run> {
        let shared = Rc::new(Shared {
            counts: RefCell::new(Counts::new()),
            complaints: RefCell::default(),
            end: Instant::now() + warm_up + time,
        });
        let clients = LocalSet::new();
        for (token, user) in self.tokens.iter().zip(0..) {
            let client = client(
                self.address,
                token.clone(),
                user,
                user % self.channels,
                self.bytes,
                Rc::clone(&shared),
            );
            let shared = Rc::clone(&shared);
            clients.spawn_local(async move {
                if let Err(error) = client.await {
                    shared.counts.borrow_mut().wrong.complaints += 1;
                    shared.complaints.borrow_mut().push(format!("{error:#}"));
                }
            });
        }
        let measured = clients.run_until(async {
            tokio::time::sleep(warm_up).await;
            shared.counts.borrow_mut().renew();
            let (before, start) = (Reading::take(watched)?, Instant::now());
            tokio::time::sleep(time).await;
            let counts = shared.counts.borrow_mut().renew();
            let took = start.elapsed();
            Ok::<_, anyhow::Error>((before.until(watched)?, counts, took))
        });
        let (spent, mut counts, time) = measured.await?;
        clients.await;
        counts.wrong = shared.counts.borrow().wrong;
        let complaints = shared.complaints.borrow().clone();
        Ok(Run {
            time,
            counts,
            due: None,
            spent,
            complaints,
        })
    }
}

async fn client(
    address: SocketAddr,
    token: String,
    user: u32,
    number: u32,
    bytes: usize,
    shared: Rc<Shared>,
) -> anyhow::Result<()> {
    let mut socket = TcpStream::connect(address).await.context("connecting")?;
    socket.set_nodelay(true)?;
    let channel = channel(number);
    let mut answer = vec![0; ANSWER_MAX];
    let started = Instant::now();
    for count in 0.. {
        let due = Instant::now();
        if due >= shared.end {
            break;
        }
        let mark = Mark {
            sender: user,
            number: count,
            due_ns: due.duration_since(started).as_nanos() as u64,
        };
        let mut data = Vec::new();
        mark.write(bytes, &mut data);
        let data = String::from_utf8(data)?;
        let body = format!(r#"{{"channel":"{channel}","event":"{EVENT}","data":{data}}}"#);
        let request = format!(
            "POST /api/realtime/publish HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        socket.write_all(request.as_bytes()).await?;
        take_answer(&mut socket, &mut answer).await?;
        let mut counts = shared.counts.borrow_mut();
        counts.acknowledged += 1;
        counts
            .last
            .saturating_record(due.elapsed().as_nanos() as u64);
    }
    Ok(())
}

/// Reads one whole answer, which has to be a success.
async fn take_answer(socket: &mut TcpStream, buffer: &mut [u8]) -> anyhow::Result<()> {
    let mut filled = 0;
    loop {
        let length = socket.read(&mut buffer[filled..]).await?;
        anyhow::ensure!(length > 0, "the server ended the connection");
        filled += length;
        let text = &buffer[..filled];
        let Some(head) = memchr::memmem::find(text, b"\r\n\r\n") else {
            continue;
        };
        if filled < head + 4 + content_length(&text[..head])? {
            continue;
        }
        if !text.starts_with(b"HTTP/1.1 200") {
            bail!("refused: {}", String::from_utf8_lossy(text));
        }
        return Ok(());
    }
}

fn content_length(head: &[u8]) -> anyhow::Result<usize> {
    let head = std::str::from_utf8(head)?;
    let named = head.lines().filter_map(|line| line.split_once(':'));
    let length = named
        .filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .find_map(|(_, value)| value.trim().parse().ok());
    length.context("an answer without its length")
}
