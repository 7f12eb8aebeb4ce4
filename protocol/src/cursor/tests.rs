//! Cursors sort as positions, come back as they were, and cannot be made up.

use proptest::prelude::*;

use super::*;

fn cursors() -> Cursors {
    Cursors::new(*b"0123456789abcdef")
}

fn channel(text: &str) -> Channel {
    Channel::parse(text).unwrap()
}

fn at(generation: u16, partition: i32, next: i64) -> Position {
    Position {
        generation,
        partition,
        next,
    }
}

fn position() -> impl Strategy<Value = Position> {
    (any::<u16>(), 0..=65_535i32, 0..=i64::MAX).prop_map(|(g, p, n)| at(g, p, n))
}

fn is_unreserved(text: &str) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"._~-".contains(&b))
}

#[test]
fn the_alphabet_is_in_ascii_order_and_reads_back() {
    assert!(ALPHABET.windows(2).all(|w| w[0] < w[1]));
    for (value, digit) in ALPHABET.iter().enumerate() {
        assert_eq!(value_of(*digit).map(usize::from), Some(value));
    }
    let digits = (0..=255u8).filter(|b| value_of(*b).is_some()).count();
    assert_eq!(digits, 64);
}

#[test]
fn a_cursor_of_another_channel_or_key_is_invalid() {
    let cursor = cursors().encode(&channel("session.42"), at(0, 3, 17));
    assert_eq!(
        cursors().decode(&channel("session.42"), &cursor),
        Ok(at(0, 3, 17))
    );
    for other in [
        "session.43",
        "docs.42",
        "session.4",
        "session.422",
        "broadcast",
    ] {
        assert_eq!(
            cursors().decode(&channel(other), &cursor),
            Err(CursorInvalid),
            "{other}"
        );
    }
    let foreign = Cursors::new([7; 16]);
    assert_eq!(
        foreign.decode(&channel("session.42"), &cursor),
        Err(CursorInvalid)
    );
}

#[test]
fn one_channel_has_its_own_cursor_as_stream_cursor() {
    let one = channel("session.1");
    let stream = cursors().encode_stream(&[(one.clone(), at(0, 1, 2))]);
    assert_eq!(stream, cursors().encode(&one, at(0, 1, 2)));
    let asked = [channel("session.0"), one];
    assert_eq!(
        cursors().decode_stream(&asked, &stream),
        Ok(vec![None, Some(at(0, 1, 2))])
    );
}

#[test]
fn a_stream_cursor_serves_fewer_and_more_channels_but_not_others() {
    let (a, b, c) = (
        channel("session.1"),
        channel("docs.7"),
        channel("broadcast"),
    );
    let stream = cursors().encode_stream(&[(a.clone(), at(0, 1, 5)), (b.clone(), at(0, 2, 6))]);
    assert!(is_unreserved(&stream));
    assert_eq!(
        cursors().decode_stream(&[c.clone(), b.clone()], &stream),
        Ok(vec![None, Some(at(0, 2, 6))])
    );
    assert_eq!(cursors().decode(&a, &stream), Ok(at(0, 1, 5)));
    assert_eq!(cursors().decode_stream(&[c], &stream), Err(CursorInvalid));
    assert_eq!(cursors().decode_stream(&[], &stream), Err(CursorInvalid));
    let empty = cursors().encode_stream(&[]);
    assert_eq!(cursors().decode_stream(&[a], &empty), Err(CursorInvalid));
}

#[test]
fn sixty_four_channels_fit() {
    let entries: Vec<_> = (0..64)
        .map(|n| {
            let name = format!("session.{}{n}", "x".repeat(120));
            (channel(&name), at(u16::MAX, 65_535, i64::MAX - n))
        })
        .collect();
    let stream = cursors().encode_stream(&entries);
    assert!(stream.len() <= 4_096, "{}", stream.len());
    let asked: Vec<_> = entries.iter().map(|(c, _)| c.clone()).collect();
    let found = cursors().decode_stream(&asked, &stream).unwrap();
    assert!(found.iter().zip(&entries).all(|(f, (_, p))| *f == Some(*p)));
}

#[test]
fn what_was_never_a_cursor_is_invalid() {
    let ours = channel("session.1");
    let long = "1".repeat(200);
    let longer = format!("s{}", "-".repeat(5_000));
    for text in [
        "",
        "1",
        "s",
        "latest",
        "s--------",
        "0",
        "é",
        "1é",
        &long,
        &longer,
        "12:34",
    ] {
        assert_eq!(cursors().decode(&ours, text), Err(CursorInvalid), "{text}");
    }
}

proptest! {
    #[test]
    fn cursors_sort_as_positions_do(a in position(), b in position()) {
        let ours = channel("session.42");
        let (x, y) = (cursors().encode(&ours, a), cursors().encode(&ours, b));
        prop_assert_eq!(a.cmp(&b), x.cmp(&y));
    }

    #[test]
    fn a_cursor_comes_back_as_it_was(p in position(), id in "[A-Za-z0-9_:@~-]{1,128}") {
        let ours = Channel::of("session", &id).unwrap();
        let text = cursors().encode(&ours, p);
        prop_assert_eq!(text.len(), CURSOR_LEN);
        prop_assert!(is_unreserved(&text));
        prop_assert_eq!(cursors().decode(&ours, &text), Ok(p));
    }

    /// Any one character changed, left out, doubled or added.
    #[test]
    fn a_mangled_cursor_is_invalid(p in position(), at in 0usize..25, by in any::<char>()) {
        let ours = channel("session.42");
        let good: Vec<char> = cursors().encode(&ours, p).chars().collect();
        let mut changed = good.clone();
        changed[at] = by;
        let mut shorter = good.clone();
        shorter.remove(at);
        let mut longer = good.clone();
        longer.insert(at, by);
        for bad in [changed, shorter, longer] {
            if bad != good {
                let text: String = bad.into_iter().collect();
                prop_assert_eq!(cursors().decode(&ours, &text), Err(CursorInvalid));
            }
        }
    }

    #[test]
    fn a_mangled_stream_cursor_is_invalid(
        p in position(), q in position(), at in 0usize..68, by in "[A-Za-z0-9._~-]",
    ) {
        let entries = [(channel("session.1"), p), (channel("docs.2"), q)];
        let asked = [channel("session.1"), channel("docs.2"), channel("system")];
        let good = cursors().encode_stream(&entries);
        prop_assert_eq!(good.len(), 68);
        let mut bad = good.clone();
        bad.replace_range(at..=at, &by);
        if bad != good {
            prop_assert_eq!(cursors().decode_stream(&asked, &bad), Err(CursorInvalid));
        }
        let cut = &good[..at];
        prop_assert_eq!(cursors().decode_stream(&asked, cut), Err(CursorInvalid));
    }

    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        let asked = [channel("session.1"), channel("docs.2")];
        prop_assert_eq!(cursors().decode_stream(&asked, &text), Err(CursorInvalid));
        let sealed = format!("s{text}");
        prop_assert_eq!(cursors().decode_stream(&asked, &sealed), Err(CursorInvalid));
    }
}
