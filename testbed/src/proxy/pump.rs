//! One way of one connection.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::{Loss, Shared, Way};

/// Pieces that may be under way while they are delayed.
const PIECES: usize = 256;
const PIECE_BYTES: usize = 64 << 10;

/// How one way of a connection ended.
pub(super) enum Ended {
    /// One of the peers has ended it.
    Over,
    /// The whole connection ends here and now.
    Cut,
}

/// A piece and when it is due.
type Piece = (Instant, Vec<u8>);

/// Client to server. Tells `lost` when a question was passed whose answer nobody is to hear.
pub(super) async fn up(
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    shared: &Arc<Shared>,
    lost: watch::Sender<bool>,
) -> Ended {
    let (sender, pieces) = mpsc::channel(PIECES);
    let taking = take(from, Way::Up, shared, sender);
    let giving = give(to, Way::Up, shared, pieces, |piece| {
        match shared.recognise(piece) {
            None => Pass::On,
            Some(Loss::Question) => Pass::Cut,
            Some(Loss::Answer) => {
                lost.send_replace(true);
                Pass::On
            }
        }
    });
    tokio::join!(taking, giving).1
}

/// Server to client. The first piece after `lost` was told ends the connection.
pub(super) async fn down(
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    shared: &Arc<Shared>,
    lost: watch::Receiver<bool>,
) -> Ended {
    let (sender, pieces) = mpsc::channel(PIECES);
    let taking = take(from, Way::Down, shared, sender);
    let giving = give(to, Way::Down, shared, pieces, |_| {
        if *lost.borrow() {
            shared.tally().cut_at_byte += 1;
            return Pass::Cut;
        }
        Pass::On
    });
    tokio::join!(taking, giving).1
}

/// Reads pieces and stamps them with the time they are due.
async fn take(
    mut from: OwnedReadHalf,
    way: Way,
    shared: &Arc<Shared>,
    pieces: mpsc::Sender<Piece>,
) {
    loop {
        let mut piece = vec![0; PIECE_BYTES];
        let read = tokio::select! {
            read = from.read(&mut piece) => read,
            () = pieces.closed() => return,
        };
        let Ok(count @ 1..) = read else { return };
        piece.truncate(count);
        let delay: Duration = shared.plan.borrow().delay[way as usize];
        if pieces.send((Instant::now() + delay, piece)).await.is_err() {
            return;
        }
    }
}

/// What becomes of a piece.
enum Pass {
    On,
    Cut,
}

/// Writes pieces when they are due and the way is free.
async fn give(
    mut to: OwnedWriteHalf,
    way: Way,
    shared: &Arc<Shared>,
    mut pieces: mpsc::Receiver<Piece>,
    mut look: impl FnMut(&[u8]) -> Pass,
) -> Ended {
    let mut plan = shared.plan.subscribe();
    loop {
        let next = pieces.recv().await;
        if let Some((due, _)) = &next {
            sleep_until(*due).await;
        }
        // That the sender has gone does not pass a held way either.
        if plan
            .wait_for(|plan| !plan.held[way as usize])
            .await
            .is_err()
        {
            return Ended::Cut;
        }
        let Some((_, piece)) = next else {
            let _ = to.shutdown().await;
            return Ended::Over;
        };
        if let Pass::Cut = look(&piece) {
            return Ended::Cut;
        }
        let (count, cut) = shared.spend(way, piece.len());
        if to.write_all(&piece[..count]).await.is_err() {
            return Ended::Over;
        }
        if cut {
            let _ = to.flush().await;
            return Ended::Cut;
        }
    }
}

impl Shared {
    /// How many of so many bytes may pass, and whether their connection ends behind them.
    fn spend(&self, way: Way, bytes: usize) -> (usize, bool) {
        let mut tally = self.tally();
        let left = &mut tally.left[way as usize];
        let whole = bytes as u64;
        let (count, cut) = match left {
            Some(most) if *most <= whole => (usize::try_from(*most).unwrap_or(bytes), true),
            Some(most) => {
                *most -= whole;
                (bytes, false)
            }
            None => (bytes, false),
        };
        if cut {
            *left = None;
            tally.cut_at_byte += 1;
        }
        tally.passed[way as usize] += count as u64;
        (count, cut)
    }

    /// Whether this piece holds a question that is to be lost.
    fn recognise(&self, piece: &[u8]) -> Option<Loss> {
        let mut tally = self.tally();
        let losing = tally.losing.as_mut().filter(|losing| losing.count > 0)?;
        let length = losing.needle.len().max(1);
        if !piece.windows(length).any(|window| window == losing.needle) {
            return None;
        }
        losing.count -= 1;
        let loss = losing.loss;
        if loss == Loss::Question {
            tally.cut_at_byte += 1;
        }
        Some(loss)
    }
}
