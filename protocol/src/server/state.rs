//! What is said of a channel's state. A state is JSON text of its fold's and goes through untouched.

use super::{Object, control_in};

/// The answer to a subscription.
#[derive(Debug, Clone, Copy)]
pub struct Subscription<'a> {
    /// The channel as it was asked for.
    pub channel: &'a str,
    /// Where it begins.
    pub cursor: &'a str,
    /// Whether nothing is missing after what was asked for.
    pub recovered: bool,
    /// Whether a position was asked for.
    pub was_recovering: bool,
    /// The state as of the cursor, where it was asked for.
    pub snapshot: Option<&'a [u8]>,
}

/// `{"channel","cursor","recovered","wasRecovering","snapshot"?}`: the data of the response and of [`super::subscribed`].
pub fn subscription(answer: &Subscription<'_>) -> Vec<u8> {
    let truth = |yes: bool| if yes { &b"true"[..] } else { b"false" };
    let mut out = Object::with_capacity(160 + answer.snapshot.map_or(0, <[u8]>::len));
    out.text("channel", answer.channel);
    out.text("cursor", answer.cursor);
    out.raw("recovered", truth(answer.recovered));
    out.raw("wasRecovering", truth(answer.was_recovering));
    if let Some(state) = answer.snapshot {
        out.raw("snapshot", state);
    }
    out.end()
}

/// `{"cursor","state"}`: the body over HTTP, the data of a response.
pub fn snapshot(cursor: &str, state: &[u8]) -> Vec<u8> {
    let mut out = Object::with_capacity(64 + cursor.len() + state.len());
    out.text("cursor", cursor);
    out.raw("state", state);
    out.end()
}

/// The event `snapshot` of a stream: the state as of the cursor, before the events of the channel.
pub fn snapshot_event(channel: &str, cursor: &str, state: &[u8]) -> Vec<u8> {
    let mut out = control_in("snapshot", channel);
    out.text("cursor", cursor);
    out.raw("data", state);
    out.end()
}
