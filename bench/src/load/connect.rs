//! Getting many clients in, a bounded number of them at a time.

use std::time::Duration;

use anyhow::{bail, ensure};
use hdrhistogram::Histogram;

use super::{Id, Load, histogram};
use crate::dialect::Who;
use crate::order::Position;

/// How clients come.
#[derive(Debug, Clone, Copy)]
pub struct Storm {
    /// On their way in at the same time, at most.
    pub in_flight: usize,
    /// How many a second; nothing for as fast as they get in.
    pub rate: Option<f64>,
    /// How long all of it may take.
    pub deadline: Duration,
}

impl Default for Storm {
    fn default() -> Storm {
        Storm {
            in_flight: 1024,
            rate: None,
            deadline: Duration::from_secs(120),
        }
    }
}

/// A storm that is over.
#[derive(Debug)]
pub struct Connected {
    /// Those who are in now.
    pub ids: Vec<Id>,
    /// From the first attempt until the last was in.
    pub took: Duration,
    /// From an attempt until it was in.
    pub each: Histogram<u64>,
}

impl Load {
    /// Brings clients in: each with its group and the number of events of it that it has already.
    pub fn connect(
        &mut self,
        clients: impl IntoIterator<Item = (Who, usize, Position)>,
        storm: Storm,
    ) -> anyhow::Result<Connected> {
        let start = self.now_ns();
        let deadline = start + storm.deadline.as_nanos() as u64;
        let mut each = histogram();
        let mut ids = Vec::new();
        let mut waiting: Vec<Id> = Vec::new();
        let mut clients = clients.into_iter().peekable();
        while clients.peek().is_some() || !waiting.is_empty() {
            let now = self.now_ns();
            ensure!(
                now < deadline,
                "{} of the clients are not in; complaints: {:?}",
                waiting.len(),
                self.complaints
            );
            let due = storm.rate.map_or(usize::MAX, |rate| {
                ((now - start) as f64 / 1e9 * rate) as usize + 1
            });
            while waiting.len() < storm.in_flight && ids.len() < due {
                let Some((who, group, position)) = clients.next() else {
                    break;
                };
                let id = self.open(who, group, position)?;
                self.conns[id].opened_ns = self.now_ns();
                ids.push(id);
                waiting.push(id);
            }
            let joined = self.counts.joined;
            self.turn(self.now_ns() + 1_000_000)?;
            if self.counts.joined == joined {
                continue;
            }
            let now = self.now_ns();
            let mut gone = false;
            waiting.retain(|&id| match self.conns.get(id) {
                Some(conn) if conn.stage == super::conn::Stage::Joined => {
                    each.saturating_record(now - conn.opened_ns);
                    false
                }
                Some(_) => true,
                None => {
                    gone = true;
                    false
                }
            });
            if gone {
                bail!("clients were refused: {:?}", self.complaints);
            }
        }
        Ok(Connected {
            ids,
            took: Duration::from_nanos(self.now_ns() - start),
            each,
        })
    }

    /// Lets time pass, answering what has to be answered.
    pub fn idle(&mut self, time: Duration) -> anyhow::Result<()> {
        let end = self.now_ns() + time.as_nanos() as u64;
        while self.now_ns() < end {
            self.turn(end)?;
        }
        Ok(())
    }

    /// Waits until every client of the groups has all that was published for them; what is missing at the deadline is
    /// counted as lost.
    pub fn drain(&mut self, groups: &[usize], patience: Duration) -> anyhow::Result<()> {
        let deadline = self.now_ns() + patience.as_nanos() as u64;
        loop {
            let level = |group: &usize| {
                let group = &self.groups[*group];
                group.order.is_nobodys() || group.order.complete() >= group.published
            };
            if groups.iter().all(level) || self.now_ns() > deadline {
                break;
            }
            self.turn(self.now_ns() + 5_000_000)?;
        }
        for &at in groups {
            let group = &self.groups[at];
            let positions = self.conns.iter().map(|(_, conn)| conn);
            let positions = positions.filter(|conn| conn.who.member && conn.group == at);
            let missing = group
                .order
                .missing(group.published, positions.map(|conn| conn.position));
            self.counts.wrong.lost += missing;
        }
        Ok(())
    }
}
