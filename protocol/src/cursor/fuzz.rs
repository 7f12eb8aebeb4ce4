//! A million cursors that nobody gave out, and some that were: only the second kind is believed, and only for its own
//! channel (F06). Seeded, so that a failure comes again.

use super::*;

const ROUNDS: u64 = 1_000_000;
const SEED: u64 = 0x0f06;

/// SplitMix64.
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

    fn position(&mut self) -> Position {
        // Small and huge places alike: offsets of every length.
        let shift = 1 + self.below(63);
        Position {
            generation: self.next() as u16 >> self.below(16),
            partition: i32::from(self.next() as u16),
            next: (self.next() >> shift) as i64,
        }
    }
}

/// One attempt: the channels that are asked for, the text, and what may come of it.
struct Attempt {
    asked: Vec<Channel>,
    text: String,
    /// The position it truly names in the first of `asked`; `None`: it must be refused.
    truth: Option<Position>,
}

struct Forger {
    random: Random,
    ours: Cursors,
    foreign: Cursors,
    channels: Vec<Channel>,
}

impl Forger {
    fn channel(&mut self) -> Channel {
        let at = self.random.below(self.channels.len());
        self.channels[at].clone()
    }

    /// Two channels that are not the same.
    fn two(&mut self) -> (Channel, Channel) {
        let at = self.random.below(self.channels.len());
        let by = 1 + self.random.below(self.channels.len() - 1);
        let other = (at + by) % self.channels.len();
        (self.channels[at].clone(), self.channels[other].clone())
    }

    fn stream(&mut self, cursors: &Cursors, channels: &[Channel]) -> String {
        let entries: Vec<_> = channels
            .iter()
            .map(|channel| (channel.clone(), self.random.position()))
            .collect();
        cursors.encode_stream(&entries)
    }

    fn attempt(&mut self, kind: usize) -> Attempt {
        let (channel, other) = self.two();
        let (ours, foreign) = (self.ours.clone(), self.foreign.clone());
        let place = self.random.position();
        let refused = |text| Attempt {
            asked: vec![channel.clone()],
            text,
            truth: None,
        };
        match kind {
            // Any characters, any length.
            0 => {
                let length = self.random.below(80);
                let bytes: Vec<u8> = (0..length).map(|_| self.random.next() as u8).collect();
                refused(String::from_utf8_lossy(&bytes).into_owned())
            }
            // The right form with nothing behind it.
            1 => {
                let digits = (0..24).map(|_| char::from(ALPHABET[self.random.below(64)]));
                refused("1".chars().chain(digits).collect())
            }
            // A true cursor with one character changed.
            2 => {
                let text = ours.encode(&channel, place);
                refused(self.changed(text))
            }
            // Another installation's.
            3 => refused(foreign.encode(&channel, place)),
            // Another channel's: the same partition or not, it names nothing here.
            4 => refused(ours.encode(&other, place)),
            // The place of one true cursor with the seal of another.
            5 => {
                let (a, b) = (place, self.random.position());
                let (x, y) = (ours.encode(&channel, a), ours.encode(&channel, b));
                let cut = 17;
                let text = format!("{}{}", &x[..cut], &y[cut..]);
                let truth = (text == x).then_some(a).or((text == y).then_some(b));
                Attempt {
                    truth,
                    ..refused(text)
                }
            }
            // Cut, doubled, or two in one.
            6 => {
                let text = ours.encode(&channel, place);
                let at = 1 + self.random.below(24);
                match self.random.below(3) {
                    0 => refused(text[..at].to_owned()),
                    1 => refused(format!("{text}{}", &text[..at])),
                    _ => refused(format!("{text}{text}")),
                }
            }
            // A stream cursor with one character changed.
            7 => {
                let text = self.stream(&ours, &[channel.clone(), other]);
                refused(self.changed(text))
            }
            // A stream cursor of other channels, or of another installation.
            8 => {
                let others: Vec<Channel> = (0..3)
                    .map(|_| self.channel())
                    .filter(|c| *c != channel)
                    .collect();
                let cursors = if self.random.below(2) == 0 {
                    &ours
                } else {
                    &foreign
                };
                refused(self.stream(cursors, &others))
            }
            // An entry of one stream cursor put into another.
            9 => {
                let x = self.stream(&ours, &[channel.clone(), other.clone()]);
                let y = self.stream(&ours, &[channel.clone(), other]);
                let text = format!("{}{}", &x[..38], &y[38..]);
                refused(text)
            }
            // True ones, however far in the future: what they name is what is read, and nothing else.
            _ => Attempt {
                asked: vec![channel.clone()],
                text: ours.encode(&channel, place),
                truth: Some(place),
            },
        }
    }

    fn changed(&mut self, text: String) -> String {
        let at = self.random.below(text.len());
        let old = text.as_bytes()[at];
        let by = loop {
            let by = ALPHABET[self.random.below(64)];
            if by != old {
                break by;
            }
        };
        let mut bytes = text.into_bytes();
        bytes[at] = by;
        String::from_utf8(bytes).unwrap()
    }
}

#[test]
fn f06_a_million_cursors_are_refused_or_name_what_was_given_out() {
    const KINDS: usize = 11;
    let mut forger = Forger {
        random: Random(SEED),
        ours: Cursors::new(*b"0123456789abcdef"),
        foreign: Cursors::new(*b"0123456789abcdeg"),
        channels: [
            "session.42",
            "session.43",
            "session.4",
            "docs.42",
            "jobs.42",
            "user.u1",
            "broadcast",
            "system",
            "activity.42",
        ]
        .map(|name| Channel::parse(name).unwrap())
        .into(),
    };
    let (mut refused, mut believed) = (0u64, 0u64);
    for round in 0..ROUNDS {
        let attempt = forger.attempt(round as usize % KINDS);
        let Attempt { asked, text, truth } = &attempt;
        let one = forger.ours.decode(&asked[0], text);
        assert_eq!(one.ok(), *truth, "round {round}: {text}");
        let stream = forger.ours.decode_stream(asked, text);
        assert_eq!(
            stream.ok(),
            truth.map(|t| vec![Some(t)]),
            "round {round}: {text}"
        );
        match truth {
            Some(_) => believed += 1,
            None => refused += 1,
        }
    }
    println!("{ROUNDS} cursors of {KINDS} kinds: {refused} refused, {believed} believed");
    assert!(refused > ROUNDS * 9 / 10 && believed > ROUNDS / 20);
}
