//! Somebody to watch: three players who move in `session.demo` for as long as `dev` runs.
//!
//! What they do is a pure function of the step, so that it can be tested; [`play`] only sends it through
//! the gateway, as any publish of a client.

use std::sync::Arc;
use std::time::Duration;

use ingest::Gateway;
use protocol::client::parse_publish;
use protocol::{Caps, Identity, Roles};
use serde_json::{Value, json};
use service::Shutdown;

/// The channel of the demo.
pub(crate) const CHANNEL: &str = "session.demo";
/// Ten steps a second.
const STEP: Duration = Duration::from_millis(100);

/// A player: id, name, and where its path begins.
struct Player {
    id: &'static str,
    name: &'static str,
    phase: f64,
}

const PLAYERS: [Player; 3] = [
    Player {
        id: "mira",
        name: "Mira",
        phase: 0.0,
    },
    Player {
        id: "juno",
        name: "Juno",
        phase: 2.1,
    },
    Player {
        id: "orla",
        name: "Orla",
        phase: 4.2,
    },
];

const LINES: [&str; 8] = [
    "the river is high today",
    "who has the map?",
    "I will go first",
    "wait for me at the bridge",
    "that was close",
    "look, a light on the other side",
    "we should camp here",
    "two more days to the sea",
];

/// Plays until told to stop.
pub(crate) async fn play(gateway: Gateway, shutdown: Shutdown) {
    let players: Vec<Arc<Identity>> = PLAYERS
        .iter()
        .map(|player| Arc::new(identity(player)))
        .collect();
    let mut ticks = tokio::time::interval(STEP);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut step = 0;
    loop {
        tokio::select! {
            () = shutdown.started() => return,
            _ = ticks.tick() => {}
        }
        for (player, event, data) in moves(step) {
            let body = json!({ "channel": CHANNEL, "event": event, "data": data }).to_string();
            let Ok(publish) = parse_publish(body.as_bytes()) else {
                continue;
            };
            // A demo may miss a beat; what the log refuses is counted by the gateway.
            gateway.submit(&players[player], publish, Box::new(|_| {}));
        }
        step += 1;
    }
}

fn identity(player: &Player) -> Identity {
    Identity {
        sub: player.id.to_owned(),
        name: Some(player.name.to_owned()),
        avatar: None,
        expires_at_ms: i64::MAX,
        roles: Roles::from_names([(CHANNEL, "gm")]),
        caps: Caps::default(),
    }
}

/// What happens at a step: the player's index, the event's name and its data.
fn moves(step: u64) -> Vec<(usize, &'static str, Value)> {
    let mut moves = Vec::new();
    for (index, player) in PLAYERS.iter().enumerate() {
        let (x, y) = path(player, step as f64 * 0.1);
        moves.push((index, "cursor.move", json!({ "x": x, "y": y })));
    }
    let turn = (step / 10) as usize;
    let player = turn % PLAYERS.len();
    match step % 10 {
        // The table's pace: one token a second, and every now and then something else.
        0 => {
            let (x, y) = path(&PLAYERS[player], step as f64 * 0.1);
            moves.push((
                player,
                "token.move",
                json!({ "tokenId": PLAYERS[player].id, "x": x, "y": y }),
            ));
        }
        3 if turn % 4 == 1 => moves.push((player, "draw", stroke(&PLAYERS[player], step))),
        5 if turn % 5 == 2 => {
            let value = 1 + scatter(step) % 20;
            moves.push((player, "dice.roll", json!({ "sides": 20, "value": value })));
        }
        7 if turn % 9 == 4 => {
            let text = LINES[(turn / 9) % LINES.len()];
            moves.push((player, "chat.message", json!({ "text": text })));
        }
        9 if turn % 15 == 14 => {
            let next = &PLAYERS[(player + 1) % PLAYERS.len()];
            moves.push((
                player,
                "turn.changed",
                json!({ "userId": next.id, "name": next.name }),
            ));
        }
        _ => {}
    }
    moves
}

/// A slow figure over the table of 1000 by 620.
fn path(player: &Player, seconds: f64) -> (i64, i64) {
    let x = 500.0 + 380.0 * (seconds * 0.31 + player.phase).sin();
    let y = 310.0 + 220.0 * (seconds * 0.47 + player.phase * 1.7).cos();
    (x.round() as i64, y.round() as i64)
}

fn stroke(player: &Player, step: u64) -> Value {
    let points: Vec<Value> = (0..24)
        .map(|point| {
            let (x, y) = path(player, step as f64 * 0.1 - f64::from(24 - point) * 0.12);
            json!({ "x": x, "y": y })
        })
        .collect();
    json!({ "tool": "pen", "color": "auto", "size": 4, "points": points, "opId": format!("{}-{step}", player.id) })
}

/// Looks random, is the same at every start.
fn scatter(step: u64) -> u64 {
    (step.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) ^ step
}

#[cfg(test)]
mod tests {
    use protocol::access::{Namespaces, may_publish};

    use super::*;

    #[test]
    fn everything_the_demo_says_is_a_publish_that_its_players_may_make() {
        let who = identity(&PLAYERS[0]);
        let mut names = std::collections::BTreeSet::new();
        for step in 0..3000 {
            for (player, event, data) in moves(step) {
                let body = json!({ "channel": CHANNEL, "event": event, "data": data }).to_string();
                let publish = parse_publish(body.as_bytes()).unwrap();
                may_publish(
                    &Namespaces::default(),
                    &who,
                    &publish.channel,
                    &publish.event,
                )
                .unwrap();
                assert!(player < PLAYERS.len());
                names.insert(event);
            }
        }
        assert_eq!(names.len(), 6, "{names:?}");
    }

    #[test]
    fn the_durable_lane_stays_slow_enough_for_its_bucket() {
        let durable = (0..600)
            .flat_map(moves)
            .filter(|(_, event, _)| *event != "cursor.move")
            .count();
        assert!(durable < 120, "{durable} a minute");
    }
}
