//! Who may read and write which channel.
//!
//! Order of answers: a namespace that is not configured is `CHANNEL_NOT_FOUND` for everybody; then
//! a missing right is `PERMISSION_DENIED`, before anything is said about what exists.

mod namespaces;

use schemas::{ACTIVITY_TYPES, Channel, EventName, Lane};

use crate::{Capability, ErrorName, Identity, ProtocolError};

pub use namespaces::{BadNamespace, Namespaces, Policy, Who};
pub use schemas::PRESENCE_TYPES;

/// The answer to "may this identity read this channel".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// It may.
    Yes,
    /// It may if it owns the job: the caller looks the owner up, and answers `PERMISSION_DENIED`
    /// for somebody else's job and for one that does not exist alike.
    IfJobOwner,
}

/// Whether `who` may subscribe to `channel`.
///
/// # Errors
/// `CHANNEL_NOT_FOUND` or `PERMISSION_DENIED`.
pub fn may_read(
    namespaces: &Namespaces,
    who: &Identity,
    channel: &Channel,
) -> Result<Read, ProtocolError> {
    let needs = match view_of(channel) {
        Some(_) if channel.namespace() == "presence" => Capability::PresenceRead,
        _ => Capability::CanvasView,
    };
    may(namespaces, who, channel, needs)
}

/// Whether `who` may ask `channel` for history and snapshots.
///
/// # Errors
/// As [`may_read`].
pub fn may_read_history(
    namespaces: &Namespaces,
    who: &Identity,
    channel: &Channel,
) -> Result<Read, ProtocolError> {
    may(namespaces, who, channel, Capability::HistoryRead)
}

fn may(
    namespaces: &Namespaces,
    who: &Identity,
    channel: &Channel,
    capability: Capability,
) -> Result<Read, ProtocolError> {
    let source = view_of(channel).map(|(source, _)| source);
    let channel = source.as_ref().unwrap_or(channel);
    let readers = readers(namespaces, channel)?;
    if who.is_backend() {
        return Ok(Read::Yes);
    }
    let allowed = match readers {
        Readers::Everyone => true,
        Readers::Role => who.holds(channel, capability),
        Readers::Backends => false,
        Readers::Myself => channel.id() == who.sub,
        Readers::JobOwner if who.caps.has(Capability::JobRead) => true,
        Readers::JobOwner => return Ok(Read::IfJobOwner),
    };
    if allowed {
        return Ok(Read::Yes);
    }
    Err(ProtocolError::denied(format!("no right to read {channel}")))
}

enum Readers {
    Everyone,
    Role,
    Backends,
    Myself,
    JobOwner,
}

fn readers(namespaces: &Namespaces, channel: &Channel) -> Result<Readers, ProtocolError> {
    Ok(match channel.namespace() {
        "session" | "docs" => Readers::Role,
        "user" => Readers::Myself,
        "jobs" => Readers::JobOwner,
        "broadcast" | "system" if is_singleton(channel) => Readers::Everyone,
        _ => match policy(namespaces, channel)?.read {
            Who::Role => Readers::Role,
            Who::Everyone => Readers::Everyone,
            Who::Backends => Readers::Backends,
        },
    })
}

/// Whether `who` may publish an event of this name in `channel`.
///
/// # Errors
/// `CHANNEL_NOT_FOUND` or `PERMISSION_DENIED`.
pub fn may_publish(
    namespaces: &Namespaces,
    who: &Identity,
    channel: &Channel,
    event: &EventName,
) -> Result<(), ProtocolError> {
    let is_view = view_of(channel).is_some();
    if !is_view {
        readers(namespaces, channel)?;
    }
    if is_view {
        return Err(ProtocolError::denied(format!(
            "{channel} is a view: it can only be read"
        )));
    }
    if event.is_servers() {
        return Err(ProtocolError::denied(format!(
            "{} is said by the server alone",
            event.as_str()
        )));
    }
    if who.is_backend() {
        return Ok(());
    }
    if PRESENCE_TYPES.contains(&event.as_str()) {
        return Err(ProtocolError::denied(format!(
            "{} is said by the server alone",
            event.as_str()
        )));
    }
    let needs = needed_for(event);
    let allowed = match channel.namespace() {
        "session" | "docs" => who.holds(channel, needs),
        "user" | "jobs" | "broadcast" | "system" => false,
        _ => match policy(namespaces, channel)?.write {
            Who::Role => who.holds(channel, needs),
            Who::Everyone => who.holds(channel, needs) || crate::Role::Player.has(needs),
            Who::Backends => false,
        },
    };
    if allowed {
        return Ok(());
    }
    Err(ProtocolError::denied(format!(
        "publishing {} in {channel} needs {}",
        event.as_str(),
        needs.as_str()
    )))
}

/// The capability that publishing an event of this name asks for.
pub fn needed_for(event: &EventName) -> Capability {
    let name = event.as_str();
    match (event.family(), name) {
        ("presence", _) | (_, "cursor.move" | "typing") => Capability::PresenceWrite,
        ("comment", _) => Capability::Comment,
        (_, "draw" | "erase" | "shape" | "undo" | "redo") => Capability::CanvasDraw,
        (_, "token.move") => Capability::TokenMove,
        (_, "clear") => Capability::CanvasClear,
        ("fog", _) => Capability::FogManage,
        ("access", _) => Capability::AccessManage,
        (_, "doc.update" | "doc.awareness") => Capability::DocEdit,
        _ => Capability::Publish,
    }
}

/// The lane an event of this name travels on when its publisher asks for `asked`.
///
/// # Errors
/// `INVALID_MESSAGE` where name and lane contradict each other: presence, cursors, typing,
/// awareness and signalling never become durable; grants and revocations are never ephemeral.
pub fn lane_of(event: &EventName, asked: Option<Lane>) -> Result<Lane, ProtocolError> {
    match (event.only_lane(), asked) {
        (Some(only), Some(asked)) if only != asked => Err(ProtocolError::invalid(format!(
            "{event} travels on the {} lane only",
            only.as_str()
        ))),
        (Some(lane), _) | (None, Some(lane)) => Ok(lane),
        (None, None) => Ok(Lane::Durable),
    }
}

/// Whether an event of this name also counts against the limit on chat and dice.
pub fn counts_as_chat(event: &EventName) -> bool {
    matches!(event.family(), "chat" | "dice")
}

/// What a view shows: `activity.42` is `session.42` reduced to activity types, `presence.42` its
/// presence. `None` for a channel that is no view.
pub fn view_of(channel: &Channel) -> Option<(Channel, &'static [&'static str])> {
    let types = match channel.namespace() {
        "activity" => ACTIVITY_TYPES,
        "presence" => PRESENCE_TYPES,
        _ => return None,
    };
    Channel::of("session", channel.id())
        .ok()
        .map(|source| (source, types))
}

fn policy(namespaces: &Namespaces, channel: &Channel) -> Result<Policy, ProtocolError> {
    namespaces
        .custom(channel.namespace())
        .filter(|_| !is_singleton(channel))
        .ok_or_else(|| {
            ProtocolError::new(
                ErrorName::ChannelNotFound,
                format!("no namespace {} here", channel.namespace()),
            )
        })
}

/// `broadcast` and `system` are channels by themselves; nothing else is.
fn is_singleton(channel: &Channel) -> bool {
    channel.as_str() == channel.namespace()
}

#[cfg(test)]
mod tests;
