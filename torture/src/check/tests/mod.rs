//! The judge must be able to fail: a good run has nothing wrong, and every way to spoil it is found as what it is.

mod scene;

use super::CHECKS;
use super::verdict::Verdict;
use crate::evidence::{Note, Noted, Since, Started, Stray, Told};
use scene::{STEP_MS, Scene, cursor_at, other};

fn spoiled(spoil: impl FnOnce(&mut Scene)) -> Verdict {
    let mut scene = Scene::good();
    spoil(&mut scene);
    scene.judge()
}

/// Asserts that this is found, and gives the rest to look at.
fn found(kind: &str, spoil: impl FnOnce(&mut Scene)) -> Verdict {
    let verdict = spoiled(spoil);
    assert!(
        verdict.violated.contains_key(kind),
        "{kind} is not among {:#?}",
        verdict.violations
    );
    verdict
}

#[test]
fn a_good_run_has_nothing_wrong_and_every_check_made() {
    let verdict = Scene::good().judge();
    assert_eq!(verdict.total(), 0, "{:#?}", verdict.violations);
    assert_eq!(verdict.unmade(false), Vec::<&str>::new());
    let never: Vec<_> = CHECKS
        .iter()
        .map(|(name, ..)| *name)
        .filter(|name| verdict.checks[name] == 0)
        .collect();
    // What these need is made by the tests about them.
    assert_eq!(never, ["refused", "gap", "window"]);
}

#[test]
fn an_acknowledgement_without_a_record_is_found() {
    found("acknowledged", |scene| {
        let publish = &mut scene.evidence.books[0].publishes[0];
        publish.told = Told::Acked {
            cursor: Some(cursor_at(0, 4_711)),
            duplicate: false,
        };
    });
}

#[test]
fn an_acknowledgement_with_anothers_cursor_is_found() {
    found("acknowledged", |scene| {
        let told = scene.evidence.books[0].publishes[1].told;
        scene.evidence.books[0].publishes[0].told = told;
    });
}

#[test]
fn a_duplicate_of_nothing_is_found() {
    found("duplicate", |scene| {
        let publish = &mut scene.evidence.books[0].publishes[7];
        publish.id = Some("never-stored".into());
        publish.told = Told::Acked {
            cursor: None,
            duplicate: true,
        };
    });
}

#[test]
fn a_refusal_of_what_counts_is_found() {
    found("refused", |scene| {
        let name = scene.name("UNAVAILABLE");
        scene.evidence.books[0].publishes[7].told = Told::Refused(name);
    });
}

#[test]
fn an_event_that_nobody_sent_is_found() {
    found("sent", |scene| {
        scene.evidence.books[0].publishes.remove(7);
    });
    found("sent", |scene| {
        let publish = &mut scene.evidence.books[0].publishes[7];
        publish.data = other(publish.data);
    });
}

#[test]
fn what_is_left_out_is_found_wherever_it_is() {
    // The second is the one that the resumed session itself names as its last.
    for nth in (0..11).filter(|nth| *nth != 1) {
        let verdict = found("complete", |scene| {
            let at = scene.nth_event(2, nth);
            scene.notes(2).remove(at);
        });
        assert!(!verdict.violations[0].story.is_empty());
    }
}

#[test]
fn what_comes_twice_is_found() {
    found("order", |scene| {
        let at = scene.nth_event(1, 4);
        let again = scene.notes(1)[at].clone();
        scene.notes(1).insert(at + 1, again);
    });
}

#[test]
fn what_comes_in_another_order_is_found() {
    found("order", |scene| {
        let at = scene.nth_event(1, 4);
        scene.notes(1).swap(at, at + 1);
    });
}

#[test]
fn a_void_record_that_is_delivered_is_found() {
    let verdict = found("counts", |scene| {
        // The retry lies behind the sixth event.
        let seen = scene.seen(1, 5);
        seen.cursor = cursor_at(seen.cursor.partition(), seen.cursor.next() + 1);
    });
    let told = verdict.violations.iter().find(|told| told.kind == "counts");
    assert!(told.unwrap().what.contains("a void record"));
}

