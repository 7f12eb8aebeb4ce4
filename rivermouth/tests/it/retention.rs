//! Retention erases what readers have not read yet (F35): from Kafka alone, and then PostgreSQL gives the same events;
//! from everywhere, and then the range is told; underneath a reading that is under way.

use client::{Event, Publish};
use testbed::checker::{Accepted, Received};
use testbed::{Bed, Node, within};
use tokio::task::JoinSet;

use crate::BINARY;
use crate::insisting::publish_all_surely;
use crate::ways::{Read, Reading, WAYS, Way};

const CHANNEL: &str = "session.kept";
const BATCH: usize = 100;

/// A world with one partition and a small memory, so that nothing but the tiers below can answer.
async fn bed(own_kafka: bool) -> Bed {
    let mut bed = match own_kafka {
        true => Bed::on_own_kafka(BINARY, 1).await,
        false => Bed::on_kafka(BINARY).await,
    };
    bed.set("RIVERMOUTH_RING_MIB", "1");
    bed.set("RIVERMOUTH_PARTITIONS", "1");
    bed
}

/// Publishes events `from..to`, each of about 1.5 KB, in batches, and in this order: those of one outbox.
async fn fill(bed: &Bed, node: &Node, channel: &str, (from, to): (usize, usize)) {
    let http = node.http(&bed.backend());
    let filler = "x".repeat(1_400);
    for start in (from..to).step_by(BATCH) {
        let events: Vec<Publish> = (start..to.min(start + BATCH))
            .map(|number| {
                let data = format!(r#"{{"n":{number},"filler":"{filler}"}}"#);
                let event = Publish::new(channel, "draw", data).unwrap();
                event.id(id(number)).identity("fill", 0, number as u64)
            })
            .collect();
        publish_all_surely(&http, &events).await;
    }
}

fn id(number: usize) -> String {
    format!("e{number}")
}

fn reading(bed: &Bed, node: &Node, way: Way) -> Reading {
    Reading {
        place: node.endpoint(),
        token: bed.gm("reader"),
        channel: CHANNEL.to_owned(),
        way,
    }
}

fn cursor(event: &Event) -> &str {
    event.cursor.as_deref().unwrap()
}

/// The whole channel as a reader of the untouched log sees it.
async fn whole(bed: &Bed, node: &Node, count: usize) -> (Vec<Event>, Vec<Accepted>) {
    let accepted = bed.checker().await.tables_equal_log().await;
    let accepted = accepted[CHANNEL].clone();
    let read = reading(bed, node, Way::Socket)
        .to("earliest", &id(count - 1))
        .await;
    Received(read.events.clone()).assert_equal("the reader of the untouched log", &accepted);
    (read.events, accepted)
}

/// Everybody reads on from old cursors while Kafka's records go step by step: what comes then is what came before.
#[tokio::test(flavor = "multi_thread")]
async fn f35_what_kafka_erases_under_readers_comes_from_postgres_the_same_on_every_transport_and_node()
 {
    const COUNT: usize = 1_500;
    let bed = bed(false).await;
    let (one, two, _persister) = tokio::join!(
        bed.start("fanout"),
        bed.start("fanout"),
        bed.start("persister")
    );
    fill(&bed, &one, CHANNEL, (0, COUNT)).await;
    let (events, accepted) = whole(&bed, &one, COUNT).await;

    let mut readers = JoinSet::new();
    for start in [0, COUNT / 3, COUNT * 2 / 3, COUNT - 30] {
        for way in WAYS {
            for node in [&one, &two] {
                let (reading, since) =
                    (reading(&bed, node, way), cursor(&events[start]).to_owned());
                readers
                    .spawn(async move { (way, start, reading.to(&since, &id(COUNT - 1)).await) });
            }
        }
    }
    let erasing = async {
        for step in 1..=10 {
            let place = &accepted[step * COUNT / 10 - 1];
            bed.broker()
                .erase(&place.topic, place.partition, place.offset)
                .await;
        }
    };
    let (read, ()) = tokio::join!(within("the readers", readers.join_all()), erasing);
    assert_eq!(read.len(), 4 * WAYS.len() * 2);
    for (way, start, Read { events: got, gaps }) in read {
        assert!(gaps.is_empty(), "{way:?} since {start}: {gaps:?}");
        assert!(
            got == events[start + 1..],
            "{way:?} since {start}: the same bytes, in order, once"
        );
    }
    // A node that has seen none of it, when almost all of it is erased.
    let fresh = bed.start("fanout").await;
    for way in WAYS {
        let read = reading(&bed, &fresh, way)
            .to(cursor(&events[3]), &id(COUNT - 1))
            .await;
        assert!(
            read.events == events[4..] && read.gaps.is_empty(),
            "{way:?} at a fresh node"
        );
    }
}

/// The persister stands still and retention overtakes it: what it has stored comes from there, what nobody holds is
/// told, what is left comes from Kafka.
#[tokio::test(flavor = "multi_thread")]
async fn f35_what_is_erased_before_it_was_stored_is_told_between_what_is_stored_and_what_is_left() {
    const STORED: usize = 600;
    const ERASED: usize = 800;
    const COUNT: usize = 1_400;
    let bed = bed(false).await;
    let (one, mut persister) = tokio::join!(bed.start("fanout"), bed.start("persister"));
    fill(&bed, &one, CHANNEL, (0, STORED)).await;
    bed.checker().await.stored().await;
    persister.process().pause();
    fill(&bed, &one, CHANNEL, (STORED, COUNT)).await;
    let untouched = reading(&bed, &one, Way::Socket)
        .to("earliest", &id(COUNT - 1))
        .await;
    let events = untouched.events;
    let accepted = bed.checker().await.accepted().await;
    Received(events.clone()).assert_equal("the reader of the untouched log", &accepted[CHANNEL]);
    let place = &accepted[CHANNEL][ERASED];
    bed.broker()
        .erase(&place.topic, place.partition, place.offset)
        .await;

    let two = bed.start("fanout").await;
    for node in [&one, &two] {
        for way in WAYS {
            for start in [20, STORED - 1, STORED + 50] {
                let read = reading(&bed, node, way)
                    .to(cursor(&events[start]), &id(COUNT - 1))
                    .await;
                let who = format!("{way:?} since {start}");
                // The node that read it all has it in memory for a while yet, and forgets it at any moment.
                let untouched = read.events.iter().zip(&events[start + 1..]);
                let remembered = match std::ptr::eq(node, &one) {
                    true => untouched.take_while(|(got, was)| got.id == was.id).count(),
                    false => 0,
                };
                let before = STORED.saturating_sub(start + 1).max(remembered);
                let told_to = start + 1 + before;
                let expected: Vec<&Event> = events[start + 1..told_to]
                    .iter()
                    .chain(&events[ERASED.max(told_to)..])
                    .collect();
                let same = read.events.len() == expected.len()
                    && read.events.iter().zip(&expected).all(|(got, event)| {
                        // What came before the first that is left, nobody knows who had not read it.
                        let known = Event {
                            prev: None,
                            raw: got.raw.clone(),
                            ..(*event).clone()
                        };
                        got == *event || (event.id == events[ERASED].id && *got == known)
                    });
                assert!(
                    same,
                    "{who}: what is left, the same bytes: {} events for {}, from {:?}; {:?}",
                    read.events.len(),
                    expected.len(),
                    read.events.first().map(|event| &event.id),
                    read.gaps
                );
                if told_to >= ERASED {
                    assert!(read.gaps.is_empty(), "{who}: {:?}", read.gaps);
                    continue;
                }
                let [(told_after, gap)] = &read.gaps[..] else {
                    panic!("{who}: one gap, not {:?}", read.gaps)
                };
                assert_eq!(gap.reason, "retention", "{who}");
                // The cursor before the gap, and the one before the first event that is left.
                let from = cursor(&events[told_to - 1]);
                assert_eq!(gap.from.as_deref(), Some(from), "{who}");
                assert_eq!(
                    gap.to.as_deref(),
                    Some(cursor(&events[ERASED - 1])),
                    "{who}"
                );
                // A poll and a page tell of it beside their events.
                if !matches!(way, Way::Poll | Way::History) {
                    assert_eq!(*told_after, before, "{who}: told where it is");
                }
            }
        }
    }
}

/// Segments go, by age, while readers are under way in them.
#[tokio::test(flavor = "multi_thread")]
async fn f35_segments_that_retention_deletes_under_a_reading_leave_no_seam() {
    const COUNT: usize = 6_000;
    let bed = bed(true).await;
    let (one, two, _persister) = tokio::join!(
        bed.start("fanout"),
        bed.start("fanout"),
        bed.start("persister")
    );
    let topic = bed.broker().topic("events");
    let cluster = bed.broker().cluster();
    tokio::task::block_in_place(|| cluster.set(&topic, &["segment.bytes=1048576"]));
    fill(&bed, &one, CHANNEL, (0, COUNT)).await;
    let (events, _) = whole(&bed, &one, COUNT).await;
    let mut readers = JoinSet::new();
    for round in 0..6 {
        for way in WAYS {
            for node in [&one, &two] {
                let start = round * COUNT / 7;
                let (reading, since) =
                    (reading(&bed, node, way), cursor(&events[start]).to_owned());
                readers
                    .spawn(async move { (way, start, reading.to(&since, &id(COUNT - 1)).await) });
            }
        }
    }
    tokio::task::block_in_place(|| cluster.set(&topic, &["retention.ms=1"]));
    for (way, start, Read { events: got, gaps }) in within("the readers", readers.join_all()).await
    {
        assert!(gaps.is_empty(), "{way:?} since {start}: {gaps:?}");
        assert!(got == events[start + 1..], "{way:?} since {start}");
    }
    // The log has lost whole segments by now, and it is all there still.
    let low = within("retention to take segments", async {
        loop {
            let first = bed
                .checker()
                .await
                .log()
                .await
                .first()
                .map(|record| record.offset);
            match first {
                Some(0) => tokio::task::yield_now().await,
                low => return low,
            }
        }
    })
    .await;
    println!("the log begins at {low:?} of {COUNT}");
    for way in WAYS {
        let read = reading(&bed, &two, way)
            .to(cursor(&events[0]), &id(COUNT - 1))
            .await;
        assert!(
            read.events == events[1..] && read.gaps.is_empty(),
            "{way:?} after retention"
        );
    }
}

/// A quiet channel beside a busy one in the same partition: what it missed is read from PostgreSQL by channel.
#[tokio::test(flavor = "multi_thread")]
async fn f35_a_long_gap_on_a_quiet_channel_is_read_by_channel_and_the_log_is_not_scanned() {
    const BUSY: usize = 20_000;
    let bed = bed(false).await;
    let (one, _persister) = tokio::join!(bed.start("fanout"), bed.start("persister"));
    let publishing = one.http(&bed.backend());
    for round in 0..20 {
        let (from, to) = (round * 10, round * 10 + 10);
        fill(&bed, &one, CHANNEL, (from, to)).await;
        for part in 0..10 {
            let busy: Vec<Publish> = (0..BUSY / 200)
                .map(|at| {
                    let id = format!("b{round}-{part}-{at}");
                    Publish::new("session.busy", "draw", "1").unwrap().id(id)
                })
                .collect();
            publish_all_surely(&publishing, &busy).await;
        }
    }
    let (events, accepted) = whole(&bed, &one, 200).await;
    let range = accepted[199].offset - accepted[0].offset;
    assert!(
        range > BUSY as i64 * 9 / 10,
        "the busy channel lies between: {range}"
    );
    let node = bed.start("fanout").await;
    for way in WAYS {
        let read = reading(&bed, &node, way)
            .to(cursor(&events[0]), &id(199))
            .await;
        assert!(
            read.events == events[1..] && read.gaps.is_empty(),
            "{way:?}"
        );
    }
    let pages = figure(&node, "rivermouth_fanout_catch_up_pages_total").await;
    let scanned = figure(&node, "rivermouth_fanout_log_scanned_records_total").await;
    println!("{range} offsets: {pages} pages, {scanned} records of the log looked at");
    assert!(pages >= 1.0);
    assert!(
        scanned < range as f64 / 100.0,
        "{scanned} records of the log were looked at"
    );
}

/// One of a node's figures, by the name it is scraped under.
pub(crate) async fn figure(node: &Node, name: &str) -> f64 {
    let answer = node.admin().get("/metrics").await.unwrap();
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.rsplit(' ').next());
    value
        .unwrap_or_else(|| panic!("{name} in {text}"))
        .parse()
        .unwrap()
}
