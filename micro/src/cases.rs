//! The cases, each what one event, message or connection costs in one place.

use std::hint::black_box;

use protocol::token::{self, Claims, Use, Verifier, VerifierConfig};
use protocol::{Cursors, client, server};
use schemas::{Decoder, Event, Topics, encode_json};
use state::{Acceptance, HORIZON_MS, Verdict};

use crate::sample::{self, Record};
use crate::{Case, Part};

/// All of them, in the order an event and its readers meet them.
pub const CASES: &[Case] = &[
    case("parse_publish", parse_publish),
    case("encode_json", encode),
    case("decode_json", || decode(Record::of(&sample::event()))),
    case("decode_json_outbox", || {
        decode(Record::of(&sample::event_of_outbox(1)))
    }),
    case("decode_headers", || decode(Record::cloudevent())),
    case("accept_id", accept_id),
    case("accept_outbox", accept_outbox),
    case("frame", frame),
    case("cursor_print", cursor_print),
    case("cursor_parse", cursor_parse),
    case("check_token", check_token),
    case("parse_subscribe", parse_subscribe),
];

const fn case(name: &'static str, prepare: fn() -> Part) -> Case {
    Case { name, prepare }
}

fn parse_publish() -> Part {
    parse(sample::publish_request())
}

fn parse_subscribe() -> Part {
    let cursor = cursors().encode(&sample::channel(), sample::position());
    parse(sample::subscribe_request(&cursor))
}

fn parse(line: String) -> Part {
    Box::new(move || {
        let message = client::parse(black_box(line.as_bytes()));
        black_box(message.expect("a good message"));
    })
}

fn encode() -> Part {
    let event = sample::event();
    Box::new(move || {
        black_box(encode_json(black_box(&event)));
    })
}

fn decode(record: Record) -> Part {
    let topics = Topics::default();
    let counts = topics
        .durable()
        .map(|topic| (topic.to_owned(), sample::PARTITIONS));
    let decoder = Decoder::new(topics).with_partitions(counts);
    Box::new(move || {
        let event = decoder.decode(black_box(record.incoming()));
        black_box(event.expect("a good record"));
    })
}

/// A channel with an event a second: each one accepted is one forgotten.
fn accept_id() -> Part {
    accept(sample::event())
}

/// One outbox that goes on; the ids of its events are remembered as those of all are.
fn accept_outbox() -> Part {
    accept(sample::event_of_outbox(0))
}

fn accept(like: Event) -> Part {
    const STEP_MS: i64 = 1_000;
    // Twice as many ids as are remembered, so that one is forgotten when its turn comes again.
    let ids = 2 * (HORIZON_MS / STEP_MS) as u64;
    let named = |n| Event {
        id: sample::id(n),
        ..like.clone()
    };
    let mut events: Vec<Event> = (0..ids).map(named).collect();
    let mut acceptance = Acceptance::new();
    let mut n = 0;
    let mut next = move || {
        let event = &mut events[(n % ids) as usize];
        if let Some(outbox) = &mut event.outbox {
            outbox.seq = n;
        }
        let at_ms = sample::NOW_MS + n as i64 * STEP_MS;
        let verdict = acceptance.apply(black_box(event), at_ms);
        assert!(matches!(verdict, Verdict::Accepted { .. }), "{verdict:?}");
        n += 1;
    };
    for _ in 0..ids {
        next();
    }
    Box::new(next)
}

/// The event's JSON, which all its readers share. Its cursors are a case of their own.
fn frame() -> Part {
    let event = sample::event();
    let cursors = cursors();
    let cursor = cursors.encode(&event.channel, sample::position());
    Box::new(move || {
        let event = black_box(&event);
        black_box(server::event(&server::EventFrame {
            channel: event.channel.as_str(),
            event: event.name.as_str(),
            id: &event.id,
            user_id: event.user_id.as_deref(),
            data: &event.data,
            timestamp_ms: sample::NOW_MS,
            cursor: Some(&cursor),
            prev: Some(&cursor),
            addressed: false,
            replaced: None,
            replay: false,
        }));
    })
}

fn cursors() -> Cursors {
    Cursors::new(*b"a key of sixteen")
}

fn cursor_print() -> Part {
    let (cursors, channel, position) = (cursors(), sample::channel(), sample::position());
    Box::new(move || {
        black_box(cursors.encode(black_box(&channel), black_box(position)));
    })
}

fn cursor_parse() -> Part {
    let (cursors, channel) = (cursors(), sample::channel());
    let text = cursors.encode(&channel, sample::position());
    Box::new(move || {
        let position = cursors.decode(black_box(&channel), black_box(&text));
        black_box(position.expect("our own cursor"));
    })
}

/// A player's token: one role, one hour.
fn check_token() -> Part {
    const SECRET: &[u8] = b"thirty-two bytes, and some more.";
    let claims = Claims {
        name: Some("Ada of the Marsh".into()),
        ..Claims::new("user-31", sample::NOW_MS / 1_000 + 3_600).role("session.42", "player")
    };
    let token = token::mint(SECRET, &claims).expect("a token");
    let config = VerifierConfig::hs256(SECRET).expect("a long secret");
    let verifier = Verifier::new(config).expect("a verifier");
    Box::new(move || {
        let identity = verifier.verify(black_box(&token), sample::NOW_MS, Use::Connection);
        black_box(identity.expect("a good token"));
    })
}
