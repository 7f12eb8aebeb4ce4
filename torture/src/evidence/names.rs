//! Names as numbers, and time as a number.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// A channel, user, event name or whatever else is said often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(u32);

#[derive(Debug, Default)]
struct Known {
    numbers: HashMap<Arc<str>, Name>,
    texts: Vec<Arc<str>>,
}

/// Every name of a run. Shared by all actors; asked once per name and actor, not once per event.
#[derive(Debug, Default)]
pub struct Names(Mutex<Known>);

impl Names {
    /// The number of a name, new or known.
    pub fn number(&self, text: &str) -> Name {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = known.numbers.get(text) {
            return *name;
        }
        let name =
            Name(u32::try_from(known.texts.len()).expect("fewer than four thousand million names"));
        let text: Arc<str> = text.into();
        known.texts.push(Arc::clone(&text));
        known.numbers.insert(text, name);
        name
    }

    /// What a number stands for.
    pub fn text(&self, name: Name) -> Arc<str> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .texts
            .get(name.0 as usize)
            .cloned()
            .unwrap_or_else(|| "?".into())
    }
}

/// The time of a run.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    /// Begins now.
    pub fn start() -> Clock {
        Clock(Instant::now())
    }

    /// Milliseconds since the start.
    pub fn now(&self) -> u32 {
        u32::try_from(self.0.elapsed().as_millis()).unwrap_or(u32::MAX)
    }
}
