//! One event on its way in, from any transport.

use bytes::Bytes;

use schemas::{Channel, EventName, Lane, Outbox, TO_MAX, valid_id, valid_user};

use super::fields::{self, Fields};
use crate::{Identity, ProtocolError};

const ID_RULE: &str = "1 to 64 of A-Z a-z 0-9 _ : @ ~ . -";

/// An event that somebody wants in a channel. Not judged yet: rights, rates, size and the age of
/// its id are for whoever admits it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// Where.
    pub channel: Channel,
    /// What happened; never an alias.
    pub event: EventName,
    /// Compact JSON text, `null` when absent.
    pub data: Bytes,
    /// The publisher's id for it.
    pub id: Option<String>,
    /// The lane it asks for; [`crate::access::lane_of`] decides.
    pub lane: Option<Lane>,
    /// The users it is addressed to, 1 to 256.
    pub to: Option<Vec<String>>,
    /// The outbox's numbering.
    pub outbox: Option<Outbox>,
    /// The user it is said to come from: a backend's word, see [`Publish::author`]. `Some(None)` is
    /// nobody, and an empty name stands for one that could not be read.
    pub user_id: Option<Option<String>>,
}

impl Publish {
    /// Whom the event comes from: the connection's user, whatever the message says; only a backend
    /// may name somebody else, or nobody.
    ///
    /// # Errors
    /// `INVALID_MESSAGE` when a backend names what cannot be a user.
    pub fn author(&self, who: &Identity) -> Result<Option<String>, ProtocolError> {
        match &self.user_id {
            Some(Some(name)) if who.is_backend() && name.is_empty() => Err(fields::wrong(
                "userId",
                "a user id of 1 to 256 bytes, or null",
            )),
            Some(named) if who.is_backend() => Ok(named.clone()),
            _ => Ok(Some(who.sub.clone())),
        }
    }

    pub(super) fn read(fields: &Fields<'_>, channel: Channel) -> Result<Self, ProtocolError> {
        let event = fields::need(fields.event, "event")?;
        let id = fields::owned(fields.id, "id")?;
        if id.as_deref().is_some_and(|id| !valid_id(id)) {
            return Err(fields::wrong("id", ID_RULE));
        }
        Ok(Publish {
            channel,
            event: fields::event_name(&event)?,
            data: data(fields),
            id,
            lane: lane(fields)?,
            to: to(fields)?,
            outbox: outbox(fields)?,
            user_id: fields.user_id.map(user_id),
        })
    }
}

fn data(fields: &Fields<'_>) -> Bytes {
    match &fields.data {
        Some(data) => Bytes::copy_from_slice(data),
        None => Bytes::from_static(b"null"),
    }
}

fn lane(fields: &Fields<'_>) -> Result<Option<Lane>, ProtocolError> {
    match fields::text(fields.lane, "lane")? {
        None => Ok(None),
        Some(name) => Lane::parse(&name)
            .map(Some)
            .ok_or_else(|| fields::wrong("lane", "durable or ephemeral")),
    }
}

fn to(fields: &Fields<'_>) -> Result<Option<Vec<String>>, ProtocolError> {
    const WHAT: &str = "a list of user ids";
    let Some(users) = fields::read::<Vec<String>>(fields.to, "to", WHAT)? else {
        return Ok(None);
    };
    if users.is_empty() || !users.iter().all(|user| valid_user(user)) {
        return Err(fields::wrong("to", WHAT));
    }
    if users.len() > TO_MAX {
        return Err(ProtocolError::limit("to", TO_MAX));
    }
    Ok(Some(users))
}

fn outbox(fields: &Fields<'_>) -> Result<Option<Outbox>, ProtocolError> {
    const WHAT: &str = "a whole number from 0 to 2^53 - 1";
    let producer = fields::owned(fields.producer, "producer")?;
    let epoch = fields::read::<u64>(fields.epoch, "epoch", WHAT)?;
    let seq = fields::read::<u64>(fields.seq, "seq", WHAT)?;
    let (producer, epoch, seq) = match (producer, epoch, seq) {
        (None, None, None) => return Ok(None),
        (Some(producer), Some(epoch), Some(seq)) => (producer, epoch, seq),
        _ => {
            return Err(ProtocolError::invalid(
                "producer, epoch and seq come together or not at all",
            ));
        }
    };
    if !valid_id(&producer) {
        return Err(fields::wrong("producer", ID_RULE));
    }
    if epoch > Outbox::MAX {
        return Err(fields::wrong("epoch", WHAT));
    }
    if seq > Outbox::MAX {
        return Err(fields::wrong("seq", WHAT));
    }
    Ok(Some(Outbox {
        producer,
        epoch,
        seq,
    }))
}

/// A user's claim is ignored whatever it looks like, so what cannot be read is kept as a name that
/// nobody can have, and only a backend is told.
fn user_id(raw: &str) -> Option<String> {
    match serde_json::from_str::<Option<String>>(raw) {
        Ok(None) => None,
        Ok(Some(name)) if valid_user(&name) => Some(name),
        _ => Some(String::new()),
    }
}
