//! The connections of a shard, and until when time does nothing to each of them: most are quiet most of the time, and are
//! not even looked at.

use std::{
    ops::{Index, IndexMut},
    time::Instant,
};

use slab::Slab;

use super::conn::Conn;

/// A slab whose every way to a connection that may change it makes the next look take notice of that connection.
#[derive(Debug)]
pub(super) struct Conns<T = Conn> {
    slab: Slab<T>,
    /// By place; `None` where something happened since the last look. Beside the connections, so that a look at
    /// thousands of quiet ones reads a few pages.
    quiet_until: Vec<Option<Instant>>,
}

impl<T> Conns<T> {
    pub(super) fn new() -> Self {
        Self {
            slab: Slab::new(),
            quiet_until: Vec::new(),
        }
    }

    pub(super) fn insert(&mut self, conn: T) -> usize {
        let index = self.slab.insert(conn);
        if index == self.quiet_until.len() {
            self.quiet_until.push(None);
        }
        self.touch(index);
        index
    }

    pub(super) fn try_remove(&mut self, index: usize) -> Option<T> {
        self.slab.try_remove(index)
    }

    pub(super) fn get(&self, index: usize) -> Option<&T> {
        self.slab.get(index)
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.touch(index);
        self.slab.get_mut(index)
    }

    pub(super) fn iter(&self) -> slab::Iter<'_, T> {
        self.slab.iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// Shows each connection that is not known to be quiet; the answer is until when it is, if nothing happens to it.
    pub(super) fn look(&mut self, now: Instant, mut look: impl FnMut(usize, &mut T) -> Instant) {
        for (index, quiet_until) in self.quiet_until.iter_mut().enumerate() {
            if quiet_until.is_some_and(|until| until > now) {
                continue;
            }
            if let Some(conn) = self.slab.get_mut(index) {
                *quiet_until = Some(look(index, conn));
            }
        }
    }

    fn touch(&mut self, index: usize) {
        if let Some(quiet_until) = self.quiet_until.get_mut(index) {
            *quiet_until = None;
        }
    }
}

impl<T> Index<usize> for Conns<T> {
    type Output = T;

    fn index(&self, index: usize) -> &T {
        &self.slab[index]
    }
}

impl<T> IndexMut<usize> for Conns<T> {
    fn index_mut(&mut self, index: usize) -> &mut T {
        self.touch(index);
        &mut self.slab[index]
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The places that a look shows; each says that it is quiet for ten seconds.
    fn looked(conns: &mut Conns<&str>, now: Instant) -> Vec<usize> {
        let mut seen = Vec::new();
        conns.look(now, |index, _| {
            seen.push(index);
            now + Duration::from_secs(10)
        });
        seen
    }

    #[test]
    fn a_look_shows_what_is_due_what_was_touched_and_what_is_new() {
        let zero = Instant::now();
        let at = |second| zero + Duration::from_secs(second);
        let mut conns = Conns::new();
        for name in ["a", "b", "c", "d"] {
            conns.insert(name);
        }
        assert_eq!(looked(&mut conns, at(0)), [0, 1, 2, 3]);
        assert!(looked(&mut conns, at(1)).is_empty());
        conns.get_mut(1).unwrap();
        conns[2] = "e";
        assert_eq!(conns.get(3), Some(&"d"), "to read changes nothing");
        assert_eq!(looked(&mut conns, at(2)), [1, 2]);
        assert_eq!(conns.try_remove(3), Some("d"));
        assert_eq!(conns.insert("f"), 3, "in the place of another");
        assert_eq!(looked(&mut conns, at(3)), [3]);
        assert_eq!(looked(&mut conns, at(10)), [0]);
        assert_eq!(looked(&mut conns, at(12)), [1, 2]);
    }
}
