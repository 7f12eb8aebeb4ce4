//! The matrix of section 2: every role × every kind of event × every kind of channel.

use super::*;
use crate::{Caps, Role, Roles};

const ROLES: [Role; 7] = [
    Role::Gm,
    Role::Player,
    Role::Spectator,
    Role::Owner,
    Role::Editor,
    Role::Commenter,
    Role::Viewer,
];

/// Event names, and who of `ROLES` may publish them.
const MATRIX: &[(&[&str], [bool; 7])] = &[
    (
        &[
            "presence.update",
            "presence_update",
            "cursor.move",
            "cursor_move",
            "typing",
        ],
        [true; 7],
    ),
    (
        &[
            "chat.message",
            "chat_message",
            "dice.roll",
            "note.edited",
            "turn.changed",
            "map.updated",
            "rtc.offer",
            "rtc.answer",
            "rtc.candidate",
            "mine",
            "my.own:name",
            "user.joined",
            "notification",
            "job.update",
        ],
        [true, true, false, true, true, false, false],
    ),
    (
        &["comment.added", "comment.resolved", "comment"],
        [true, true, false, true, true, true, false],
    ),
    (
        &["draw", "erase", "shape", "undo", "redo", "token.move"],
        [true, true, false, true, true, false, false],
    ),
    (
        &[
            "clear",
            "fog.update",
            "fog:update",
            "access.grant",
            "access.revoke",
        ],
        [true, false, false, true, false, false, false],
    ),
    (
        &["doc.update", "doc.awareness"],
        [true, true, false, true, true, false, false],
    ),
    (
        &[
            "presence.joined",
            "presence.updated",
            "presence.left",
            "presence:user-joined",
        ],
        [false; 7],
    ),
    (
        &[
            "connected",
            "subscribed",
            "caught_up",
            "gap",
            "lagging",
            "heartbeat",
            "token_expiring",
        ],
        [false; 7],
    ),
];

fn who(sub: &str, pattern: &str, role: &str) -> Identity {
    Identity {
        sub: sub.into(),
        name: None,
        avatar: None,
        expires_at_ms: i64::MAX,
        roles: Roles::from_names([(pattern, role)]),
        caps: Caps::default(),
    }
}

fn with_caps(names: &[&str]) -> Identity {
    Identity {
        caps: Caps::from_names(names.iter().copied()),
        ..who("u1", "none.none", "viewer")
    }
}

fn channel(text: &str) -> Channel {
    Channel::parse(text).unwrap()
}

fn name(text: &str) -> EventName {
    EventName::parse(text).unwrap()
}

fn publish(who: &Identity, to: &str, event: &str) -> Result<(), ErrorName> {
    let namespaces: Namespaces = "rooms".parse().unwrap();
    may_publish(&namespaces, who, &channel(to), &name(event)).map_err(|e| e.name)
}

fn read(who: &Identity, from: &str) -> Result<Read, ErrorName> {
    let namespaces: Namespaces = "rooms".parse().unwrap();
    may_read(&namespaces, who, &channel(from)).map_err(|e| e.name)
}

const DENIED: ErrorName = ErrorName::PermissionDenied;
const UNKNOWN: ErrorName = ErrorName::ChannelNotFound;

#[test]
fn every_role_publishes_what_the_matrix_says_and_nothing_else() {
    for (events, allowed) in MATRIX {
        for event in *events {
            for (role, &allowed) in ROLES.iter().zip(allowed) {
                for namespace in ["session", "docs", "rooms"] {
                    let here = format!("{namespace}.42");
                    let elsewhere = format!("{namespace}.43");
                    let wanted = if allowed { Ok(()) } else { Err(DENIED) };
                    let exact = who("u1", &here, role.as_str());
                    assert_eq!(
                        publish(&exact, &here, event),
                        wanted,
                        "{role:?} {event} {here}"
                    );
                    assert_eq!(
                        publish(&exact, &elsewhere, event),
                        Err(DENIED),
                        "{role:?} {event}"
                    );
                    let all = who("u1", &format!("{namespace}.*"), role.as_str());
                    assert_eq!(publish(&all, &elsewhere, event), wanted, "{role:?} {event}");
                }
            }
        }
    }
}

