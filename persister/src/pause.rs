//! How long to wait before trying again: longer each time, until something works.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
/// Short enough that what was away for minutes is noticed again within seconds (F54).
const LONGEST: Duration = Duration::from_secs(3);

/// Grows from 100 ms to 3 s.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pause(Duration);

impl Pause {
    pub(crate) fn new() -> Pause {
        Pause(FIRST)
    }

    /// The pause to make now.
    pub(crate) fn longer(&mut self) -> Duration {
        let now = self.0;
        self.0 = (now * 2).min(LONGEST);
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_bound() {
        let mut pause = Pause::new();
        let pauses: Vec<Duration> = (0..10).map(|_| pause.longer()).collect();
        assert_eq!(pauses[0], FIRST);
        assert!(pauses.is_sorted());
        assert_eq!(pauses[9], LONGEST);
    }
}
