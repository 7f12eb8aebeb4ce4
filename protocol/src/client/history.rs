//! The parameters of `history`, as a method and as a query.

use schemas::{Channel, EventName};

use super::fields::{self, Fields};
use super::subscribe;
use crate::ProtocolError;

const LIMIT: u32 = 100;
const LIMIT_MAX: u32 = 1_000;

/// A page of a channel's past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// Which channel or view.
    pub channel: Channel,
    /// Only what follows this cursor.
    pub after: Option<String>,
    /// Only what comes before the event of this cursor.
    pub before: Option<String>,
    /// Only timestamps from here, Unix milliseconds, included.
    pub from: Option<i64>,
    /// Only timestamps before this, Unix milliseconds, excluded.
    pub to: Option<i64>,
    /// Only events of these names.
    pub types: Option<Vec<EventName>>,
    /// Most events, 1 to 1000.
    pub limit: u32,
    /// The order asked for; see [`History::order`].
    pub order: Option<Order>,
}

/// The order of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Oldest first.
    Asc,
    /// Newest first.
    Desc,
}

impl History {
    /// The first page of a channel.
    pub fn new(channel: Channel) -> Self {
        History {
            channel,
            after: None,
            before: None,
            from: None,
            to: None,
            types: None,
            limit: LIMIT,
            order: None,
        }
    }

    /// The order of the page: what was asked for, else newest first with `before` alone, else
    /// oldest first.
    pub fn order(&self) -> Order {
        match self.order {
            Some(order) => order,
            None if self.before.is_some() && self.after.is_none() => Order::Desc,
            None => Order::Asc,
        }
    }

    /// Reads the query of `GET /api/realtime/history`. Empty values count as absent, unknown names
    /// are ignored, a name that comes twice is refused.
    ///
    /// # Errors
    /// `INVALID_MESSAGE`.
    pub fn from_query<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, ProtocolError> {
        const NAMES: [&str; 8] = [
            "channel", "after", "before", "from", "to", "types", "limit", "order",
        ];
        let mut values = [None; NAMES.len()];
        for (name, value) in pairs {
            if let Some(at) = NAMES.iter().position(|n| *n == name) {
                if values[at].is_some() {
                    return Err(ProtocolError::invalid(format!("{name} comes twice")));
                }
                values[at] = Some(value);
            }
        }
        let [channel, after, before, from, to, types, limit, order] =
            values.map(|v| v.filter(|v| !v.is_empty()));
        let channel = channel.ok_or_else(|| ProtocolError::invalid("channel is missing"))?;
        let channel = Channel::parse(channel).map_err(|e| ProtocolError::invalid(e.to_string()))?;
        let limit = match limit {
            None => LIMIT,
            Some(text) => text
                .parse()
                .ok()
                .filter(|n| (1..=LIMIT_MAX).contains(n))
                .ok_or_else(|| fields::wrong("limit", "a whole number from 1 to 1000"))?,
        };
        Ok(History {
            channel,
            after: after.map(str::to_owned),
            before: before.map(str::to_owned),
            from: time(from, "from")?,
            to: time(to, "to")?,
            types: subscribe::parse_types(types.unwrap_or(""))?,
            limit,
            order: order.map(order_of).transpose()?,
        })
    }

    pub(super) fn read(fields: &Fields<'_>, channel: Channel) -> Result<Self, ProtocolError> {
        const TIME: &str = "a whole number of milliseconds";
        Ok(History {
            channel,
            after: fields::owned(fields.after, "after")?,
            before: fields::owned(fields.before, "before")?,
            from: fields::read(fields.from, "from", TIME)?,
            to: fields::read(fields.to, "to", TIME)?,
            types: subscribe::types(fields.types)?,
            limit: fields::count(fields.limit, "limit", 1..=LIMIT_MAX)?.unwrap_or(LIMIT),
            order: fields::text(fields.order, "order")?
                .map(|word| order_of(&word))
                .transpose()?,
        })
    }
}

fn order_of(word: &str) -> Result<Order, ProtocolError> {
    match word {
        "asc" => Ok(Order::Asc),
        "desc" => Ok(Order::Desc),
        _ => Err(fields::wrong("order", "asc or desc")),
    }
}

fn time(text: Option<&str>, name: &str) -> Result<Option<i64>, ProtocolError> {
    text.map(|text| {
        text.parse()
            .map_err(|_| fields::wrong(name, "a whole number of milliseconds"))
    })
    .transpose()
}
