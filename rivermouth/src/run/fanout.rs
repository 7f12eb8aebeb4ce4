//! `rivermouth fanout`: everything that clients use.
use clap::Args;
#[derive(Args, Clone, Debug)]
pub(crate) struct FanoutArgs {
    #[command(flatten)]
    process: crate::settings::process::ProcessArgs,
}
pub(crate) async fn fanout(_: FanoutArgs) -> anyhow::Result<()> { anyhow::bail!("not yet") }
