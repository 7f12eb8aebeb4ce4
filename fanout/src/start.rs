//! From what a subscriber asks to where it starts: views, rights of jobs, cursors. Shared by every transport.

use protocol::{
    Identity, Position, ProtocolError,
    access::{Read, view_of},
    client::{Since, Subscribe},
};
use schemas::{Channel, KeptKey};
use state::Fold;

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
    if subscribe.snapshot && !Fold::of(&subscribe.channel).is_served() {
        return Err(ProtocolError::unserved("snapshot"));
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
    let durable = subscribe.durable.map(|durable| {
        node.keeper.watch(KeptKey {
            channel: asked.clone(),
            user: who.sub.clone(),
            durable,
        })
    });
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
        durable,
        opening: None,
    };
    let owner = matches!(read, Read::IfJobOwner).then(|| who.sub.as_str().into());
    Ok(Prepared {
        sub,
        start: Start {
            snapshot: subscribe.snapshot,
            owner,
            ..start
        },
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

/// Where the kept cursor says that a subscription begins: it wins over what was asked.
pub(crate) fn begin_at(
    node: &Node,
    sub: &mut Sub,
    start: &mut Start,
    kept: Position,
) -> Result<(), ProtocolError> {
    start.was_recovering = true;
    sub.announce = true;
    place_at(node, &sub.channel, start, kept)
}

fn start_at(node: &Node, channel: &Channel, since: &Since) -> Result<Start, ProtocolError> {
    let mut start = Start {
        from: From::Latest,
        was_recovering: !matches!(since, Since::Latest),
        snapshot: false,
        outlived: None,
        owner: None,
    };
    match since {
        Since::Latest => {}
        Since::Earliest => start.from = From::Earliest,
        Since::Time(ms) => start.from = From::Time(*ms),
        Since::Last(n) => start.from = From::Last(*n),
        Since::Cursor(text) => {
            let position = node.tiers.framer.cursors.decode(channel, text)?;
            place_at(node, channel, &mut start, position)?;
        }
    }
    Ok(start)
}

/// A position of the present topic is where to go on; of one before it, everything since is gone.
fn place_at(
    node: &Node,
    channel: &Channel,
    start: &mut Start,
    position: Position,
) -> Result<(), ProtocolError> {
    let place = node.directory.durable(channel);
    let generation = node.directory.generation(&place.topic);
    start.outlived = None;
    if position.generation < generation {
        start.from = From::Earliest;
        start.outlived = Some(node.tiers.framer.cursors.encode(channel, position));
    } else if position.generation > generation || position.partition != place.partition {
        return Err(ProtocolError::cursor());
    } else {
        let next = service::planted!("resume_off_by_one", position.next - 1 => position.next);
        start.from = From::Next(next);
    }
    Ok(())
}
