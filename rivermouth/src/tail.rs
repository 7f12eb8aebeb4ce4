//! `rivermouth tail`: follows channels over any transport and prints what comes.

mod outage;

use std::collections::HashMap;
use std::io::Write as _;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, ValueEnum};
use client::{
    Client, Event, FollowOptions, Follower, Item, Options, Since, Subscribe, Subscription,
    Transport,
};
use service::settings::SettingsError;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::target::{TargetArgs, explain};

/// A server that is away is waited for; whoever sits at the terminal is told and decides.
const FOREVER: Duration = Duration::MAX;

#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  rivermouth tail session.42
  rivermouth tail session.42 --since last:20 --json
  rivermouth tail session.42 jobs.9f --since earliest --transport sse
  rivermouth tail session.42 --types chat.message,dice.roll
  rivermouth tail session.42 --durable reports    (started again, it goes on after the last event it printed)
  rivermouth tail session.42 --since 1---…        (a cursor, as printed by --json)

A line is: time (UTC), channel, event, user, data. What is no event (caught up, gap, reconnecting) goes to
standard error. A server that is away is waited for, and a lost connection is made again and goes on after the last
event printed; both are said once.")]
pub(crate) struct TailArgs {
    /// The channels, 1 to 64
    #[arg(required = true, num_args = 1..=64, value_name = "CHANNEL")]
    pub(crate) channels: Vec<String>,

    /// Where to begin: latest, earliest, last:N (1-1000), time:MS (Unix milliseconds), or a cursor
    #[arg(long, default_value = "latest", value_name = "WHERE")]
    pub(crate) since: String,

    /// Only these events, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    pub(crate) types: Vec<String>,

    /// Keep on the server, under this name, what was printed: a later start goes on there (WebSocket only)
    #[arg(long, value_name = "NAME")]
    pub(crate) durable: Option<String>,

    /// What carries the events
    #[arg(long, default_value = "ws", value_name = "TRANSPORT")]
    pub(crate) transport: Carrier,

    /// Print each event as the JSON that came over the wire
    #[arg(long)]
    pub(crate) json: bool,

    /// Stop after so many events
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,

    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Carrier {
    /// WebSocket.
    Ws,
    /// Server-sent events.
    Sse,
    /// One HTTP answer that does not end, a JSON object a line.
    Stream,
    /// Long polling.
    Poll,
}

pub(crate) async fn run(args: TailArgs) -> anyhow::Result<()> {
    let since = parse_since(&args.since)?;
    if args.durable.is_some() && args.transport != Carrier::Ws {
        let reason = "printed events are acknowledged over a WebSocket only";
        return Err(SettingsError::value("durable", reason).into());
    }
    let mut printer = Printer {
        json: args.json,
        left: args.count,
    };
    let follow = async {
        match args.transport {
            Carrier::Ws => over_socket(&args, since, &mut printer).await,
            Carrier::Sse => over_http(&args, since, Transport::Sse, &mut printer).await,
            Carrier::Stream => over_http(&args, since, Transport::Stream, &mut printer).await,
            Carrier::Poll => over_http(&args, since, Transport::Poll, &mut printer).await,
        }
    };
    tokio::select! {
        ended = follow => ended,
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
    }
}

async fn over_socket(args: &TailArgs, since: Since, printer: &mut Printer) -> anyhow::Result<()> {
    if args.channels.len() > 1 && matches!(since, Since::Cursor(_)) {
        let reason = "a cursor names a place in one channel";
        return Err(SettingsError::value("since", reason).into());
    }
    let token = args.target.token()?;
    let options = Options::new(vec![args.target.endpoint()?], token.expose());
    let client = Client::start(options).map_err(|e| explain(&e))?;
    let outage = client.outage();
    tokio::select! {
        ended = print(client, args, since, printer) => ended,
        never = outage::tell(&args.target.url, outage) => match never {},
    }
}

async fn print(
    client: Client,
    args: &TailArgs,
    since: Since,
    printer: &mut Printer,
) -> anyhow::Result<()> {
    client.ready(FOREVER).await.map_err(|e| explain(&e))?;
    let (sender, mut items) = mpsc::channel(256);
    let mut printed = HashMap::new();
    let mut followed = JoinSet::new();
    for channel in &args.channels {
        let mut request = Subscribe::new(channel.clone(), since.clone());
        request.types.clone_from(&args.types);
        request.durable.clone_from(&args.durable);
        let subscription = client.subscribe(request).await.map_err(|e| explain(&e))?;
        let (tell, told) = mpsc::channel(256);
        printed.insert(channel.clone(), tell);
        followed.spawn(follow(subscription, sender.clone(), told));
    }
    drop(sender);
    while let Some((channel, item)) = items.recv().await {
        let cursor = handled(&item).filter(|_| args.durable.is_some());
        let done = printer.item(&channel, item)?.is_break();
        if let (Some(tell), Some(cursor)) = (printed.get(&channel), cursor) {
            // A subscription that has ended has nobody to tell.
            let _ = tell.send(cursor).await;
        }
        if done {
            break;
        }
    }
    // What was printed is acknowledged before the goodbye.
    drop((printed, items));
    while followed.join_next().await.is_some() {}
    client.close().await;
    Ok(())
}

/// The position after what was just printed; at the beginning too, so that a start before the first event counts.
fn handled(item: &Item) -> Option<String> {
    match item {
        Item::Event(event) | Item::Broken { event, .. } => event.cursor.clone(),
        Item::Subscribed { cursor, .. } => cursor.clone(),
        _ => None,
    }
}

/// Hands on what comes, and acknowledges what was printed of it, until nobody prints any more.
async fn follow(
    mut subscription: Subscription,
    items: mpsc::Sender<(String, Item)>,
    mut printed: mpsc::Receiver<String>,
) {
    let channel = subscription.channel().to_owned();
    loop {
        tokio::select! {
            biased;
            cursor = printed.recv() => match cursor {
                Some(cursor) => subscription.ack(cursor).await,
                None => return,
            },
            room = items.reserve() => {
                let Ok(room) = room else { continue };
                tokio::select! {
                    item = subscription.next() => match item {
                        Some(item) => room.send((channel.clone(), item)),
                        None => return,
                    },
                    cursor = printed.recv() => match cursor {
                        Some(cursor) => subscription.ack(cursor).await,
                        None => return,
                    },
                }
            }
        }
    }
}

async fn over_http(
    args: &TailArgs,
    since: Since,
    transport: Transport,
    printer: &mut Printer,
) -> anyhow::Result<()> {
    let token = args.target.token()?;
    let mut options = FollowOptions::new(
        vec![args.target.endpoint()?],
        token.expose(),
        transport,
        args.channels.clone(),
        since,
    );
    options.types.clone_from(&args.types);
    let mut follower = Follower::new(options).map_err(|e| explain(&e))?;
    let outage = follower.outage();
    let print = async {
        loop {
            let (channel, item) = follower.next().await.map_err(|e| explain(&e))?;
            if printer.item(&channel, item)?.is_break() {
                return Ok(());
            }
        }
    };
    tokio::select! {
        ended = print => ended,
        never = outage::tell(&args.target.url, outage) => match never {},
    }
}

fn parse_since(text: &str) -> Result<Since, SettingsError> {
    let refuse = |why: &str| SettingsError::value("since", format!("\"{text}\": {why}"));
    Ok(match text.split_once(':') {
        Some(("last", count)) => match count.parse() {
            Ok(count @ 1..=1000) => Since::Last(count),
            _ => return Err(refuse("last:N takes 1 to 1000")),
        },
        Some(("time", ms)) => match ms.parse() {
            Ok(ms) => Since::TimeMs(ms),
            Err(_) => return Err(refuse("time:MS takes Unix milliseconds")),
        },
        Some(_) => {
            return Err(refuse(
                "neither latest, earliest, last:N, time:MS nor a cursor",
            ));
        }
        None => match text {
            "latest" => Since::Latest,
            "earliest" => Since::Earliest,
            cursor => Since::Cursor(cursor.to_owned()),
        },
    })
}

struct Printer {
    json: bool,
    left: Option<u64>,
}

impl Printer {
    fn item(&mut self, channel: &str, item: Item) -> anyhow::Result<std::ops::ControlFlow<()>> {
        match item {
            Item::Event(event) => return self.event(&event),
            Item::Broken { event, .. } => {
                eprintln!("{channel}: something is missing before the next event");
                return self.event(&event);
            }
            Item::Subscribed {
                recovered: false, ..
            } => {
                eprintln!("{channel}: following; not everything asked for is there any more");
            }
            Item::Subscribed { .. } => eprintln!("{channel}: following"),
            Item::CaughtUp { .. } => eprintln!("{channel}: caught up"),
            Item::Gap(gap) => eprintln!("{channel}: a part is gone ({})", plain(&gap.reason)),
            Item::Lagging => eprintln!("{channel}: falling behind, reading from the log"),
            // Said once for all channels.
            Item::Disconnected(_) => {}
            Item::Ended(error) => {
                let error = explain(&error);
                bail!("{channel}: {error}");
            }
        }
        Ok(std::ops::ControlFlow::Continue(()))
    }

