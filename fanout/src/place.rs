//! Where a channel lives in the log: topic and partition, and which generation of the topic is pinned.

use std::sync::Arc;

use broker::{PinWatch, Pins};
use protocol::Position;
use schemas::{Channel, KeptKey, Lane, Topics, partition_of};

/// One partition of one topic. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
}

/// One channel in its place.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Spot {
    pub(crate) place: Place,
    pub(crate) channel: Channel,
}

/// The pinned map from channels to places (D2): the same on every node, for as long as the pins hold.
#[derive(Debug)]
pub(crate) struct Directory {
    topics: Topics,
    pins: Pins,
    watch: PinWatch,
}

impl Directory {
    pub(crate) fn new(topics: Topics, pins: Pins, watch: PinWatch) -> Self {
        Self {
            topics,
            pins,
            watch,
        }
    }

    /// Whether the pins hold.
    pub(crate) fn watch(&self) -> &PinWatch {
        &self.watch
    }

    /// A topic that this node reads is another one than was pinned.
    pub(crate) fn is_moved(&self) -> bool {
        let topics = [
            self.topics.events(),
            self.topics.signals(),
            self.topics.jobs(),
        ];
        !self.watch.is_sound() && topics.iter().any(|topic| self.watch.lost(topic).is_some())
    }

    /// Where the channel's durable events are.
    pub(crate) fn durable(&self, channel: &Channel) -> Place {
        self.place(channel, Lane::Durable)
    }

    /// Where the records of a kept cursor are.
    pub(crate) fn kept(&self, key: &KeptKey) -> Place {
        self.state_place(key.partition(self.state_partitions()))
    }

    /// A partition of the state topic.
    pub(crate) fn state_place(&self, partition: i32) -> Place {
        Place {
            topic: Arc::from(self.topics.state()),
            partition,
        }
    }

    /// How many of them there are, at least 1.
    pub(crate) fn state_partitions(&self) -> u32 {
        let pin = self.pins.topics.get(self.topics.state());
        pin.map_or(1, |pin| pin.partitions.max(1))
    }

    /// Where the ephemeral lane beside a durable place is: `None` for jobs, which have no such lane.
    pub(crate) fn signals_beside(&self, durable: &Place) -> Option<Place> {
        (*durable.topic == *self.topics.events()).then(|| Place {
            topic: Arc::from(self.topics.signals()),
            partition: durable.partition,
        })
    }

    /// The durable place beside an ephemeral one.
    pub(crate) fn durable_beside(&self, signals: &Place) -> Place {
        Place {
            topic: Arc::from(self.topics.events()),
            partition: signals.partition,
        }
    }

    pub(crate) fn is_signals(&self, topic: &str) -> bool {
        topic == self.topics.signals()
    }

    pub(crate) fn generation(&self, topic: &str) -> u16 {
        self.pins.topics.get(topic).map_or(0, |pin| pin.generation)
    }

    /// The position whose next offset is `next`, as cursors name it.
    pub(crate) fn position(&self, place: &Place, next: i64) -> Position {
        Position {
            generation: self.generation(&place.topic),
            partition: place.partition,
            next,
        }
    }

    pub(crate) fn stored(&self, place: &Place) -> store::Place {
        store::Place {
            topic: place.topic.to_string(),
            generation: self.generation(&place.topic),
            partition: place.partition,
        }
    }

    fn place(&self, channel: &Channel, lane: Lane) -> Place {
        let topic = self.topics.of(channel, lane);
        let partitions = self.pins.topics.get(topic).map_or(1, |pin| pin.partitions);
        Place {
            topic: Arc::from(topic),
            partition: partition_of(channel.id().as_bytes(), partitions),
        }
    }
}
