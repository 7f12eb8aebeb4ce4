//! What can go wrong, told by what the caller can do about it.

use crate::Place;

/// An answer other than success.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else has moved the partition's offset: drop what is in memory for it and read the offset again.
    ///
    /// Also the answer when an earlier try of this very batch was committed although its outcome was not heard.
    #[error("fenced at {place}: the stored offset is not {expected}")]
    Fenced {
        /// The partition.
        place: Place,
        /// The offset the caller believed to be stored.
        expected: i64,
    },
    /// Rows below `floor` are gone: retention has erased them. Say so to whoever asked, and go on at `floor`.
    #[error("rows of {place} below offset {floor} are gone")]
    Gone {
        /// The partition.
        place: Place,
        /// Rows are complete from this offset on.
        floor: i64,
    },
    /// PostgreSQL is away, busy or timed out: try the same again after a pause. A write may or may not have happened.
    #[error("{during}: {reason}")]
    Retry {
        /// What was being done.
        during: &'static str,
        /// What PostgreSQL or the network said.
        reason: String,
        /// It writes nothing: we reached a standby. Whoever is to be asked next is asked by a new connection.
        read_only: bool,
    },
    /// Trying again will not help: a defect, a missing migration or a wrong configuration.
    #[error("{during}: {reason}")]
    Fatal {
        /// What was being done.
        during: &'static str,
        /// What PostgreSQL said.
        reason: String,
    },
}

impl StoreError {
    pub(crate) fn retry(during: &'static str, reason: impl Into<String>) -> StoreError {
        StoreError::Retry {
            during,
            reason: reason.into(),
            read_only: false,
        }
    }

    pub(crate) fn fatal(during: &'static str, reason: impl Into<String>) -> StoreError {
        StoreError::Fatal {
            during,
            reason: reason.into(),
        }
    }

    pub(crate) fn from_sqlx(during: &'static str, error: sqlx::Error) -> StoreError {
        use sqlx::Error;
        let again = match &error {
            Error::Io(_)
            | Error::Tls(_)
            | Error::Protocol(_)
            | Error::PoolTimedOut
            | Error::PoolClosed
            | Error::WorkerCrashed
            | Error::BeginFailed => true,
            Error::Database(error) => error.code().is_some_and(|code| heals(&code)),
            _ => false,
        };
        let read_only =
            matches!(&error, Error::Database(error) if error.code().as_deref() == Some(READ_ONLY));
        let reason = error.to_string();
        if again {
            StoreError::Retry {
                during,
                reason,
                read_only,
            }
        } else {
            StoreError::Fatal { during, reason }
        }
    }
}

/// A statement that writes, in a transaction that may not.
const READ_ONLY: &str = "25006";

/// Whether the same statement may succeed later, by its SQLSTATE.
fn heals(code: &str) -> bool {
    // 08 connection, 40 deadlock and serialization, 53 out of disk, memory or connections, 55 lock not available,
    // 57 cancelled, shutting down or starting up, 58 disk errors.
    const CLASSES: [&str; 6] = ["08", "40", "53", "55", "57", "58"];
    // Read-only: we reached a standby during a failover. 0A000: a migration changed a table under a prepared
    // statement, and the connection prepares it again.
    const CODES: [&str; 2] = [READ_ONLY, "0A000"];
    CLASSES.iter().any(|class| code.starts_with(class)) || CODES.contains(&code)
}

/// Whether PostgreSQL refused a value (classes 22 and 54), so that the same batch can never be stored as it is.
pub(crate) fn refuses_value(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => error
            .code()
            .is_some_and(|code| code.starts_with("22") || code.starts_with("54")),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_told_apart_from_what_stays() {
        for code in [
            "08006", "40P01", "53300", "53100", "55P03", "57014", "57P01", "58030", "25006",
        ] {
            assert!(heals(code), "{code}");
        }
        for code in ["23505", "42P01", "42501", "28P01", "22P02", "XX000"] {
            assert!(!heals(code), "{code}");
        }
    }
}
