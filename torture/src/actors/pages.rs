//! A pager: it walks through the history of channels, forwards and backwards, with limits of its own.

use std::time::Duration;

use client::{History, Http};
use testbed::Random;

use super::{Desk, Phase};
use crate::evidence::{Book, Cursor, Frame, Page, Seen, Stray};
use crate::workload::any;

/// The pager.
#[derive(Debug)]
pub(super) struct Pager {
    pub(super) actor: String,
    pub(super) user: String,
    pub(super) token: String,
    pub(super) channels: Vec<String>,
    pub(super) every: Duration,
}

impl Pager {
    pub(super) async fn run(self, desk: Desk, mut random: Random) -> Book {
        let mut book = Book {
            actor: self.actor.as_str().into(),
            ..Book::default()
        };
        while !desk.rest(self.every, Phase::Calm).await {
            self.walk(&desk, &mut random, &mut book).await;
        }
        book
    }

    /// A few pages one after the other, as somebody who scrolls.
    async fn walk(&self, desk: &Desk, random: &mut Random, book: &mut Book) {
        let channel = any(random, &self.channels);
        let descending = random.below(2) == 0;
        let limit = *any(random, &[1, 7, 50, 200]);
        let mut from: Option<Cursor> = None;
        for _ in 0..=random.below(4) {
            let Ok(http) = Http::new(desk.reader_door(random), Some(&self.token)) else {
                return;
            };
            let text = from.map(|cursor| cursor.to_string());
            let (after, before) = if descending {
                (None, text)
            } else {
                (text, None)
            };
            let asked = History {
                channel: channel.clone(),
                after,
                before,
                limit: Some(limit),
                order: Some(if descending { "desc" } else { "asc" }),
                ..History::default()
            };
            let at = desk.clock.now();
            let Ok(answer) = http.history(&asked).await else {
                return;
            };
            let mut events: Vec<Seen> = Vec::with_capacity(answer.events.len());
            for event in &answer.events {
                match Frame::parse(&event.raw).and_then(|frame| frame.seen(&event.raw)) {
                    Some(seen) => events.push(seen),
                    None => book.strays.push(Stray {
                        at,
                        why: "an event of history that cannot be read".into(),
                        frame: event.raw.chars().take(400).collect(),
                    }),
                }
            }
            let next = answer.next.as_deref().and_then(Cursor::parse);
            book.pages.push(Page {
                at,
                channel: desk.names.number(channel),
                user: desk.names.number(&self.user),
                after: from.filter(|_| !descending),
                before: from.filter(|_| descending),
                limit,
                descending,
                events,
                next,
                complete: answer.complete,
                gap: answer.gap.is_some(),
            });
            from = next;
            if from.is_none() {
                return;
            }
        }
    }
}