#[test]
fn every_role_reads_its_channel_its_views_and_no_other() {
    for role in ROLES {
        let me = who("u1", "session.42", role.as_str());
        for mine in ["session.42", "activity.42", "presence.42"] {
            assert_eq!(read(&me, mine), Ok(Read::Yes), "{role:?} {mine}");
        }
        for other in [
            "session.43",
            "session.4",
            "session.422",
            "docs.42",
            "rooms.42",
            "activity.43",
            "presence.43",
        ] {
            assert_eq!(read(&me, other), Err(DENIED), "{role:?} {other}");
        }
        let history = may_read_history(&Namespaces::default(), &me, &channel("activity.42"));
        assert_eq!(history.unwrap(), Read::Yes);
    }
}

#[test]
fn a_role_for_a_view_is_no_role_in_the_channel_behind_it() {
    let me = who("u1", "activity.42", "gm");
    assert_eq!(read(&me, "activity.42"), Err(DENIED));
    assert_eq!(publish(&me, "activity.42", "chat.message"), Err(DENIED));
}

#[test]
fn nobody_without_a_role_reads_or_writes() {
    for role in ["", "GM", "wizard", "backend", "unknown"] {
        let me = who("u1", "session.42", role);
        assert_eq!(read(&me, "session.42"), Err(DENIED), "{role}");
        assert_eq!(publish(&me, "session.42", "typing"), Err(DENIED), "{role}");
    }
}

#[test]
fn a_user_channel_is_its_users_alone() {
    for (sub, id, mine) in [
        ("1", "1", true),
        ("1", "12", false),
        ("12", "1", false),
        ("1", "1-", false),
        ("1", "1:2", false),
        ("u1", "U1", false),
    ] {
        let me = who(sub, "user.*", "gm");
        let wanted = if mine { Ok(Read::Yes) } else { Err(DENIED) };
        assert_eq!(read(&me, &format!("user.{id}")), wanted, "{sub} {id}");
        assert_eq!(
            publish(&me, &format!("user.{id}"), "notification"),
            Err(DENIED)
        );
    }
    let everything = with_caps(&["canvas.view", "publish", "history.read"]);
    assert_eq!(read(&everything, "user.u2"), Err(DENIED));
}

#[test]
fn jobs_are_read_by_owner_or_capability_and_written_by_backends() {
    let me = who("u1", "jobs.*", "owner");
    assert_eq!(read(&me, "jobs.9f"), Ok(Read::IfJobOwner));
    assert_eq!(publish(&me, "jobs.9f", "job.update"), Err(DENIED));
    assert_eq!(read(&with_caps(&["job.read"]), "jobs.9f"), Ok(Read::Yes));
    assert_eq!(
        publish(
            &with_caps(&["job.read", "publish"]),
            "jobs.9f",
            "job.update"
        ),
        Err(DENIED)
    );
}

#[test]
fn broadcast_and_system_are_read_by_all_and_written_by_backends() {
    let me = who("u1", "broadcast.*", "gm");
    for singleton in ["broadcast", "system"] {
        assert_eq!(read(&me, singleton), Ok(Read::Yes));
        assert_eq!(publish(&me, singleton, "mine"), Err(DENIED));
        assert_eq!(
            publish(&with_caps(&["publish"]), singleton, "mine"),
            Err(DENIED)
        );
    }
}

#[test]
fn a_backend_may_everything_but_speak_as_the_server() {
    let backend = with_caps(&["backend"]);
    for to in [
        "session.1",
        "docs.1",
        "user.u9",
        "jobs.1",
        "broadcast",
        "system",
        "rooms.1",
    ] {
        assert_eq!(read(&backend, to), Ok(Read::Yes), "{to}");
        assert_eq!(publish(&backend, to, "fog.update"), Ok(()), "{to}");
        assert_eq!(publish(&backend, to, "presence.joined"), Ok(()), "{to}");
        assert_eq!(publish(&backend, to, "caught_up"), Err(DENIED), "{to}");
    }
    assert_eq!(publish(&backend, "activity.1", "chat.message"), Err(DENIED));
}

#[test]
fn an_unconfigured_namespace_is_not_found_whoever_asks() {
    for me in [
        with_caps(&["backend"]),
        who("u1", "nope.*", "gm"),
        who("u1", "x.1", "gm"),
    ] {
        assert_eq!(read(&me, "nope.1"), Err(UNKNOWN));
        assert_eq!(publish(&me, "nope.1", "mine"), Err(UNKNOWN));
        assert_eq!(publish(&me, "nope.1", "gap"), Err(UNKNOWN));
    }
}

