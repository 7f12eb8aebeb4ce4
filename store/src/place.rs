//! Where a record lies: topic, generation and partition, and the small number PostgreSQL knows a topic by.

use std::collections::BTreeMap;
use std::fmt;

use crate::{Store, StoreError};

/// One partition of one generation of a topic: the unit that is leased, checkpointed and read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The topic's name, for example `rivermouth.events`.
    pub topic: String,
    /// How many times the topic was re-created; 0 for the first.
    pub generation: u16,
    /// The partition, from 0.
    pub partition: i32,
}

impl Place {
    /// A place by its three parts.
    pub fn new(topic: impl Into<String>, generation: u16, partition: i32) -> Place {
        Place {
            topic: topic.into(),
            generation,
            partition,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}~{}/{}", self.topic, self.generation, self.partition)
    }
}

const DURING: &str = "looking up a topic";

impl Store {
    /// The topic's small number, made if there is none yet.
    pub(crate) async fn topic_id(&self, place: &Place) -> Result<i16, StoreError> {
        if let Some(id) = self.known_topic_id(place) {
            return Ok(id);
        }
        // Two statements: on a conflict `returning` returns nothing.
        sqlx::query(
            "insert into rivermouth.topics (topic, generation) values ($1, $2)
             on conflict (topic, generation) do nothing",
        )
        .bind(&place.topic)
        .bind(i32::from(place.generation))
        .execute(&self.pool)
        .await
        .map_err(|error| StoreError::from_sqlx(DURING, error))?;
        self.find_topic_id(place)
            .await?
            .ok_or_else(|| StoreError::fatal(DURING, "the topic just added is not there"))
    }

    /// The topic's small number, `None` while nothing was ever stored of it.
    pub(crate) async fn find_topic_id(&self, place: &Place) -> Result<Option<i16>, StoreError> {
        if let Some(id) = self.known_topic_id(place) {
            return Ok(Some(id));
        }
        let found: Option<(i16,)> = sqlx::query_as(
            "select topic_id from rivermouth.topics where topic = $1 and generation = $2",
        )
        .bind(&place.topic)
        .bind(i32::from(place.generation))
        .fetch_optional(&self.pool)
        .await
        .map_err(|error| StoreError::from_sqlx(DURING, error))?;
        if let (Some((id,)), Ok(mut known)) = (found, self.topic_ids.lock()) {
            known.insert((place.topic.clone(), place.generation), id);
        }
        Ok(found.map(|(id,)| id))
    }

    /// The newest generation of each topic of which anything was ever stored.
    ///
    /// # Errors
    /// [`StoreError::Retry`] while PostgreSQL is away.
    pub async fn generations(&self) -> Result<BTreeMap<String, u16>, StoreError> {
        const DURING: &str = "looking up generations";
        self.within(DURING, async {
            let newest: Vec<(String, i32)> = sqlx::query_as(
                "select topic, max(generation) from rivermouth.topics group by topic",
            )
            .fetch_all(&self.pool)
            .await
            .map_err(|error| StoreError::from_sqlx(DURING, error))?;
            // The column's check keeps it within bounds.
            let bounded =
                |(topic, generation)| (topic, u16::try_from(generation).unwrap_or(u16::MAX));
            Ok(newest.into_iter().map(bounded).collect())
        })
        .await
    }

    fn known_topic_id(&self, place: &Place) -> Option<i16> {
        let known = self.topic_ids.lock().ok()?;
        known.get(&(place.topic.clone(), place.generation)).copied()
    }
}
