//! Panics of the test bed become errors: it tells in that way that a server does not start, and what it has started has
//! to be stopped all the same.

use std::panic::{AssertUnwindSafe, Location, PanicHookInfo, set_hook};
use std::sync::Mutex;

use futures_util::FutureExt as _;

/// The newest panic.
static SAID: Mutex<String> = Mutex::new(String::new());

/// From now on a panic says nothing of itself: [`caught`] tells.
pub(crate) fn hush() {
    set_hook(Box::new(|panic: &PanicHookInfo<'_>| {
        let text = panic.payload_as_str().unwrap_or("a panic");
        if let Ok(mut said) = SAID.lock() {
            *said = one_line(text, panic.location());
        }
    }));
}

/// What `work` comes to; an error of one line when it panics. What it held is dropped then.
pub(crate) async fn caught<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let done = AssertUnwindSafe(work).catch_unwind().await;
    done.unwrap_or_else(|_| {
        let said = SAID.lock().map(|said| said.clone());
        Err(anyhow::anyhow!(said.unwrap_or_default()))
    })
}

/// The first line says what, and where a log follows its last line says why.
fn one_line(text: &str, place: Option<&Location<'_>>) -> String {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    let last = lines.next_back().map(|last| format!(" … {last}"));
    let place = place.map(|place| format!(" ({}:{})", place.file(), place.line()));
    first.to_owned() + &last.unwrap_or_default() + &place.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_in_a_panic_becomes_its_ends() {
        let text = "fanout-0 ended: starting\nmore\nno such setting\n";
        assert_eq!(
            one_line(text, None),
            "fanout-0 ended: starting … no such setting"
        );
        assert_eq!(one_line("alone", None), "alone");
    }

    #[tokio::test]
    async fn a_panic_is_an_error() {
        let broken = async { panic!("no broker") };
        assert!(caught::<()>(broken).await.is_err());
        assert_eq!(caught(async { Ok(1) }).await.unwrap(), 1);
    }
}
