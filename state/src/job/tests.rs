//! Claims about jobs.

use proptest::prelude::*;

use super::*;

fn fold(updates: &[(&str, i64)]) -> (Option<Job>, Vec<Change>) {
    let mut job = None;
    let changes = updates
        .iter()
        .map(|(data, at)| Job::apply(&mut job, "9f", data.as_bytes(), *at))
        .collect();
    (job, changes)
}

#[test]
fn a_job_grows_by_its_updates() {
    let (job, changes) = fold(&[
        (
            r#"{"jobId":"9f","status":"queued","ownerId":"u1","kind":"export"}"#,
            10,
        ),
        (
            r#"{"jobId":"9f","status":"running","progress":50,"message":"half"}"#,
            20,
        ),
        (
            r#"{"jobId":"9f","status":"failed","error":{"code":"E1","message":"disk"}}"#,
            15,
        ),
    ]);
    assert_eq!(
        job,
        Some(Job {
            job_id: "9f".into(),
            kind: Some("export".into()),
            owner_id: Some("u1".into()),
            status: JobStatus::Failed,
            progress: Some(50.0),
            message: Some("half".into()),
            error_code: Some("E1".into()),
            error_message: Some("disk".into()),
            created_at_ms: 10,
            updated_at_ms: 20,
            finished_at_ms: Some(20),
        })
    );
    assert_eq!(
        changes[2],
        Change::Applied(Step {
            status: JobStatus::Failed,
            progress: None,
            message: None,
            error_code: Some("E1".into()),
        })
    );
}

#[test]
fn a_final_status_is_never_overwritten() {
    for last in ["succeeded", "failed", "cancelled"] {
        let done = format!(r#"{{"jobId":"9f","status":"{last}"}}"#);
        let (before, _) = fold(&[(&done, 1)]);
        let (after, changes) = fold(&[
            (&done, 1),
            (r#"{"jobId":"9f","status":"running","progress":1}"#, 2),
            (r#"{"jobId":"9f","status":"succeeded","message":"late"}"#, 3),
        ]);
        assert_eq!(after, before);
        assert!(
            changes[1..]
                .iter()
                .all(|change| matches!(change, Change::Ignored(_)))
        );
    }
}

#[test]
fn what_cannot_be_read_changes_nothing() {
    for data in [
        "null",
        "[]",
        r#"["9f","running"]"#,
        "\"running\"",
        "{}",
        r#"{"jobId":"9f","status":"done"}"#,
        r#"{"jobId":"9f","status":5}"#,
        r#"{"jobId":"other","status":"running"}"#,
        r#"{"jobId":7,"status":"running"}"#,
        r#"{"jobId":null,"status":"running"}"#,
        r#"{"status":"running","progress":40}"#,
        r#"{"jobId":"9f"}"#,
        r#"{"jobId":"9f","status":null}"#,
        r#"{"jobId":"9f","status":"failed","error":["E1","disk"]}"#,
        r#"{"jobId":"9f","status":"running","progress":1e308}"#,
        r#"{"jobId":"9f","status":"running","progress":-1}"#,
        r#"{"jobId":"9f","status":"running","progress":100.5}"#,
        r#"{"jobId":"9f","status":"running","progress":"50"}"#,
        r#"{"jobId":"9f","status":"running","message":{}}"#,
        r#"{"jobId":"9f","status":"failed","error":"disk"}"#,
    ] {
        let (job, changes) = fold(&[(data, 1)]);
        assert_eq!(job, None, "{data}");
        let why = Job::check("9f", data.as_bytes()).unwrap_err();
        assert_eq!(changes[0], Change::Ignored(why), "{data}");
    }
}

#[test]
fn null_members_are_absent_and_unknown_ones_ignored() {
    let (job, _) = fold(&[
        (
            r#"{"jobId":"9f","status":"running","progress":5,"message":"m"}"#,
            1,
        ),
        (
            r#"{"jobId":"9f","status":"running","progress":null,"message":null,"error":null,"eta":[1]}"#,
            2,
        ),
    ]);
    let job = job.unwrap();
    assert_eq!(
        (job.progress, job.message.as_deref()),
        (Some(5.0), Some("m"))
    );
}

#[test]
fn only_job_updates_of_job_channels_count() {
    let mut event = crate::tests::event("a");
    assert_eq!(Job::updated_by(&event), None);
    event.channel = schemas::Channel::parse("jobs.9f").unwrap();
    assert_eq!(Job::updated_by(&event), None);
    event.name = schemas::EventName::parse("job:update").unwrap();
    assert_eq!(Job::updated_by(&event), Some("9f"));
}

proptest! {
    #[test]
    fn noise_never_panics_and_status_names_round_trip(data in prop::collection::vec(any::<u8>(), 0..40)) {
        Job::apply(&mut None, "x", &data, 0);
        for status in ["queued", "running", "succeeded", "failed", "cancelled"] {
            prop_assert_eq!(JobStatus::parse(status).unwrap().as_str(), status);
        }
    }
}
