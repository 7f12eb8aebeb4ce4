//! Claims about folds.

use proptest::prelude::*;

use super::*;

fn channel(name: &str) -> Channel {
    Channel::parse(name).unwrap()
}

fn update(data: &str, at_ms: i64) -> (String, i64) {
    (data.to_owned(), at_ms)
}

fn folded(fold: &mut Fold, updates: &[(String, i64)]) -> Vec<Effect> {
    let entries = updates.iter().map(|(data, at_ms)| Entry {
        offset: 0,
        at_ms: *at_ms,
        id: "",
        name: "job.update",
        user: None,
        data: data.as_bytes(),
    });
    entries.map(|entry| fold.apply(&entry)).collect()
}

#[test]
fn a_namespace_has_the_state_that_the_protocol_says() {
    for (name, served, moved) in [
        ("jobs.9f", true, true),
        ("user.u1", true, false),
        ("broadcast", true, false),
        ("system", true, false),
        ("orders.7", true, false),
        ("session.42", false, false),
        ("docs.7", false, false),
        ("presence.42", false, false),
        ("activity.42", false, false),
    ] {
        let fold = Fold::of(&channel(name));
        assert_eq!(
            (fold.is_served(), fold.is_moved()),
            (served, moved),
            "{name}"
        );
        assert_eq!(fold.view(), b"null", "{name}");
        assert_eq!(fold.save().is_some(), moved, "{name}");
    }
}

#[test]
fn a_job_is_told_with_every_member_in_its_place() {
    let mut fold = Fold::of(&channel("jobs.9f"));
    folded(
        &mut fold,
        &[update(
            r#"{"jobId":"9f","status":"running","progress":50,"ownerId":"u1","kind":"export"}"#,
            10,
        )],
    );
    let text = |fold: &Fold| String::from_utf8(fold.view()).unwrap();
    assert_eq!(
        text(&fold),
        r#"{"jobId":"9f","status":"running","progress":50,"message":null,"error":null,"ownerId":"u1","kind":"export","createdAt":10,"updatedAt":10,"finishedAt":null}"#
    );
    folded(
        &mut fold,
        &[update(
            r#"{"jobId":"9f","status":"failed","progress":62.5,"message":"m","error":{"code":"E7"}}"#,
            20,
        )],
    );
    assert_eq!(
        text(&fold),
        r#"{"jobId":"9f","status":"failed","progress":62.5,"message":"m","error":{"code":"E7","message":null},"ownerId":"u1","kind":"export","createdAt":10,"updatedAt":20,"finishedAt":20}"#
    );
}

#[test]
fn other_events_of_a_jobs_channel_change_nothing() {
    let mut fold = Fold::of(&channel("jobs.9f"));
    let before = fold.clone();
    let said = Entry {
        offset: 3,
        at_ms: 5,
        id: "a",
        name: "chat.message",
        user: Some("u1"),
        data: br#"{"jobId":"9f","status":"running","ownerId":"u1"}"#,
    };
    assert_eq!(fold.apply(&said), Effect::Nothing);
    assert_eq!(fold, before);
}

#[test]
fn a_kept_state_of_another_kind_or_a_later_version_is_not_read() {
    let jobs = channel("jobs.9f");
    let mut fold = Fold::of(&jobs);
    folded(
        &mut fold,
        &[update(r#"{"jobId":"9f","status":"running"}"#, 1)],
    );
    let saved = fold.save().unwrap();
    for strange in [
        Saved {
            version: saved.version + 1,
            ..saved.clone()
        },
        Saved {
            kind: "canvas".into(),
            ..saved.clone()
        },
        Saved {
            bytes: b"{}".to_vec(),
            ..saved.clone()
        },
        Saved {
            bytes: Vec::new(),
            ..saved.clone()
        },
        Saved {
            bytes: String::from_utf8(saved.bytes.clone())
                .unwrap()
                .replace("running", "resting")
                .into_bytes(),
            ..saved.clone()
        },
    ] {
        assert_eq!(
            Fold::restore(&jobs, &strange),
            Err(Unreadable),
            "{strange:?}"
        );
    }
    assert_eq!(Fold::restore(&channel("user.u1"), &saved), Err(Unreadable));
}

#[test]
fn a_job_is_due_with_every_batch_that_touched_it_and_others_never() {
    assert!(Fold::of(&channel("jobs.9f")).is_due(1));
    assert!(!Fold::of(&channel("jobs.9f")).is_due(0));
    assert!(!Fold::of(&channel("user.u1")).is_due(1_000_000));
}

fn any_update() -> impl Strategy<Value = (String, i64)> {
    let status = prop::sample::select(vec![
        "queued",
        "running",
        "running",
        "succeeded",
        "failed",
        "cancelled",
        "resting",
    ]);
    let text = prop::option::of("[a-z\"\\\\é\u{1}]{0,6}");
    let member = |name: &'static str, text: Option<String>| {
        text.map_or(String::new(), |text| {
            format!(",{:?}:{}", name, serde_json::to_string(&text).unwrap())
        })
    };
    (
        status,
        prop::option::of(0.0..100.0f64),
        text.clone(),
        text.clone(),
        text,
        prop::sample::select(vec!["9f", "9f", "9f", "other"]),
        -5i64..1000,
    )
        .prop_map(move |(status, progress, message, owner, kind, id, at_ms)| {
            let progress = progress.map_or(String::new(), |p| format!(",\"progress\":{p}"));
            let rest =
                member("message", message) + &member("ownerId", owner) + &member("kind", kind);
            let error = if status == "failed" {
                r#","error":{"code":"E","message":"m"}"#
            } else {
                ""
            };
            (
                format!(r#"{{"jobId":"{id}","status":"{status}"{progress}{rest}{error}}}"#),
                at_ms,
            )
        })
}

proptest! {
    #[test]
    fn saving_and_restoring_at_any_place_changes_nothing(
        updates in prop::collection::vec(any_update(), 0..24),
        cuts in prop::collection::vec(0usize..24, 0..4),
    ) {
        let jobs = channel("jobs.9f");
        let mut whole = Fold::of(&jobs);
        let effects = folded(&mut whole, &updates);
        let mut pieces = Fold::of(&jobs);
        let mut seen = Vec::new();
        for (index, one) in updates.iter().enumerate() {
            if cuts.contains(&index) {
                pieces = Fold::restore(&jobs, &pieces.save().unwrap()).unwrap();
            }
            seen.extend(folded(&mut pieces, std::slice::from_ref(one)));
        }
        prop_assert_eq!(&seen, &effects);
        prop_assert_eq!(&pieces, &whole);
        prop_assert_eq!(pieces.view(), whole.view());
        prop_assert_eq!(pieces.save(), whole.save());
    }

    #[test]
    fn a_final_status_stands_whatever_follows(updates in prop::collection::vec(any_update(), 1..40)) {
        let mut fold = Fold::of(&channel("jobs.9f"));
        let mut ended: Option<Fold> = None;
        for one in &updates {
            folded(&mut fold, std::slice::from_ref(one));
            if let Some(ended) = &ended {
                prop_assert_eq!(&fold, ended);
            } else if fold.job().is_some_and(|job| job.status.is_final()) {
                ended = Some(fold.clone());
            }
        }
    }

    #[test]
    fn noise_in_a_kept_state_never_panics(version in 0i32..3, bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = Fold::restore(&channel("jobs.9f"), &Saved { kind: "job".into(), version, bytes });
    }
}
