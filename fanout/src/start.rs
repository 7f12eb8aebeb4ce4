//! From what a subscriber asks to where it starts: views, rights of jobs, cursors. Shared by every transport.

use protocol::{
    Identity, ProtocolError,
    access::{Read, view_of},
    client::{Since, Subscribe},
};

use crate::{
    node::Node,
    sub::{From, Mode, Start, Sub, Window},
};

/// A subscription that is ready to begin.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// Without serial and opening: who takes it gives it those.
    pub(crate) sub: Sub,
    pub(crate) start: Start,
}

/// Checks what only this version does not serve, resolves views, and decodes the cursor.
pub(crate) fn prepare(
    node: &Node,
    who: &Identity,
    read: Read,
    subscribe: Subscribe,
) -> Result<Prepared, ProtocolError> {
    if subscribe.snapshot {
        return Err(ProtocolError::unserved("snapshot"));
    }
    if subscribe.durable.is_some() {
        return Err(ProtocolError::unserved("durable"));
    }
    if subscribe.presence || subscribe.channel.namespace() == "presence" {
        return Err(ProtocolError::unserved("presence"));
    }
    let asked = subscribe.channel;
    let (channel, view) = match view_of(&asked) {
        Some((channel, types)) => (channel, Some(types)),
        None => (asked.clone(), None),
    };
    let types = narrowed(
        view,
        subscribe
            .types
            .map(|t| t.iter().map(|n| n.as_str().to_owned()).collect()),
    );
    let start = start_at(node, &channel, &subscribe.since)?;
    let sub = Sub {
        serial: 0,
        asked,
        channel,
        wanted: Node::wanted(who, types),
        mode: Mode::Ready,
        slot: None,
        next: 0,
        announce: subscribe.since != Since::Latest,
        window: Window::of(subscribe.window),
        opening: None,
    };
    let owner = matches!(read, Read::IfJobOwner).then(|| who.sub.as_str().into());
    Ok(Prepared {
        sub,
        start: Start { owner, ..start },
    })
}

/// The names of a view and those asked for: what is in both.
pub(crate) fn narrowed(
    view: Option<&'static [&'static str]>,
    asked: Option<Vec<String>>,
) -> Option<Vec<String>> {
    match (view, asked) {
        (None, asked) => asked,
        (Some(view), None) => Some(view.iter().map(|t| (*t).to_owned()).collect()),
        (Some(view), Some(asked)) => Some(
            asked
                .into_iter()
                .filter(|t| view.contains(&t.as_str()))
                .collect(),
        ),
    }
}

fn start_at(
    node: &Node,
    channel: &schemas::Channel,
    since: &Since,
) -> Result<Start, ProtocolError> {
    let mut start = Start {
        from: From::Latest,
        was_recovering: !matches!(since, Since::Latest),
        outlived: None,
        owner: None,
    };
    match since {
        Since::Latest => {}
        Since::Earliest => start.from = From::Earliest,
        Since::Time(ms) => start.from = From::Time(*ms),
        Since::Last(n) => start.from = From::Last(*n),
        Since::Cursor(text) => {
            let place = node.directory.durable(channel);
            let position = node
                .tiers
                .framer
                .cursors
                .decode(channel, text)
                .map_err(|_| ProtocolError::cursor())?;
            let generation = node.directory.generation(&place.topic);
            if position.generation < generation {
                start.from = From::Earliest;
                start.outlived = Some(text.clone());
            } else if position.generation > generation || position.partition != place.partition {
                return Err(ProtocolError::cursor());
            } else {
                start.from = From::Next(position.next);
            }
        }
    }
    Ok(start)
}
