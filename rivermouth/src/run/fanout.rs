//! `rivermouth fanout`: everything that clients use.
use crate::parts::{Ground, Reading};
use crate::run::Door;
use crate::run::process::Process;
use crate::settings::public::PublicArgs;
use axum::Router;
use clap::Args;
use ingest::Gateway;
use store::Store;
#[derive(Args, Clone, Debug)]
pub(crate) struct FanoutArgs {
    #[command(flatten)]
    process: crate::settings::process::ProcessArgs,
}
pub(crate) async fn fanout(_: FanoutArgs) -> anyhow::Result<()> {
    anyhow::bail!("not yet")
}
pub(crate) async fn routes(
    _ground: &Ground,
    door: &Door,
    gateway: &Gateway,
    _store: Option<Store>,
    _reading: &Reading,
    _public: &PublicArgs,
    process: &Process,
) -> anyhow::Result<Router> {
    let _ = (gateway, door);
    Ok(Router::new().merge(service::admin::public_health(process.health.clone())))
}
