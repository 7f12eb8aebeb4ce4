//! A job is what its `job.update` events add up to. A final status stands.

use schemas::Event;
use serde::Deserialize;
use serde_json::value::RawValue;

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
    /// The id of the job that an event updates: events `job.update` of channels `jobs.<job_id>`.
    pub fn updated_by(event: &Event) -> Option<&str> {
        let is_update = event.channel.namespace() == "jobs" && event.name.as_str() == "job.update";
        is_update.then(|| event.channel.id())
    }

    /// Whether [`Job::apply`] would read this `data` of a `job.update` of channel `jobs.<job_id>`:
    /// the one rule, for whoever takes updates in.
    ///
    /// # Errors
    /// What is wrong with it, a clause for people that names the member.
    pub fn check(job_id: &str, data: &[u8]) -> Result<(), &'static str> {
        Update::read(job_id, data).map(|_| ())
    }

    /// Folds the `data` of one `job.update` of channel `jobs.<job_id>`, whose time in the log is
    /// `at_ms`, into the job; `None` is a job not heard of before.
    ///
    /// What an update does not say stays as it was. An update that [`Job::check`] refuses, or that comes after a final status changes nothing.
    pub fn apply(job: &mut Option<Job>, job_id: &str, data: &[u8], at_ms: i64) -> Change {
        let update = match Update::read(job_id, data) {
            Ok(update) => update,
            Err(why) => return Change::Ignored(why),
        };
        if job.as_ref().is_some_and(|job| job.status.is_final()) {
            return Change::Ignored("the job has a final status");
        }
        let job = job.get_or_insert_with(|| Job::new(job_id, update.status, at_ms));
        job.take(update, at_ms)
    }

    fn new(job_id: &str, status: JobStatus, at_ms: i64) -> Job {
        Job {
            job_id: job_id.to_owned(),
            kind: None,
            owner_id: None,
            status,
            progress: None,
            message: None,
            error_code: None,
            error_message: None,
            created_at_ms: at_ms,
            updated_at_ms: at_ms,
            finished_at_ms: None,
        }
    }

    fn take(&mut self, update: Update, at_ms: i64) -> Change {
        let error = update.error.unwrap_or_default();
        let step = Step {
            status: update.status,
            progress: update.progress,
            message: update.message.clone(),
            error_code: error.code.clone(),
        };
        self.status = update.status;
        self.updated_at_ms = self.updated_at_ms.max(at_ms);
        if update.status.is_final() {
            self.finished_at_ms = Some(self.updated_at_ms);
        }
        keep(&mut self.progress, update.progress);
        keep(&mut self.message, update.message);
        keep(&mut self.error_code, error.code);
        keep(&mut self.error_message, error.message);
        keep(&mut self.owner_id, update.owner_id);
        keep(&mut self.kind, update.kind);
        Change::Applied(step)
    }
}

fn keep<T>(slot: &mut Option<T>, given: Option<T>) {
    if given.is_some() {
        *slot = given;
    }
}

/// The data of a `job.update` as workers write it. Null is absent; unknown members are ignored.
struct Update {
    status: JobStatus,
    progress: Option<f64>,
    message: Option<String>,
    error: Option<Failure>,
    owner_id: Option<String>,
    kind: Option<String>,
}

#[derive(Deserialize, Default)]
struct Failure {
    code: Option<String>,
    message: Option<String>,
}

/// The members, each read by itself so that a refusal can name the one at fault.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Members<'a> {
    #[serde(borrow)]
    job_id: Option<&'a RawValue>,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
    #[serde(borrow)]
    progress: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    owner_id: Option<&'a RawValue>,
    #[serde(borrow)]
    kind: Option<&'a RawValue>,
}

impl Update {
    fn read(job_id: &str, data: &[u8]) -> Result<Update, &'static str> {
        const NOT_AN_OBJECT: &str = "data has to be a JSON object";
        const PROGRESS: &str = "progress has to be a number from 0 to 100";
        const STATUS: &str = "status has to be queued, running, succeeded, failed or cancelled";
        // A list would otherwise pass for the members in their order.
        if data.first() != Some(&b'{') {
            return Err(NOT_AN_OBJECT);
        }
        let members: Members<'_> = serde_json::from_slice(data).map_err(|_| NOT_AN_OBJECT)?;
        let named: Option<String> = member(members.job_id, "jobId has to be a string")?;
        match named {
            None => return Err("jobId is missing"),
            Some(named) if named != job_id => {
                return Err("jobId has to be the id of the channel jobs.<jobId>");
            }
            Some(_) => {}
        }
        let progress: Option<f64> = member(members.progress, PROGRESS)?;
        if progress.is_some_and(|progress| !(0.0..=100.0).contains(&progress)) {
            return Err(PROGRESS);
        }
        Ok(Update {
            status: member(members.status, STATUS)?.ok_or("status is missing")?,
            progress,
            message: member(members.message, "message has to be a string")?,
            error: members.error.map(Failure::read).transpose()?,
            owner_id: member(members.owner_id, "ownerId has to be a string")?,
            kind: member(members.kind, "kind has to be a string")?,
        })
    }
}

impl Failure {
    fn read(raw: &RawValue) -> Result<Failure, &'static str> {
        const FAILURE: &str = "error has to be an object with the strings code and message";
        if raw.get().starts_with('{') {
            serde_json::from_str(raw.get()).map_err(|_| FAILURE)
        } else {
            Err(FAILURE)
        }
    }
}

fn member<'a, T: Deserialize<'a>>(
    raw: Option<&'a RawValue>,
    otherwise: &'static str,
) -> Result<Option<T>, &'static str> {
    raw.map(|raw| serde_json::from_str(raw.get()).map_err(|_| otherwise))
        .transpose()
}

#[cfg(test)]
mod tests;
