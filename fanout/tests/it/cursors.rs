//! Cursors under attack: garbage, forged, of another installation, of another channel, of a time to come (F06). Each is
//! refused with `CURSOR_INVALID` or told as a true gap, on every transport; afterwards the node is as well as before.

use fanout::FanoutConfig;
use protocol::{Cursors, Limits, Position, Rate};
use schemas::{Channel, partition_of};
use serde_json::{Value, json};

use crate::world::{PARTITIONS, World, is_event};

const OURS: &str = "session.a";
const OTHER: &str = "session.b";
/// Attempts over a WebSocket, and over each of the HTTP transports.
const SOCKET: u64 = 60_000;
const HTTP: u64 = 5_000;

/// SplitMix64, seeded: a failure comes again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn letter(&mut self) -> char {
        char::from(
            b"-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"[self.below(64)],
        )
    }
}

/// Makes cursors that must be refused for [`OURS`], each time of another kind.
struct Forger {
    random: Random,
    true_key: Cursors,
    foreign_key: Cursors,
    round: u64,
}

impl Forger {
    fn new(world: &World) -> Forger {
        Forger {
            random: Random(6),
            true_key: Cursors::new(world.pins.cursor_key),
            foreign_key: Cursors::new([9; 16]),
            round: 0,
        }
    }

    fn forged(&mut self) -> String {
        self.round += 1;
        let next = (self.random.next() >> (1 + self.random.below(63))) as i64;
        match self.round % 7 {
            0 => {
                let length = 1 + self.random.below(60);
                // Words with a meaning of their own, such as `latest`, are no cursors.
                (0..length)
                    .map(|_| self.random.letter())
                    .chain(['~'])
                    .collect()
            }
            1 => ['1']
                .into_iter()
                .chain((0..24).map(|_| self.random.letter()))
                .collect(),
            2 => {
                let mut text: Vec<char> = self
                    .true_key
                    .encode(&ours(), at(OURS, next))
                    .chars()
                    .collect();
                let place = self.random.below(25);
                text[place] = match self.random.letter() {
                    same if same == text[place] => '~',
                    other => other,
                };
                text.into_iter().collect()
            }
            3 => self.foreign_key.encode(&ours(), at(OURS, next)),
            4 => self
                .true_key
                .encode(&Channel::parse(OTHER).unwrap(), at(OTHER, next)),
            // The right key, but a partition that the channel is not in, and a generation that is not yet.
            5 => {
                let here = at(OURS, next);
                let elsewhere = (here.partition + 1) % PARTITIONS as i32;
                self.true_key.encode(
                    &ours(),
                    Position {
                        partition: elsewhere,
                        ..here
                    },
                )
            }
            _ => {
                let later = Position {
                    generation: 1 + self.random.below(9) as u16,
                    ..at(OURS, next)
                };
                self.true_key.encode(&ours(), later)
            }
        }
    }

    /// A true cursor of a place that the log has not reached.
    fn future(&mut self, end: i64) -> String {
        let far = (self.random.next() >> (2 + self.random.below(61))) as i64;
        self.true_key.encode(&ours(), at(OURS, end + 1 + far))
    }
}

fn ours() -> Channel {
    Channel::parse(OURS).unwrap()
}

fn at(channel: &str, next: i64) -> Position {
    let id = Channel::parse(channel).unwrap().id().to_owned();
    Position {
        generation: 0,
        partition: partition_of(id.as_bytes(), PARTITIONS),
        next,
    }
}

async fn world() -> World {
    let limits = Limits {
        methods: Rate::new(10_000_000, 10_000_000, 1_000),
        connections_per_ip_max: 100_000,
        ..Limits::default()
    };
    let world = World::with(FanoutConfig {
        limits,
        ..FanoutConfig::default()
    })
    .await;
    for n in 0..20 {
        world.publish(OURS, n).await;
        world.publish(OTHER, 1_000 + n).await;
    }
    world
}

