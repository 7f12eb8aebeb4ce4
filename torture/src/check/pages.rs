//! Pages of history: each is a stretch of the channel's events.

use std::collections::HashSet;

use super::case::Case;
use super::frames::Frames;
use super::log::{Channel, Event};
use super::verdict::{Suspect, Verdict};
use crate::evidence::{Page, Seen};

pub(super) fn check(case: &Case<'_>, frames: &mut Frames, verdict: &mut Verdict) {
    for book in &case.evidence.books {
        for page in &book.pages {
            one(case, frames, verdict, &book.actor, page);
        }
    }
}

fn one(case: &Case<'_>, frames: &mut Frames, verdict: &mut Verdict, actor: &str, page: &Page) {
    let channel = case.events(page.channel);
    let mut suspect = Suspect {
        channel: Some(page.channel),
        ..Suspect::default()
    };
    for seen in &page.events {
        suspect.offset = Some(seen.cursor.next() - 1);
        if frames
            .check(case, verdict, (actor, page.channel), seen, suspect)
            .is_none()
        {
            return;
        }
    }
    let wrong = wrong(case, channel, page);
    if let Some(Wrong { due: Some(due), .. }) = wrong {
        suspect.offset = Some(due);
    }
    verdict.hold("history", wrong.is_none(), suspect, || {
        format!(
            "{actor}: a page of {} after {:?} before {:?}, asked for at {} ms: {}",
            case.text(page.channel),
            page.after,
            page.before,
            page.at,
            wrong.map(|wrong| wrong.what).unwrap_or_default()
        )
    });
}

/// What is wrong with a page.
struct Wrong {
    /// The offset of the event that should be there.
    due: Option<i64>,
    what: String,
}

impl Wrong {
    fn without(due: &Event, why: &str) -> Wrong {
        Wrong {
            due: Some(due.offset),
            what: format!("{} {why}", due.offset),
        }
    }
}

/// The page's events are the next ones in its direction, all of them when it says so, and never fewer than were
/// acknowledged before it was asked for unless it is full.
fn wrong(case: &Case<'_>, channel: &Channel, page: &Page) -> Option<Wrong> {
    let from = page.after.map_or(0, |cursor| cursor.next());
    // `before` is excluded: the event whose cursor it is does not count.
    let to = page.before.map_or(i64::MAX, |cursor| cursor.next() - 1);
    let offset = |seen: &Seen| seen.cursor.next() - 1;
    // What a gap may have taken is not due.
    let place = (channel.topic, channel.partition);
    let had: HashSet<i64> = page.events.iter().map(offset).collect();
    let may_lack = |event: &Event| {
        let gone = || case.may_be_gone(place, page.at, event.offset);
        page.gap && !had.contains(&event.offset) && gone()
    };
    let due = |event: &&Event| {
        (from..to).contains(&event.offset) && event.is_for(page.user) && !may_lack(event)
    };
    if page.events.len() > page.limit as usize {
        let what = format!("{} events, asked for {}", page.events.len(), page.limit);
        return Some(Wrong { due: None, what });
    }
    let expected: Vec<&Event> = if page.descending {
        // The newest may have come after the page was made: it begins with the first one that it has.
        let newest = page.events.first().map_or(-1, offset);
        let floor = case.floor(page.channel, page.at).min(to);
        let missed = channel.events.iter().rev().filter(due);
        if let Some(event) = missed
            .take_while(|event| event.offset > newest)
            .find(|event| event.offset < floor)
        {
            return Some(Wrong::without(
                event,
                "was acknowledged before and is not on it",
            ));
        }
        let older = channel.events.iter().rev().filter(due);
        older.filter(|event| event.offset <= newest).collect()
    } else {
        channel.events[channel.index_from(from)..]
            .iter()
            .filter(due)
            .collect()
    };
    for (seen, event) in page.events.iter().zip(&expected) {
        if offset(seen) != event.offset {
            let what = format!("is due where {} is", offset(seen));
            return Some(Wrong::without(event, &what));
        }
    }
    if page.events.len() > expected.len() {
        let what = "more events than there are".to_owned();
        return Some(Wrong { due: None, what });
    }
    let floor = case.floor(page.channel, page.at);
    let rest = expected[page.events.len()..].first();
    let certain = |event: &&Event| page.descending || event.offset < floor;
    match rest.copied().filter(|event| certain(event)) {
        Some(event) if page.complete && !page.gap => {
            Some(Wrong::without(event, "is not on it, and it says complete"))
        }
        Some(event) if page.next.is_none() && !page.complete => Some(Wrong::without(
            event,
            "is not on it, and it says neither complete nor a next",
        )),
        _ => None,
    }
}
