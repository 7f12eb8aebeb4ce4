//! What the tests of this crate share.

use schemas::{Channel, Event, EventName, Lane, Outbox};

/// An event with an id of its publisher's.
pub(crate) fn event(id: &str) -> Event {
    Event {
        channel: Channel::parse("session.1").unwrap(),
        name: EventName::parse("draw").unwrap(),
        id: id.into(),
        id_given: true,
        user_id: Some("u1".into()),
        data: b"null".as_slice().into(),
        to: None,
        lane: Lane::Durable,
        outbox: None,
        traceparent: None,
    }
}

/// An event without an id of its publisher's.
pub(crate) fn anonymous(offset: usize) -> Event {
    Event {
        id_given: false,
        ..event(&format!("rivermouth.events:0:{offset}"))
    }
}

/// An event numbered by an outbox.
pub(crate) fn numbered(user: Option<&str>, producer: &str, epoch: u64, seq: u64) -> Event {
    Event {
        user_id: user.map(str::to_owned),
        outbox: Some(Outbox {
            producer: producer.into(),
            epoch,
            seq,
        }),
        ..event(&format!("{producer}-{epoch}-{seq}"))
    }
}
