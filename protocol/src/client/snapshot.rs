//! The parameters of `snapshot`, as a method and as a query.

use schemas::Channel;

use super::fields::{self, Fields};
use crate::ProtocolError;

/// The state of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Which channel or view.
    pub channel: Channel,
    /// As of this cursor, not checked yet; `None` is as of now.
    pub at: Option<String>,
}

impl Snapshot {
    /// Reads the query of `GET /api/realtime/snapshot`. Empty values count as absent, unknown names are ignored, a
    /// name that comes twice is refused.
    ///
    /// # Errors
    /// `INVALID_MESSAGE`.
    pub fn from_query<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, ProtocolError> {
        let (mut channel, mut at) = (None, None);
        for (name, value) in pairs {
            let slot = match name {
                "channel" => &mut channel,
                "at" => &mut at,
                _ => continue,
            };
            if slot.replace(value).is_some() {
                return Err(ProtocolError::invalid(format!("{name} comes twice")));
            }
        }
        let channel = channel
            .filter(|name| !name.is_empty())
            .ok_or_else(|| ProtocolError::invalid("channel is missing"))?;
        Ok(Snapshot {
            channel: Channel::parse(channel).map_err(|e| ProtocolError::invalid(e.to_string()))?,
            at: at.filter(|at| !at.is_empty()).map(str::to_owned),
        })
    }

    pub(super) fn read(fields: &Fields<'_>, channel: Channel) -> Result<Self, ProtocolError> {
        Ok(Snapshot {
            channel,
            at: fields::owned(fields.at, "at")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_a_channel_once_and_a_cursor_at_most_once() {
        let read = |pairs: &[(&'static str, &'static str)]| Snapshot::from_query(pairs.to_vec());
        let asked = read(&[("channel", "jobs.9f"), ("at", "1c"), ("other", "x")]).unwrap();
        assert_eq!(
            (asked.channel.as_str(), asked.at.as_deref()),
            ("jobs.9f", Some("1c"))
        );
        assert_eq!(
            read(&[("channel", "jobs.9f"), ("at", "")]).unwrap().at,
            None
        );
        for bad in [
            &[("at", "1c")][..],
            &[("channel", "")],
            &[("channel", "a.b.c")],
            &[("channel", "jobs.1"), ("channel", "jobs.2")],
            &[("channel", "jobs.1"), ("at", "1c"), ("at", "1d")],
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
