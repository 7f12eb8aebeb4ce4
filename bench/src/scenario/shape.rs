//! The shapes of traffic that servers are compared on.

use crate::load::Pace;

/// Channels, members, and how they talk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// Its name in the results.
    pub name: &'static str,
    /// How many channels.
    pub channels: u32,
    /// Members of each.
    pub members: u32,
    /// Whether the members publish; else one publisher does that wants nothing itself.
    pub members_publish: bool,
    /// How fast, over all channels.
    pub pace: Pace,
}

impl Shape {
    /// All of them.
    pub(super) const ALL: &[Shape] = &[
        Shape {
            name: "fanout-1x1000-max",
            channels: 1,
            members: 1000,
            members_publish: false,
            pace: Pace::Window(16),
        },
        Shape {
            name: "fanout-1x100-max",
            channels: 1,
            members: 100,
            members_publish: false,
            pace: Pace::Window(16),
        },
        Shape {
            name: "fanout-1x100-1000",
            channels: 1,
            members: 100,
            members_publish: false,
            pace: Pace::Rate(1000.0),
        },
        Shape {
            name: "fanout-1x1000-50",
            channels: 1,
            members: 1000,
            members_publish: false,
            pace: Pace::Rate(50.0),
        },
        Shape {
            name: "rooms-200x5-2",
            channels: 200,
            members: 5,
            members_publish: true,
            pace: Pace::Rate(2000.0),
        },
        Shape {
            name: "rooms-200x5-10",
            channels: 200,
            members: 5,
            members_publish: true,
            pace: Pace::Rate(10_000.0),
        },
    ];

    /// Events a second, as far as they are paced.
    pub(super) fn events_per_s(&self) -> f64 {
        match self.pace {
            Pace::Rate(rate) => rate,
            Pace::Window(_) => 0.0,
        }
    }

    /// The same with fewer clients, and as many publishes less where every client publishes.
    pub(super) fn divided(mut self, by: u32) -> Shape {
        if self.channels > 1 {
            self.channels = (self.channels / by).max(1);
        } else {
            self.members = (self.members / by).max(2);
        }
        if let (true, Pace::Rate(rate)) = (self.members_publish, &mut self.pace) {
            *rate /= f64::from(by);
        }
        self
    }
}
