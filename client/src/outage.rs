//! Whether there is a connection, for whoever wants to say so: one report for each outage, however often it is tried.

use tokio::sync::watch;

use crate::error::Error;

/// What is reported: why there is no connection; `None` before the first failure and while there is one.
pub(crate) type Report = watch::Receiver<Option<Error>>;

/// The reporting end.
#[derive(Debug)]
pub(crate) struct Outage(watch::Sender<Option<Error>>);

impl Outage {
    pub(crate) fn new() -> Outage {
        Outage(watch::Sender::new(None))
    }

    pub(crate) fn report(&self) -> Report {
        self.0.subscribe()
    }

    /// There is no connection. Of the reasons in one outage the first is told.
    pub(crate) fn goes_on(&self, why: &Error) {
        self.0.send_if_modified(|known| {
            let begins = known.is_none();
            if begins {
                *known = Some(why.clone());
            }
            begins
        });
    }

    /// There is a connection.
    pub(crate) fn is_over(&self) {
        self.0.send_if_modified(|known| known.take().is_some());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_once_with_its_first_reason_and_again_when_it_is_over() {
        let outage = Outage::new();
        let mut report = outage.report();
        let mut told = || {
            let changed = report.has_changed().unwrap();
            let why = report.borrow_and_update().as_ref().map(Error::to_string);
            changed.then_some(why)
        };
        outage.is_over();
        assert_eq!(told(), None, "there was none");
        for _ in 0..2 {
            outage.goes_on(&Error::Lost("first".into()));
            assert_eq!(told(), Some(Some("connection lost: first".to_owned())));
            outage.goes_on(&Error::Lost("second".into()));
            assert_eq!(told(), None);
            outage.is_over();
            assert_eq!(told(), Some(None));
        }
    }
}
