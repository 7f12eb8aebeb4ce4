//! Mistakes planted on purpose, so that it can be shown that the judge of `rivermouth-torture` finds them.
//!
//! With the feature `planted`, which only the target `rivermouth-planted` is built with, the environment variable
//! `RIVERMOUTH_PLANTED` names the one mistake that is active in a process. Without it [`planted!`](crate::planted)
//! leaves nothing behind, not even the name.

#[cfg(feature = "planted")]
mod active {
    use std::collections::HashMap;
    use std::sync::{Mutex, OnceLock, PoisonError};

    /// Whether this mistake is the active one. `name` begins with `planted:`.
    pub fn is(name: &str) -> bool {
        static ACTIVE: OnceLock<Option<String>> = OnceLock::new();
        let active = ACTIVE.get_or_init(|| std::env::var("RIVERMOUTH_PLANTED").ok());
        active.as_deref() == name.strip_prefix("planted:")
    }

    /// The same, for one of `every` times that it is asked, the last of them.
    pub fn now_and_then(name: &'static str, every: u32) -> bool {
        static ASKED: OnceLock<Mutex<HashMap<&'static str, u32>>> = OnceLock::new();
        if !is(name) {
            return false;
        }
        let mut asked = ASKED
            .get_or_init(Mutex::default)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let count = asked.entry(name).or_default();
        *count += 1;
        count.is_multiple_of(every)
    }
}

#[cfg(feature = "planted")]
pub use active::{is, now_and_then};

/// A mistake of this name, which does nothing in a normal build.
///
/// - `planted!("name", { statements })` does them when the mistake is active;
/// - `planted!("name", every 20, { statements })` does them once in twenty times;
/// - `planted!("name", wrong => right)` is `wrong` then, and `right` otherwise;
/// - `planted!("name", every 20, wrong => right)` is `wrong` once in twenty times.
#[cfg(feature = "planted")]
#[macro_export]
macro_rules! planted {
    ($name:literal, every $every:literal, $wrong:expr => $right:expr) => {
        if $crate::planted::now_and_then(concat!("planted:", $name), $every) { $wrong } else { $right }
    };
    ($name:literal, every $every:literal, $mistake:block) => {
        if $crate::planted::now_and_then(concat!("planted:", $name), $every) $mistake
    };
    ($name:literal, $wrong:expr => $right:expr) => {
        if $crate::planted::is(concat!("planted:", $name)) { $wrong } else { $right }
    };
    ($name:literal, $mistake:block) => {
        if $crate::planted::is(concat!("planted:", $name)) $mistake
    };
}

/// Nothing: mistakes are planted with the feature `planted` only.
#[cfg(not(feature = "planted"))]
#[macro_export]
macro_rules! planted {
    ($name:literal, every $every:literal, $wrong:expr => $right:expr) => {
        $right
    };
    ($name:literal, every $every:literal, $mistake:block) => {};
    ($name:literal, $wrong:expr => $right:expr) => {
        $right
    };
    ($name:literal, $mistake:block) => {};
}
