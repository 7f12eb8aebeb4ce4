//! The door: who may publish what, and what the record of it is.
//!
//! Pure: time comes in. A publish becomes an [`Admitted`] with its encoded record, or an error; rates and
//! queues are somebody else's.

use bytes::Bytes;
use protocol::access::{self, Namespaces};
use protocol::client::Publish;
use protocol::{Identity, Limits, ProtocolError};
use schemas::{Event, Lane, encode_json};
use siphasher::sip128::{Hasher128, SipHasher24};
use state::job::Job;
use std::hash::Hasher;

use crate::horizon;

/// A publish that may go to the log.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// `data` is left out: it is in the record.
    pub(crate) event: Event,
    pub(crate) key: Bytes,
    pub(crate) headers: Vec<(&'static str, Bytes)>,
    pub(crate) value: Bytes,
    /// Key, headers and value.
    pub(crate) bytes: usize,
}

/// Admits a publish as of `now_ms` (Unix ms).
///
/// # Errors
/// What section 8 of the protocol has for it.
pub(crate) fn admit(
    namespaces: &Namespaces,
    limits: &Limits,
    who: &Identity,
    publish: Publish,
    now_ms: i64,
) -> Result<Admitted, ProtocolError> {
    access::may_publish(namespaces, who, &publish.channel, &publish.event)?;
    let lane = access::lane_of(&publish.event, publish.lane)?;
    if lane == Lane::Ephemeral && publish.outbox.is_some() {
        return Err(ProtocolError::invalid(
            "an outbox numbers durable events, the ephemeral lane keeps no order",
        ));
    }
    let user_id = publish.author(who)?;
    let id = match (publish.id, &publish.outbox) {
        (Some(id), outbox) => {
            // An outbox's numbers never expire, so neither do the ids beside them.
            if outbox.is_none() {
                horizon::check(&id, now_ms)?;
            }
            id
        }
        (None, Some(outbox)) => numbered_id(publish.channel.as_str(), user_id.as_deref(), outbox),
        (None, None) => horizon::new_id(),
    };
    let mut event = Event {
        channel: publish.channel,
        name: publish.event,
        id,
        id_given: true,
        user_id,
        data: publish.data,
        to: publish.to,
        lane,
        outbox: publish.outbox,
        traceparent: None,
    };
    if let Some(job_id) = Job::updated_by(&event) {
        Job::check(job_id, &event.data)
            .map_err(|why| ProtocolError::invalid(format!("job.update: {why}")))?;
    }
    let encoded = encode_json(&event);
    event.data = Bytes::new();
    let headers: usize = encoded
        .headers
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    let bytes = encoded.key.len() + headers + encoded.value.len();
    if bytes > limits.message_bytes_max {
        return Err(ProtocolError::too_large(limits.message_bytes_max));
    }
    Ok(Admitted {
        event,
        key: encoded.key,
        headers: encoded.headers,
        value: encoded.value,
        bytes,
    })
}

