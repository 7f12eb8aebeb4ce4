//! `rivermouth dev`: everything in one process, for development.
mod banner;
mod binaries;
pub(crate) mod data_dir;
mod owner;
mod postgres;
use clap::Args;
#[derive(Args, Clone, Debug)]
pub(crate) struct DevArgs {
    /// Where everything that outlives a run is kept
    #[arg(long, env = "RIVERMOUTH_DATA_DIR", default_value = data_dir::DEFAULT, value_name = "DIR")]
    data_dir: std::path::PathBuf,
}
pub(crate) async fn run(args: DevArgs) -> anyhow::Result<()> {
    let data = data_dir::DataDir::open(&args.data_dir)?;
    let started = std::time::Instant::now();
    let mut cluster = postgres::Cluster::start(data.path(), |line| println!("{line}")).await?;
    println!("up after {:?}: {}", started.elapsed(), cluster.psql_line("rivermouth"));
    println!("{}", cluster.url().expose());
    tokio::select! { _ = tokio::signal::ctrl_c() => {}, ended = cluster.died() => println!("{ended:?}") }
    cluster.stop().await
}