#[test]
fn an_event_of_somebody_else_is_found() {
    found("entitled", |scene| {
        let all = scene.visible("session.a", "ann");
        let addressed = *all.iter().find(|seen| seen.addressed).unwrap();
        let at = scene.nth_event(2, 7);
        let note = Note::Event(addressed);
        scene.notes(2).insert(at, Noted { at: 3_500, note });
    });
    found("entitled", |scene| {
        scene.evidence.books[1].strays.push(Stray {
            at: 1,
            why: "never subscribed".into(),
            frame: "{}".into(),
        });
    });
}

#[test]
fn another_content_is_found() {
    found("content", |scene| {
        let seen = scene.seen(1, 3);
        seen.fact = other(seen.fact);
    });
}

#[test]
fn other_bytes_for_one_reader_are_found() {
    found("bytes", |scene| {
        let seen = scene.seen(2, 3);
        seen.raw = other(seen.raw);
    });
}

#[test]
fn a_broken_chain_is_found() {
    found("prev", |scene| {
        let earlier = scene.seen(1, 1).cursor;
        scene.seen(1, 4).prev = Some(earlier);
    });
    found("prev", |scene| scene.seen(1, 4).prev = None);
}

#[test]
fn a_false_alarm_is_found() {
    found("gap", |scene| {
        let to = scene.seen(1, 3).cursor;
        let at = scene.nth_event(1, 3);
        let reason = scene.name("retention");
        let note = Note::Gap {
            from: None,
            to: Some(to),
            reason,
        };
        scene.notes(1).drain(at..=at);
        scene.notes(1).insert(at, Noted { at: 3_500, note });
    });
}

/// Erased from the log before it was stored, told to the reader and in the tables: nothing is wrong.
#[test]
fn a_true_gap_is_none_and_an_untold_one_is_found() {
    let erase = |scene: &mut Scene, told: bool| {
        let channel = scene.channel("session.a").clone();
        let partition = (channel.topic, channel.partition);
        let gone = channel.events[2].offset + 1;
        for looked in [2_000, 9_000] {
            scene.log.tide.low(partition, looked, gone);
        }
        scene.tables.lost.insert(partition, vec![(0, gone)]);
        let reason = scene.name("retention");
        let to = Some(cursor_at(channel.partition, gone));
        let rest = scene.visible("session.a", "bob");
        let started = Started {
            recovered: Some(!told),
            ..Started::default()
        };
        let mut notes = vec![
            Note::Asked(Since::Earliest),
            Note::Started(Box::new(started)),
        ];
        if told {
            notes.push(Note::Gap {
                from: None,
                to,
                reason,
            });
        }
        notes.extend(rest[3..].iter().map(|seen| Note::Event(*seen)));
        scene.evidence.books[2].readings[0] = scene.reading("session.a", "bob", notes);
    };
    let verdict = spoiled(|scene| erase(scene, true));
    assert_eq!(verdict.total(), 0, "{:#?}", verdict.violations);
    found("complete", |scene| erase(scene, false));
}

#[test]
fn a_wrong_flag_is_found() {
    let flag = |scene: &mut Scene, recovered: bool, was: bool| {
        for noted in scene.notes(1).iter_mut() {
            if let Note::Started(started) = &mut noted.note {
                started.recovered = Some(recovered);
                started.was_recovering = started.was_recovering.map(|_| was);
            }
        }
    };
    found("recovered", |scene| flag(scene, false, true));
    found("recovered", |scene| flag(scene, true, false));
}

#[test]
fn a_head_that_lies_before_what_was_acknowledged_is_found() {
    let head = |scene: &mut Scene, back: usize| {
        let all = scene.visible("session.a", "bob");
        // Asked after all of the scene's publishes were answered.
        let from = all.len() - back;
        let started = Started {
            cursor: Some(all[from - 1].cursor),
            ..Started::default()
        };
        let mut notes = vec![Note::Asked(Since::Latest), Note::Started(Box::new(started))];
        notes.extend(all[from..].iter().map(|seen| Note::Event(*seen)));
        scene.evidence.books[2].readings[0] = scene.reading("session.a", "bob", notes);
    };
    assert_eq!(spoiled(|scene| head(scene, 0)).total(), 0);
    found("own_writes", |scene| head(scene, 1));
}

