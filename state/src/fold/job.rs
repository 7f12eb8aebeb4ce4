//! The state of a channel `jobs.<id>`: the job that its `job.update` events add up to.

use serde::{Deserialize, Serialize};

use super::{Entry, Saved, Unreadable};
use crate::job::{Change, Job, JobStatus, Step};

const KIND: &str = "job";
const VERSION: i32 = 1;

/// A job, or that none was heard of.
#[derive(Debug, Clone, PartialEq)]
pub struct JobFold {
    job_id: String,
    job: Option<Job>,
}

impl JobFold {
    pub(super) fn new(job_id: &str) -> JobFold {
        JobFold {
            job_id: job_id.to_owned(),
            job: None,
        }
    }

    pub(super) fn job(&self) -> Option<&Job> {
        self.job.as_ref()
    }

    /// The step that the event was, if it was one.
    pub(super) fn apply(&mut self, entry: &Entry<'_>) -> Option<Step> {
        if entry.name != "job.update" {
            return None;
        }
        match Job::apply(&mut self.job, &self.job_id, entry.data, entry.at_ms) {
            Change::Applied(step) => Some(step),
            Change::Ignored(_) => None,
        }
    }

    pub(super) fn view(&self) -> Vec<u8> {
        serde_json::to_vec(&self.job.as_ref().map(View::of)).expect("text and numbers are JSON")
    }

    pub(super) fn save(&self) -> Saved {
        let kept = self.job.as_ref().map(Kept::of);
        Saved {
            kind: KIND.to_owned(),
            version: VERSION,
            bytes: serde_json::to_vec(&kept).expect("text and numbers are JSON"),
        }
    }

    pub(super) fn restore(job_id: &str, saved: &Saved) -> Result<JobFold, Unreadable> {
        if saved.kind != KIND || saved.version != VERSION {
            return Err(Unreadable);
        }
        let kept: Option<Kept<'_>> =
            serde_json::from_slice(&saved.bytes).map_err(|_| Unreadable)?;
        Ok(JobFold {
            job_id: job_id.to_owned(),
            job: kept.map(|kept| kept.job(job_id)).transpose()?,
        })
    }

    pub(super) fn weight(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::capacity);
        let job = self.job.as_ref().map_or(0, |job| {
            job.job_id.capacity()
                + text(&job.kind)
                + text(&job.owner_id)
                + text(&job.message)
                + text(&job.error_code)
                + text(&job.error_message)
        });
        size_of::<JobFold>() + self.job_id.capacity() + job
    }
}

/// A job as clients are told it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View<'a> {
    job_id: &'a str,
    status: JobStatus,
    progress: Option<serde_json::Number>,
    message: Option<&'a str>,
    error: Option<Failure<'a>>,
    owner_id: Option<&'a str>,
    kind: Option<&'a str>,
    created_at: i64,
    updated_at: i64,
    finished_at: Option<i64>,
}

#[derive(Serialize)]
struct Failure<'a> {
    code: Option<&'a str>,
    message: Option<&'a str>,
}

impl View<'_> {
    fn of(job: &Job) -> View<'_> {
        let failed = job.error_code.is_some() || job.error_message.is_some();
        View {
            job_id: &job.job_id,
            status: job.status,
            progress: job.progress.and_then(number),
            message: job.message.as_deref(),
            error: failed.then_some(Failure {
                code: job.error_code.as_deref(),
                message: job.error_message.as_deref(),
            }),
            owner_id: job.owner_id.as_deref(),
            kind: job.kind.as_deref(),
            created_at: job.created_at_ms,
            updated_at: job.updated_at_ms,
            finished_at: job.finished_at_ms,
        }
    }
}

/// 50 is said as 50 and not as 50.0, as workers write it.
fn number(progress: f64) -> Option<serde_json::Number> {
    if progress.fract() == 0.0 {
        // From 0 to 100.
        Some((progress as u64).into())
    } else {
        serde_json::Number::from_f64(progress)
    }
}

/// A job as it is kept, version 1. Migration 0006 writes the same form for the jobs it finds.
#[derive(Serialize, Deserialize)]
struct Kept<'a> {
    kind: Option<String>,
    owner: Option<String>,
    status: &'a str,
    /// As text: the shortest that gives the same number back.
    progress: Option<String>,
    message: Option<String>,
    error_code: Option<String>,
    error_message: Option<String>,
    created_ms: i64,
    updated_ms: i64,
    finished_ms: Option<i64>,
}

impl Kept<'_> {
    fn of(job: &Job) -> Kept<'_> {
        Kept {
            kind: job.kind.clone(),
            owner: job.owner_id.clone(),
            status: job.status.as_str(),
            progress: job.progress.map(|progress| progress.to_string()),
            message: job.message.clone(),
            error_code: job.error_code.clone(),
            error_message: job.error_message.clone(),
            created_ms: job.created_at_ms,
            updated_ms: job.updated_at_ms,
            finished_ms: job.finished_at_ms,
        }
    }

    fn job(self, job_id: &str) -> Result<Job, Unreadable> {
        let progress = self
            .progress
            .map(|text| text.parse().map_err(|_| Unreadable));
        Ok(Job {
            job_id: job_id.to_owned(),
            kind: self.kind,
            owner_id: self.owner,
            status: JobStatus::parse(self.status).ok_or(Unreadable)?,
            progress: progress.transpose()?,
            message: self.message,
            error_code: self.error_code,
            error_message: self.error_message,
            created_at_ms: self.created_ms,
            updated_at_ms: self.updated_ms,
            finished_at_ms: self.finished_ms,
        })
    }
}
