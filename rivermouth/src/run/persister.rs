//! `rivermouth persister`: writes what Kafka holds into PostgreSQL.
use clap::Args;
#[derive(Args, Clone, Debug)]
pub(crate) struct PersisterArgs {
    #[command(flatten)]
    process: crate::settings::process::ProcessArgs,
}
pub(crate) async fn persister(_: PersisterArgs) -> anyhow::Result<()> { anyhow::bail!("not yet") }
