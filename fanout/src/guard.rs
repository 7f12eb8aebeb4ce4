//! The node's door: how many connections each address holds.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

/// Counts the open connections of each address.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    max: usize,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One connection's place; given back when dropped. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    _place: Arc<Place>,
    _slot: Option<service::Slot>,
}

#[derive(Debug)]
struct Place {
    door: Door,
    address: IpAddr,
}

impl Door {
    /// `max` connections of one address at once.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max,
            open: Arc::default(),
        }
    }

    /// A place for one more connection; `None` when the address has as many as it may. `slot` is the listener's own
    /// count, kept as long.
    pub(crate) fn enter(&self, address: IpAddr, slot: Option<service::Slot>) -> Option<Guard> {
        // An IPv4 client of a dual-stack socket is the same client.
        let address = address.to_canonical();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_insert(0);
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(Guard {
            _place: Arc::new(Place {
                door: self.clone(),
                address,
            }),
            _slot: slot,
        })
    }

    #[cfg(test)]
    fn addresses(&self) -> usize {
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self
            .door
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_share_and_no_more_and_leaves_nothing_behind() {
        let door = Door::new(2);
        let (one, other) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let first = door.enter(one, None);
        let second = door.enter(one, None);
        assert!(first.is_some() && second.is_some());
        assert!(door.enter(one, None).is_none());
        assert!(door.enter(other, None).is_some());
        drop(first);
        let third = door.enter(one, None);
        assert!(third.is_some());
        drop((second, third));
        assert_eq!(door.addresses(), 0);
    }
}