#[tokio::test]
async fn f06_forged_cursors_are_refused_on_every_transport_and_the_node_stays_well() {
    let world = world().await;
    let mut forger = Forger::new(&world);
    let mut ws = world.ws("u1").await;
    for _ in 0..SOCKET {
        let cursor = forger.forged();
        let refused = ws.subscribe(OURS, json!(cursor)).await;
        assert_eq!(refused["error"]["name"], "CURSOR_INVALID", "{cursor}");
    }
    let mut asked = SOCKET;
    for (path, parameter) in [
        ("/api/realtime/poll?channel=session.a&wait=0", "since"),
        ("/api/realtime/history?channel=session.a", "after"),
        ("/api/realtime/history?channel=session.a", "before"),
        ("/sse?channel=session.a", "since"),
        ("/sse?channel=session.a", "lastEventId"),
        ("/api/realtime/stream?channel=session.a", "since"),
    ] {
        for _ in 0..HTTP {
            let cursor = forger.forged();
            let (status, body) = world.get(&format!("{path}&{parameter}={cursor}")).await;
            assert_eq!(
                (status, &body["error"]["name"]),
                (400, &json!("CURSOR_INVALID")),
                "{path} {parameter}={cursor}"
            );
        }
        asked += HTTP;
    }
    println!("{asked} cursors through the node, all refused");
    // The connection that asked for all that subscribes at last, and gets its channel and no other.
    ws.subscribe(OURS, json!("earliest")).await;
    world.publish(OTHER, 2_000).await;
    world.publish(OURS, 20).await;
    let numbers: Vec<_> = ws
        .events(21)
        .await
        .iter()
        .map(|e| e["data"]["n"].clone())
        .collect();
    assert_eq!(numbers, (0..21).map(Value::from).collect::<Vec<_>>());
}

#[tokio::test]
async fn f06_cursors_of_a_time_to_come_are_a_gap_to_the_present_and_then_live() {
    let world = world().await;
    let mut forger = Forger::new(&world);
    let head = world
        .log
        .watermarks(world.topics.events(), at(OURS, 0).partition)
        .await
        .unwrap()
        .high;
    let present = Cursors::new(world.pins.cursor_key).encode(&ours(), at(OURS, head));
    for round in 0..300 {
        let future = forger.future(head);
        let is_gap = |gap: &Value| {
            assert_eq!(gap["reason"], "truncated", "{gap}");
            assert_eq!(
                (&gap["from"], &gap["to"]),
                (&json!(future), &json!(present)),
                "{gap}"
            );
        };
        match round % 3 {
            0 => {
                let mut ws = world.ws("u1").await;
                let answer = ws.subscribe(OURS, json!(future)).await;
                assert_eq!(answer["data"]["recovered"], false);
                is_gap(&ws.next().await["data"]);
                let caught_up = ws.next().await;
                assert_eq!(
                    (&caught_up["event"], &caught_up["cursor"]),
                    (&json!("caught_up"), &json!(present)),
                    "told once: {caught_up}"
                );
            }
            1 => {
                let path = format!("/api/realtime/poll?channel={OURS}&wait=0&since={future}");
                let (_, polled) = world.get(&path).await;
                is_gap(&polled["gap"]);
                assert_eq!(
                    (&polled["cursor"], &polled["events"]),
                    (&json!(present), &json!([]))
                );
            }
            _ => {
                let path = format!("/api/realtime/history?channel={OURS}&after={future}");
                let (_, page) = world.get(&path).await;
                is_gap(&page["gap"]);
                assert_eq!(page["events"], json!([]));
            }
        }
    }
    // Who came with such a cursor is live: over the WebSocket, and over the streams.
    let future = forger.future(head);
    let mut ws = world.ws("u1").await;
    ws.subscribe(OURS, json!(future)).await;
    ws.until(|m| m["event"] == "caught_up").await;
    let mut sse = world
        .stream(&format!("/sse?channel={OURS}&since={future}"), None)
        .await;
    while sse.sse().await.1 != "caught_up" {}
    world.publish(OURS, 77).await;
    assert_eq!(ws.until(is_event).await["data"]["n"], 77);
    assert_eq!(sse.sse().await.2["data"]["n"], 77);
}
