//! A job is what its `job.update` events add up to. A final status stands.

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobStatus {
    /// Waiting.
    Queued,
    /// At work.
    Running,
    /// Done. Final.
    Succeeded,
    /// Broken. Final.
    Failed,
    /// Given up. Final.
    Cancelled,
}

impl JobStatus {
    /// `queued`, `running`, `succeeded`, `failed` or `cancelled`.
    pub fn as_str(self) -> &'static str {
        match self {
            JobStatus::Queued => "queued",
            JobStatus::Running => "running",
            JobStatus::Succeeded => "succeeded",
            JobStatus::Failed => "failed",
            JobStatus::Cancelled => "cancelled",
        }
    }

    /// The status of that name, if it is one.
    pub fn parse(s: &str) -> Option<JobStatus> {
        match s {
            "queued" => Some(JobStatus::Queued),
            "running" => Some(JobStatus::Running),
            "succeeded" => Some(JobStatus::Succeeded),
            "failed" => Some(JobStatus::Failed),
            "cancelled" => Some(JobStatus::Cancelled),
            _ => None,
        }
    }

    /// Whether nothing may follow.
    pub fn is_final(self) -> bool {
        matches!(
            self,
            JobStatus::Succeeded | JobStatus::Failed | JobStatus::Cancelled
        )
    }
}

/// A job as of its last update that counted.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// The id of its channel, `jobs.<job_id>`.
    pub job_id: String,
    /// What kind of work, as its worker names it.
    pub kind: Option<String>,
    /// Who may read it; the last one given.
    pub owner_id: Option<String>,
    /// Where it is.
    pub status: JobStatus,
    /// 0 to 100; the last one given.
    pub progress: Option<f64>,
    /// The last message given.
    pub message: Option<String>,
    /// The error's code, when one was given.
    pub error_code: Option<String>,
    /// The error's sentence, when one was given.
    pub error_message: Option<String>,
    /// Time of the first update, Unix ms.
    pub created_at_ms: i64,
    /// Time of the last update that counted, Unix ms; never steps back.
    pub updated_at_ms: i64,
    /// Time of the final update, Unix ms.
    pub finished_at_ms: Option<i64>,
}

/// What one update did, as `job_history` keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The status it brought.
    pub status: JobStatus,
    /// The progress it brought, not an earlier one.
    pub progress: Option<f64>,
    /// The message it brought, not an earlier one.
    pub message: Option<String>,
    /// The error code it brought.
    pub error_code: Option<String>,
}

/// What an update came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// It counts: the job is as it says.
    Applied(Step),
    /// It does not: the job stays. Why, in a few words.
    Ignored(&'static str),
}

impl Job {
    /// Folds the `data` of one `job.update` of channel `jobs.<job_id>`, whose time in the log is
    /// `at_ms`, into the job; `None` is a job not heard of before.
    pub fn apply(job: &mut Option<Job>, job_id: &str, data: &[u8], at_ms: i64) -> Change {
        let _ = (job, job_id, data, at_ms);
        todo!()
    }
}
