//! One pass over the log that fills all the pulls waiting for the partition.

use std::{
    collections::{HashMap, HashSet},
    ops::ControlFlow,
    sync::{Arc, PoisonError},
};

use schemas::Channel;
use state::{ChannelState, Judged};

use super::{
    Tiers, catchup::Fetch, catchup::PASS, catchup::States, catchup::answer, scan::ScanError,
};
use crate::{chunk::away, event::Delivered, place::Place, plan::Extent};

/// A pull that the log answers: filled while the scan passes.
pub(super) struct Pass {
    fetch: Fetch,
    state: ChannelState,
    judge_from: i64,
    events: Vec<Arc<Delivered>>,
    bytes: usize,
    full_at: Option<i64>,
}

impl Tiers {
    pub(super) async fn prepare(
        &self,
        fetch: Fetch,
        judge_from: i64,
        checkpoint: bool,
        extent: &Extent,
        states: &States,
    ) -> Option<Pass> {
        let known = {
            let mut states = states.lock().unwrap_or_else(PoisonError::into_inner);
            states.get(&(fetch.channel.clone(), fetch.next)).cloned()
        };
        let (judge_from, state) = match known {
            Some(state) => (fetch.next, state),
            None if checkpoint => {
                let (next, state) = self
                    .checkpoint(&fetch.place, &fetch.channel, extent.log_low)
                    .await;
                if next > fetch.next {
                    // The store has moved past the position meanwhile: the next pull finds the rows there.
                    let start = fetch.next;
                    answer(fetch, start, None, Vec::new(), start);
                    return None;
                }
                (next, state)
            }
            None => (judge_from, ChannelState::new()),
        };
        Some(Pass {
            fetch,
            state,
            judge_from,
            events: Vec::new(),
            bytes: 0,
            full_at: None,
        })
    }

    /// One pass over the log for all of them.
    pub(super) async fn serve_logged(&self, place: &Place, mut passes: Vec<Pass>, states: &States) {
        let Some(from) = passes.iter().map(|p| p.judge_from).min() else {
            return;
        };
        let to = passes.iter().map(|p| p.fetch.until).max().unwrap_or(from);
        let mut by_channel: HashMap<Channel, Vec<usize>> = HashMap::new();
        for (index, pass) in passes.iter().enumerate() {
            by_channel
                .entry(pass.fetch.channel.clone())
                .or_default()
                .push(index);
        }
        let keys: HashSet<Vec<u8>> = by_channel
            .keys()
            .map(|c| c.id().as_bytes().to_vec())
            .collect();
        let mut unfilled = passes.len();
        let framer = &self.framer;
        let scanned = self
            .scanner
            .scan(
                place,
                from,
                to,
                |key| keys.contains(key),
                |record| {
                    for &index in by_channel.get(&record.event.channel).into_iter().flatten() {
                        let pass = &mut passes[index];
                        if pass.full_at.is_some()
                            || record.offset < pass.judge_from
                            || record.offset >= pass.fetch.until
                        {
                            continue;
                        }
                        if pass.bytes >= pass.fetch.bytes_max {
                            pass.full_at = Some(record.offset);
                            unfilled -= 1;
                            continue;
                        }
                        let judged = pass.state.judge(&record.event, record.offset, record.at_ms);
                        if let Judged::Accepted { prev, .. } = judged
                            && record.offset >= pass.fetch.next
                        {
                            let event = framer.accepted(
                                place,
                                &record.event,
                                record.offset,
                                record.at_ms,
                                prev,
                            );
                            pass.bytes += event.line().len();
                            pass.events.push(event);
                        }
                    }
                    if unfilled == 0 {
                        ControlFlow::Break(())
                    } else {
                        ControlFlow::Continue(())
                    }
                },
                PASS,
            )
            .await;
        let reached = match scanned {
            Ok(reached) => reached,
            Err(ScanError::Late(reached)) if reached > from => reached,
            // Retention moved underneath: the next pull finds the new beginning, and the gap if there is one.
            Err(ScanError::Gone(_)) => {
                return passes.into_iter().for_each(|p| {
                    let start = p.fetch.next;
                    answer(p.fetch, start, None, Vec::new(), start);
                });
            }
            Err(error) => {
                tracing::warn!(topic = %place.topic, partition = place.partition, %error, "catch-up failed");
                return passes
                    .into_iter()
                    .for_each(|p| p.fetch.reply.send(Err(away())));
            }
        };
        let mut states = states.lock().unwrap_or_else(PoisonError::into_inner);
        for pass in passes {
            let start = pass.fetch.next;
            let next = pass
                .full_at
                .unwrap_or(reached.min(pass.fetch.until))
                .max(start);
            if next > start && next < pass.fetch.until {
                states.put((pass.fetch.channel.clone(), next), pass.state);
            }
            answer(pass.fetch, start, None, pass.events, next);
        }
    }
}