    fn event(&mut self, event: &Event) -> anyhow::Result<std::ops::ControlFlow<()>> {
        let line = if self.json {
            event.raw.clone()
        } else {
            readable(event)
        };
        let mut out = std::io::stdout().lock();
        if let Err(error) = writeln!(out, "{line}").and_then(|()| out.flush()) {
            // `| head` has seen enough.
            if error.kind() == std::io::ErrorKind::BrokenPipe {
                return Ok(std::ops::ControlFlow::Break(()));
            }
            return Err(error.into());
        }
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                return Ok(std::ops::ControlFlow::Break(()));
            }
        }
        Ok(std::ops::ControlFlow::Continue(()))
    }
}

fn readable(event: &Event) -> String {
    let user = event.user_id.as_deref().unwrap_or("-");
    let marks = match event.replaced {
        Some(replaced) => format!("  (+{replaced})"),
        None => String::new(),
    };
    format!(
        "{}  {}  {}  {}  {}{marks}",
        time_of_day(event.timestamp_ms),
        event.channel,
        event.name,
        plain(user),
        plain(&event.data)
    )
}

fn time_of_day(ms: i64) -> String {
    let ms = ms.rem_euclid(86_400_000);
    let (seconds, ms) = (ms / 1000, ms % 1000);
    format!(
        "{:02}:{:02}:{:02}.{ms:03}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// What came from outside, without the characters that steer a terminal.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_say_where_to_begin_is_read() {
        let read = |text| parse_since(text).ok();
        assert_eq!(read("latest"), Some(Since::Latest));
        assert_eq!(read("earliest"), Some(Since::Earliest));
        assert_eq!(read("last:20"), Some(Since::Last(20)));
        assert_eq!(
            read("time:1763683200123"),
            Some(Since::TimeMs(1_763_683_200_123))
        );
        assert_eq!(read("1---x"), Some(Since::Cursor("1---x".to_owned())));
        for wrong in ["last:0", "last:1001", "last:x", "time:x", "first:1"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn data_cannot_steer_the_terminal() {
        assert_eq!(
            plain("a\u{1b}[2J\u{9b}31m\n"),
            "a\u{fffd}[2J\u{fffd}31m\u{fffd}"
        );
        assert_eq!(time_of_day(1_763_683_200_123), "00:00:00.123");
    }
}