#[test]
fn a_head_that_swallows_what_was_sent_later_is_found() {
    found("complete", |scene| {
        // A stream that does not say where it starts, before anything was sent.
        let all = scene.visible("session.a", "bob");
        let mut notes = vec![Note::Asked(Since::Latest), Note::Started(Box::default())];
        notes.extend(all[3..].iter().map(|seen| Note::Event(*seen)));
        let mut reading = scene.reading("session.a", "bob", notes);
        reading.notes[0].at = 0;
        reading.notes[1].at = STEP_MS / 2;
        scene.evidence.books[2].readings[0] = reading;
    });
}

#[test]
fn a_true_cursor_that_is_refused_is_found() {
    found("resumed", |scene| {
        let reason = scene.name("CURSOR_INVALID");
        let note = Note::Closed {
            code: 400,
            reason,
            cursor: None,
        };
        scene.notes(1).push(Noted { at: 9_000, note });
    });
}

#[test]
fn more_than_the_window_is_found() {
    found("window", |scene| {
        scene.evidence.books[1].readings[0].window = Some(3);
    });
}

#[test]
fn a_wrong_kept_cursor_is_found() {
    found("kept", |scene| {
        let kept = scene.tables.kept.as_mut().unwrap();
        let cursor = kept.values_mut().next().unwrap();
        *cursor = cursor_at(cursor.partition(), cursor.next() + 1);
    });
    found("kept", |scene| scene.tables.kept.as_mut().unwrap().clear());
}

#[test]
fn a_page_with_a_hole_is_found() {
    found("history", |scene| {
        scene.evidence.books[1].pages[0].events.remove(3);
    });
    found("history", |scene| {
        scene.evidence.books[1].pages[0].events.pop();
    });
}

#[test]
fn a_snapshot_of_another_place_is_found() {
    found("snapshot", |scene| {
        let snapshot = &mut scene.evidence.books[1].snapshots[0];
        let cursor = cursor_at(snapshot.cursor.partition(), snapshot.cursor.next() + 1);
        (snapshot.asked, snapshot.cursor) = (Some(cursor), cursor);
    });
}

#[test]
fn rows_that_are_not_the_events_are_found() {
    found("rows", |scene| {
        scene.tables.rows.pop_first();
    });
    found("rows", |scene| {
        let row = scene.tables.rows.first_entry().unwrap().into_mut();
        row.fact = other(row.fact);
    });
    found("rows", |scene| {
        let ((topic, partition, offset), row) = scene.tables.rows.pop_last().unwrap();
        let place = (topic, partition, offset + 9);
        scene.tables.rows.insert(place, row);
    });
    found("cursor", |scene| {
        let row = scene.tables.rows.first_entry().unwrap().into_mut();
        row.cursor = Some(cursor_at(3, 9_999));
    });
}

#[test]
fn a_job_that_is_not_its_fold_is_found() {
    found("jobs", |scene| {
        let job = scene.tables.jobs.get_mut("j").unwrap();
        job.status = "running".to_owned();
    });
}

#[test]
fn a_quarantine_that_is_not_the_poison_is_found() {
    found("quarantine", |scene| scene.tables.quarantine.clear());
    found("quarantine", |scene| {
        scene.tables.quarantine.insert((0, 0, 4_711));
    });
}

#[test]
fn tables_that_stop_early_are_found() {
    found("completeness", |scene| {
        for next in scene.tables.complete_to.values_mut() {
            *next -= 1;
        }
    });
}

#[test]
fn records_in_the_wrong_place_or_unreadable_are_found() {
    use super::log::Why;
    for (why, kind) in [(Why::Misplaced, "placed"), (Why::Unreadable, "readable")] {
        found(kind, |scene| {
            for void in scene.log.void.values_mut() {
                if void.why == Why::Poison {
                    void.why = why;
                }
            }
        });
    }
}
