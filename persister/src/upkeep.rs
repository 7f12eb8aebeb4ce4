//! Upkeep: days cut ahead, and old days dropped where a retention is set. Every instance does it; it is idempotent.

use std::sync::Arc;
use std::time::Duration;

use service::Shutdown;
use store::{DAY_MS, StoreError};

use crate::instance::Shared;
use crate::lane::now_ms;

const EVERY: Duration = Duration::from_secs(3600);
/// After a failure, for example an analyst's long query in the way.
const AGAIN: Duration = Duration::from_secs(60);

pub(crate) async fn keep_up(shared: Arc<Shared>, shutdown: Shutdown) {
    loop {
        let pause = match round(&shared).await {
            Ok(()) => EVERY,
            Err(error) => {
                tracing::warn!(%error, "days could not be prepared or dropped, trying again in a minute");
                AGAIN
            }
        };
        tokio::select! {
            () = shutdown.started() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn round(shared: &Shared) -> Result<(), StoreError> {
    let store = &shared.ports.store;
    store.prepare_days(shared.config.days_ahead).await?;
    if let Some(days) = shared.config.retention_days {
        let dropped = store.drop_days(now_ms() - i64::from(days) * DAY_MS).await?;
        if dropped > 0 {
            tracing::info!(dropped, "old days were dropped");
        }
        let dropped = store.drop_snapshots().await?;
        if dropped > 0 {
            tracing::info!(dropped, "old snapshots were dropped");
        }
    }
    Ok(())
}