#[test]
fn custom_namespaces_follow_their_rules() {
    let namespaces: Namespaces =
        "feeds:read=everyone,write=backends;walls:write=everyone;ops:read=backends"
            .parse()
            .unwrap();
    let nobody = who("u1", "none.none", "viewer");
    let player = who("u1", "feeds.*", "player");
    let may = |who: &Identity, to: &str, event: &str| {
        may_publish(&namespaces, who, &channel(to), &name(event)).is_ok()
    };
    let reads = |who: &Identity, from: &str| may_read(&namespaces, who, &channel(from)).is_ok();
    assert!(reads(&nobody, "feeds.1") && !may(&player, "feeds.1", "mine"));
    assert!(!reads(&nobody, "walls.1") && may(&nobody, "walls.1", "draw"));
    assert!(!may(&nobody, "walls.1", "clear") && !may(&nobody, "walls.1", "access.grant"));
    assert!(
        !reads(&who("u1", "ops.*", "gm"), "ops.1")
            && may(&who("u1", "ops.*", "gm"), "ops.1", "mine")
    );
    assert!(reads(&with_caps(&["backend"]), "ops.1"));
}

#[test]
fn capabilities_hold_everywhere_and_only_themselves() {
    for capability in Capability::ALL {
        let me = with_caps(&[capability.as_str()]);
        assert_eq!(
            read(&me, "session.1").is_ok(),
            *capability == Capability::CanvasView,
            "{capability:?}"
        );
        let history = may_read_history(&Namespaces::default(), &me, &channel("docs.1"));
        assert_eq!(
            history.is_ok(),
            *capability == Capability::HistoryRead,
            "{capability:?}"
        );
        for (event, needs) in [
            ("typing", Capability::PresenceWrite),
            ("mine", Capability::Publish),
            ("comment.added", Capability::Comment),
            ("draw", Capability::CanvasDraw),
            ("token.move", Capability::TokenMove),
            ("clear", Capability::CanvasClear),
            ("fog.update", Capability::FogManage),
            ("access.grant", Capability::AccessManage),
            ("doc.update", Capability::DocEdit),
        ] {
            let allowed = publish(&me, "session.1", event).is_ok();
            assert_eq!(allowed, *capability == needs, "{capability:?} {event}");
        }
    }
}

#[test]
fn names_decide_the_lane_where_they_must() {
    let lane = |event: &str, asked| lane_of(&name(event), asked).map_err(|e| e.name);
    for event in [
        "cursor.move",
        "cursor_move",
        "typing",
        "presence.update",
        "doc.awareness",
        "rtc.offer",
        "rtc.answer",
        "rtc.candidate",
    ] {
        assert_eq!(lane(event, None), Ok(Lane::Ephemeral), "{event}");
        assert_eq!(
            lane(event, Some(Lane::Ephemeral)),
            Ok(Lane::Ephemeral),
            "{event}"
        );
        assert_eq!(
            lane(event, Some(Lane::Durable)),
            Err(ErrorName::InvalidMessage),
            "{event}"
        );
    }
    for event in ["draw", "chat.message", "doc.update", "mine"] {
        assert_eq!(lane(event, None), Ok(Lane::Durable), "{event}");
        assert_eq!(
            lane(event, Some(Lane::Ephemeral)),
            Ok(Lane::Ephemeral),
            "{event}"
        );
    }
    assert_eq!(lane("access.grant", None), Ok(Lane::Durable));
    assert_eq!(
        lane("access.revoke", Some(Lane::Ephemeral)),
        Err(ErrorName::InvalidMessage)
    );
}

#[test]
fn views_name_their_channel_and_types() {
    let (source, types) = view_of(&channel("activity.42")).unwrap();
    assert_eq!(source, channel("session.42"));
    assert!(types.contains(&"dice.roll") && !types.contains(&"draw"));
    assert_eq!(view_of(&channel("presence.42")).unwrap().1, PRESENCE_TYPES);
    assert_eq!(view_of(&channel("session.42")), None);
    assert!(counts_as_chat(&name("chat_message")) && counts_as_chat(&name("dice.roll")));
    assert!(!counts_as_chat(&name("draw")) && !counts_as_chat(&name("chatter")));
}