/// The id of an outbox's event that came without one: the same for every retry, so that a duplicate's
/// answer names the stored event without anybody having to look it up.
fn numbered_id(channel: &str, user: Option<&str>, outbox: &schemas::Outbox) -> String {
    let mut hasher = SipHasher24::new_with_keys(0x7269_7665_726d_6f75, 0x7468_206f_7574_626f);
    for part in [
        channel,
        if user.is_some() { "u" } else { "" },
        user.unwrap_or(""),
        &outbox.producer,
    ] {
        hasher.write_u64(part.len() as u64);
        hasher.write(part.as_bytes());
    }
    hasher.write_u64(outbox.epoch);
    hasher.write_u64(outbox.seq);
    let hash = hasher.finish128().as_u128();
    // Version 8, the one for values of one's own making: it carries no time.
    uuid::Builder::from_custom_bytes(hash.to_be_bytes())
        .into_uuid()
        .to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use protocol::client::parse_publish;
    use protocol::{Caps, ErrorName, Roles};
    use schemas::{Decoder, Incoming, Topics};

    use super::*;

    const NOW: i64 = 1_763_683_200_000;

    fn who(sub: &str, roles: &[(&str, &str)], caps: &[&str]) -> Identity {
        Identity {
            sub: sub.to_owned(),
            name: None,
            avatar: None,
            expires_at_ms: NOW + 60_000,
            roles: Roles::from_names(roles.iter().copied()),
            caps: Caps::from_names(caps.iter().copied()),
        }
    }

    fn player() -> Identity {
        who("u1", &[("session.42", "player")], &[])
    }

    fn backend() -> Identity {
        who("worker", &[], &["backend"])
    }

    fn door(who: &Identity, text: &str) -> Result<Admitted, ProtocolError> {
        let publish = parse_publish(text.as_bytes())?;
        admit(
            &Namespaces::default(),
            &Limits::default(),
            who,
            publish,
            NOW,
        )
    }

    fn refusal(who: &Identity, text: &str) -> ErrorName {
        door(who, text).unwrap_err().name
    }

    #[test]
    fn identity_comes_from_the_connection_whatever_the_message_claims() {
        let claimed = r#"{"channel":"session.42","event":"chat.message","data":1,"userId":"gm"}"#;
        assert_eq!(
            door(&player(), claimed).unwrap().event.user_id.as_deref(),
            Some("u1")
        );
        assert_eq!(
            door(&backend(), claimed).unwrap().event.user_id.as_deref(),
            Some("gm")
        );
        let nobody = r#"{"channel":"session.42","event":"chat.message","userId":null}"#;
        assert_eq!(door(&backend(), nobody).unwrap().event.user_id, None);
        assert_eq!(
            door(&player(), nobody).unwrap().event.user_id.as_deref(),
            Some("u1")
        );
        let silent = r#"{"channel":"session.42","event":"chat.message"}"#;
        assert_eq!(
            door(&backend(), silent).unwrap().event.user_id.as_deref(),
            Some("worker")
        );
    }

    #[test]
    fn refusals_have_their_codes() {
        let at =
            |channel: &str, event: &str| format!(r#"{{"channel":"{channel}","event":"{event}"}}"#);
        assert_eq!(
            refusal(&player(), &at("session.43", "draw")),
            ErrorName::PermissionDenied
        );
        assert_eq!(
            refusal(&player(), &at("session.42", "clear")),
            ErrorName::PermissionDenied
        );
        assert_eq!(
            refusal(&player(), &at("jobs.1", "job.update")),
            ErrorName::PermissionDenied
        );
        assert_eq!(
            refusal(&player(), &at("user.u1", "notification")),
            ErrorName::PermissionDenied
        );
        assert_eq!(
            refusal(&player(), &at("activity.42", "chat.message")),
            ErrorName::PermissionDenied
        );
        assert_eq!(
            refusal(&player(), &at("nowhere.1", "draw")),
            ErrorName::ChannelNotFound
        );
        assert_eq!(
            refusal(&player(), &at("session.4.2", "draw")),
            ErrorName::InvalidMessage
        );
        let old = r#"{"channel":"session.42","event":"draw","id":"00000000-0000-7000-8000-000000000000"}"#;
        assert_eq!(refusal(&player(), old), ErrorName::InvalidMessage);
        let both =
            r#"{"channel":"session.42","event":"cursor.move","producer":"p","epoch":0,"seq":0}"#;
        assert_eq!(refusal(&player(), both), ErrorName::InvalidMessage);
    }

    #[test]
    fn a_job_update_has_to_be_one_in_channels_of_jobs_only() {
        let update = |channel: &str, data: &str| {
            format!(r#"{{"channel":"{channel}","event":"job:update","data":{data}}}"#)
        };
        for (data, why) in [
            (r#"{"jobId":"1","status":"running"}"#, "jobId"),
            (r#"{"status":"running"}"#, "jobId is missing"),
            (r#"{"jobId":"9f"}"#, "status is missing"),
            (r#"{"jobId":"9f","status":"bogus"}"#, "status"),
            (
                r#"{"jobId":"9f","status":"running","progress":101}"#,
                "progress",
            ),
            (r#""9f""#, "object"),
            ("null", "object"),
        ] {
            let refused = door(&backend(), &update("jobs.9f", data)).unwrap_err();
            assert_eq!(refused.name, ErrorName::InvalidMessage, "{data}");
            assert!(refused.message.contains(why), "{data}: {}", refused.message);
            assert!(door(&backend(), &update("session.9f", data)).is_ok());
        }
        let good = r#"{ "jobId": "9f", "status": "running", "progress": 100, "eta": 5 }"#;
        assert!(door(&backend(), &update("jobs.9f", good)).is_ok());
        let other = r#"{"channel":"jobs.9f","event":"job.log","data":"line"}"#;
        assert!(door(&backend(), other).is_ok());
    }

    #[test]
    fn an_old_id_beside_an_outbox_number_is_fine() {
        let text = r#"{"channel":"session.42","event":"draw","producer":"p","epoch":1,"seq":4,
                       "id":"00000000-0000-7000-8000-000000000000"}"#;
        assert!(door(&player(), text).is_ok());
    }

    #[test]
    fn an_outbox_event_without_an_id_gets_the_same_one_each_time() {
        let text = |seq: u64| {
            format!(
                r#"{{"channel":"session.42","event":"draw","producer":"p","epoch":1,"seq":{seq}}}"#
            )
        };
        let id = |who: &Identity, seq: u64| door(who, &text(seq)).unwrap().event.id;
        assert_eq!(id(&player(), 4), id(&player(), 4));
        assert_ne!(id(&player(), 4), id(&player(), 5));
        assert_ne!(
            id(&player(), 4),
            id(&who("u2", &[("session.42", "gm")], &[]), 4)
        );
        assert!(schemas::valid_id(&id(&player(), 4)));
        let plain = r#"{"channel":"session.42","event":"draw"}"#;
        assert_ne!(
            door(&player(), plain).unwrap().event.id,
            door(&player(), plain).unwrap().event.id
        );
    }

    #[test]
    fn a_record_is_at_most_64_kib_as_stored() {
        // The user's name is in the record and not in the message, so a message may fit and its record not.
        let who = who(&"u".repeat(200), &[("session.42", "player")], &[]);
        let text = |n: usize| {
            format!(
                r#"{{"channel":"session.42","event":"draw","id":"x","data":"{}"}}"#,
                "a".repeat(n)
            )
        };
        let most = 65_536 - door(&who, &text(0)).unwrap().bytes;
        assert_eq!(door(&who, &text(most)).unwrap().bytes, 65_536);
        assert_eq!(refusal(&who, &text(most + 1)), ErrorName::MessageTooLarge);
    }

    proptest! {
        /// Whatever a user sends besides: the record says who sent it, and decodes to what was admitted.
        #[test]
        fn a_record_reads_back_as_what_was_admitted(
            user_id in prop::option::of("[a-z0-9]{1,8}"),
            id in prop::option::of("[A-Za-z0-9_:@~.-]{1,64}"),
            seq in prop::option::of(0u64..1_000),
            data in "[ -~äöü]{0,40}",
        ) {
            let mut message = serde_json::json!({"channel": "session.42", "event": "draw", "data": data});
            if let Some(user_id) = &user_id { message["userId"] = user_id.as_str().into(); }
            if let Some(id) = &id { message["id"] = id.as_str().into(); }
            if let Some(seq) = seq {
                message["producer"] = "p".into();
                message["epoch"] = 1.into();
                message["seq"] = seq.into();
            }
            let admitted = door(&player(), &message.to_string()).unwrap();
            let headers: Vec<(String, Bytes)> =
                admitted.headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
            let topics = Topics::default();
            let decoded = Decoder::new(topics.clone()).decode(Incoming {
                topic: topics.events(),
                partition: 0,
                offset: 0,
                key: Some(&admitted.key),
                headers: &headers,
                value: Some(&admitted.value),
            }).unwrap();
            prop_assert_eq!(decoded.user_id.as_deref(), Some("u1"));
            let text = serde_json::to_string(&data).unwrap();
            prop_assert_eq!(&*decoded.data, text.as_bytes());
            let mut bare = decoded;
            bare.data = Bytes::new();
            prop_assert_eq!(bare, admitted.event);
        }
    }
}
