//! `rivermouth migrate`: brings the tables up to date and says so.

use clap::Args;
use service::telemetry::{self, LogFormat};
use store::StoreOptions;

use crate::parts;
use crate::settings::postgres::PostgresArgs;

#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Example:
  DATABASE_URL=postgres://owner@db/rm rivermouth migrate

Run it before the services of a new version start; running it again changes nothing. It needs the right to create
the schemas `rivermouth` and `analytics` and the role `rivermouth_analyst`.")]
pub(crate) struct MigrateArgs {
    #[command(flatten)]
    postgres: PostgresArgs,
}

pub(crate) async fn run(args: MigrateArgs) -> anyhow::Result<()> {
    let url = args.postgres.required()?;
    telemetry::init("warn", LogFormat::Auto)?;
    let options = StoreOptions {
        connections_max: 2,
        ..args.postgres.options("migrate")
    };
    let store = parts::store(&url, options).await?;
    let migrated = store.migrate().await;
    store.close().await;
    migrated?;
    println!("the tables are up to date");
    Ok(())
}
