//! What whoever sits at the terminal is told of the connection.

use std::convert::Infallible;

use client::Error;
use tokio::sync::watch;

use super::plain;
use crate::target::explain;

/// Says once for each outage that there is one, and when it is over.
pub(super) async fn tell(url: &str, mut outage: watch::Receiver<Option<Error>>) -> Infallible {
    let mut told = false;
    while outage.changed().await.is_ok() {
        let why = outage.borrow_and_update().clone();
        for line in said(url, told, why.as_ref()) {
            eprintln!("{line}");
        }
        told = why.is_some();
    }
    // Whoever reads finds its own end.
    std::future::pending().await
}

/// What is said of a new report, `told` that there is an outage or not.
fn said(url: &str, told: bool, why: Option<&Error>) -> Vec<String> {
    // Since the last look one outage may have ended and another begun.
    let over = told.then(|| format!("connected to {url}"));
    let begun = why.map(|why| {
        let why = match why {
            Error::Lost(why) => why.clone(),
            why => explain(why).to_string(),
        };
        format!("no connection to {url} ({}), trying again", plain(&why))
    });
    over.into_iter().chain(begun).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_that_follows_another_at_once_is_told_as_its_own() {
        let (away, back) = ("no connection to u (cut), trying again", "connected to u");
        let cut = Error::Lost("cut".to_owned());
        assert_eq!(said("u", false, Some(&cut)), [away]);
        assert_eq!(said("u", true, Some(&cut)), [back, away]);
        assert_eq!(said("u", true, None), [back]);
        assert!(said("u", false, None).is_empty(), "nobody was told of it");
    }
}
