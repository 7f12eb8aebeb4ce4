//! Where a session began: the answer to a subscribe, and whether it kept its word.

use super::{Expected, Judge, State};
use crate::evidence::{Since, Started};

impl<'a> Judge<'a, '_> {
    pub(super) fn started(&mut self, state: &mut State<'a>, started: &'a Started) {
        state.session.started = Some(started);
        let position = started.cursor.map(|cursor| cursor.next());
        if let Some(was) = started.was_recovering {
            let wanted = match state.session.since {
                Since::Cursor(_) => Some(true),
                Since::Latest => Some(false),
                _ => None,
            };
            if let Some(wanted) = wanted {
                let suspect = self.suspect(state, None);
                self.verdict.hold("recovered", was == wanted, suspect, || {
                    format!(
                        "{}: wasRecovering {was} after {:?}",
                        self.actor, state.session.since
                    )
                });
            }
        }
        match (state.session.since, position) {
            (Since::Latest, position) => self.started_at_head(state, position),
            (Since::Time(ms), Some(position)) => {
                self.started_at_time(state, ms, position);
                state.expected = Expected::at(position);
            }
            (Since::Last(most), Some(position)) => {
                self.started_at_last(state, most, position);
                state.expected = Expected::at(position);
            }
            (Since::Kept, Some(position)) if state.kept.high >= 0 => {
                let suspect = self.suspect(state, Some(position));
                let range = state.kept.low..=state.kept.high;
                self.verdict
                    .hold("kept", range.contains(&position), suspect, || {
                        format!(
                            "{}: starts at {position}, acknowledged {range:?}",
                            self.actor
                        )
                    });
                state.expected = Expected::at(position);
            }
            _ => {}
        }
    }

    fn started_at_head(&mut self, state: &mut State<'a>, position: Option<i64>) {
        let ceiling = self.case.ceiling(self.reading.channel, state.at);
        let floor = state.expected.low;
        let Some(position) = position else {
            state.expected.high = ceiling;
            return;
        };
        let suspect = self.suspect(state, Some(position));
        self.verdict.hold("own_writes", floor <= position && position <= ceiling, suspect, || {
            format!(
                "{}: the head of {} was told as {position}; it lay between {floor} and {ceiling}",
                self.actor,
                self.case.text(self.reading.channel)
            )
        });
        state.expected = Expected::at(position);
    }

    /// Nothing of that time or later lies before the start.
    fn started_at_time(&mut self, state: &State<'a>, ms: i64, position: i64) {
        let until = state.channel.index_from(position);
        let early = state.channel.events[..until]
            .iter()
            .find(|event| event.at_ms >= ms && self.visible(event));
        let suspect = self.suspect(state, early.map(|event| event.offset));
        self.verdict.hold("complete", early.is_none(), suspect, || {
            format!(
                "{}: since time {ms} starts at {position}, after an event of that time",
                self.actor
            )
        });
    }

    /// No more than it asked for, counting only what was certainly there.
    fn started_at_last(&mut self, state: &State<'a>, most: u32, position: i64) {
        let head = self
            .case
            .floor(self.reading.channel, state.session.asked_at);
        let certain = self.between(state.channel, position, head).count();
        let suspect = self.suspect(state, Some(position));
        self.verdict
            .hold("order", certain <= most as usize, suspect, || {
                format!(
                    "{}: the last {most} begin at {position}: {certain} before the head",
                    self.actor
                )
            });
    }

    /// A session is over: `recovered` must have said whether something was missing.
    pub(super) fn recovered(&mut self, state: &State<'a>) {
        let Some(started) = state.session.started else {
            return;
        };
        let positioned = matches!(
            state.session.since,
            Since::Cursor(_) | Since::Continue | Since::Kept
        );
        if positioned {
            self.verdict.check("resumed");
        }
        if let (Some(recovered), true) = (started.recovered, state.session.under_way) {
            let suspect = self.suspect(state, Some(state.expected.low));
            // A gap that opens later, while it reads, is not what the answer spoke of.
            let (told, first) = (state.session.gap_told, state.session.gap_first);
            let holds = if recovered { !first } else { told };
            self.verdict.hold("recovered", holds, suspect, || {
                format!(
                    "{}: recovered {recovered}, a gap told: {told}, before any event: {first}",
                    self.actor
                )
            });
        }
    }
}
