//! A private PostgreSQL cluster in the data directory: made once, started with `dev`, stopped with it.
//!
//! It listens on a Unix socket in a directory of mode 0700 and on nothing else, so it needs no password
//! and no port. PostgreSQL refuses to run as root; then it runs as `postgres` (or `nobody`), who owns its
//! directory. The postmaster is a child in a process group of its own: Ctrl-C reaches `dev` alone, which
//! stops it after the last row is written. One that outlived a killed `dev` is found by its directory and
//! stopped before the next is started.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use service::Secret;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::binaries::Binaries;
use super::owner::Owner;

/// The superuser of the private cluster, and its first database.
const NAME: &str = "rivermouth";
/// Which database belongs to which installation, one `installation database` a line.
const DATABASES: &str = "postgres.databases";
/// Only a name for the socket file: nothing listens on TCP.
const PORT: u16 = 5432;
const INITDB_DEADLINE: Duration = Duration::from_secs(120);
/// Crash recovery after a power cut may have to replay some WAL.
const START_DEADLINE: Duration = Duration::from_secs(120);
const STOP_DEADLINE: Duration = Duration::from_secs(20);

/// A running cluster. Ends by [`Cluster::stop`]; dropped without it, the postmaster is told to stop fast.
#[derive(Debug)]
pub(crate) struct Cluster {
    child: Child,
    socket_dir: PathBuf,
    psql: PathBuf,
    database: String,
}

impl Cluster {
    /// Makes the cluster under `data_dir` if there is none, stops one that was left over, and starts it.
    ///
    /// `installation` names the log whose events go in. Each log gets a database of its own: rows of one
    /// (`dev` on Kafka) must not be taken for those of another (`dev` on its own log).
    ///
    /// Fails with one line that says what to do when there are no binaries, or when the cluster belongs
    /// to another major version of PostgreSQL. `say` hears what takes long.
    pub(crate) async fn start(
        data_dir: &Path,
        installation: &str,
        say: impl Fn(&str),
    ) -> anyhow::Result<Self> {
        let owner = Owner::choose()?;
        let home = owner.home(data_dir)?;
        if home != data_dir {
            say(&format!(
                "PostgreSQL keeps its files in {} (its user cannot enter {})",
                home.display(),
                data_dir.display()
            ));
        }
        let cluster_dir = home.join("postgres");
        let wanted = std::fs::read_to_string(cluster_dir.join("PG_VERSION")).ok();
        let binaries = Binaries::find(wanted.as_deref().map(str::trim))?;
        if wanted.is_none() {
            say("making a private PostgreSQL cluster (once)");
            create(&binaries, &owner, &home, &cluster_dir).await?;
        }
        stop_left_over(&binaries, &owner, &cluster_dir, &say).await?;
        let database = database_of(&binaries, &owner, &home, &cluster_dir, installation).await?;
        let socket_dir = owner.socket_dir(&cluster_dir)?;
        let child = launch(&binaries, &owner, &home, &cluster_dir, &socket_dir)?;
        let mut cluster = Cluster {
            child,
            socket_dir,
            psql: binaries.psql(),
            database,
        };
        cluster.ready(&home, &cluster_dir).await?;
        Ok(cluster)
    }

    /// The address of its database for our own services.
    pub(crate) fn url(&self) -> Secret {
        Secret::new(format!(
            "postgres://{NAME}@localhost/{}?host={}&port={PORT}",
            self.database,
            self.socket_dir.display()
        ))
    }

    /// A shell command that opens the database as `user`.
    pub(crate) fn psql_line(&self, user: &str) -> String {
        format!(
            "{} -h {} -p {PORT} -U {user} {}",
            super::banner::quoted(&self.psql),
            super::banner::quoted(&self.socket_dir),
            self.database
        )
    }

    /// Ends when the postmaster does. Cancel safe.
    pub(crate) async fn died(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Stops it: sessions are ended, what was committed is on disk. After 20 s it is stopped the hard
    /// way, which the next start repairs from the write-ahead log.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        signal(&self.child, Signal::SIGINT);
        match tokio::time::timeout(STOP_DEADLINE, self.child.wait()).await {
            Ok(ended) => ended.map(|_| ()).context("waiting for PostgreSQL to stop"),
            Err(_) => {
                signal(&self.child, Signal::SIGQUIT);
                let _ = tokio::time::timeout(STOP_DEADLINE, self.child.wait()).await;
                bail!("PostgreSQL did not stop in time and was stopped the hard way")
            }
        }
    }

    async fn ready(&mut self, home: &Path, cluster_dir: &Path) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_DEADLINE;
        let log = log_file(home);
        loop {
            if let Some(status) = self.child.try_wait()? {
                let said = last_lines(&log, 5);
                bail!("PostgreSQL did not start ({status}): {said}");
            }
            if is_ready(cluster_dir, self.child.id()) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "PostgreSQL is not ready after {START_DEADLINE:?}; see {}",
                    log.display()
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        signal(&self.child, Signal::SIGINT);
    }
}

fn signal(child: &Child, signal: Signal) {
    // No id: it has ended already.
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

/// Makes the cluster beside its final place and renames it, so that an interrupted start leaves nothing
/// half-made behind.
async fn create(
    binaries: &Binaries,
    owner: &Owner,
    home: &Path,
    cluster_dir: &Path,
) -> anyhow::Result<()> {
    let fresh = home.join("postgres.new");
    if fresh.exists() {
        std::fs::remove_dir_all(&fresh)
            .with_context(|| format!("removing the half-made {}", fresh.display()))?;
    }
    owner.make_dir(&fresh)?;
    let mut initdb = owner.command(&binaries.tool("initdb"), &fresh);
    initdb.arg("--pgdata").arg(&fresh).args([
        "--username",
        NAME,
        "--encoding=UTF8",
        "--locale=C",
        "--auth=trust",
        "--data-checksums",
    ]);
    run(initdb, "initdb", None).await?;
    std::fs::rename(&fresh, cluster_dir)
        .with_context(|| format!("moving the cluster to {}", cluster_dir.display()))
}

/// The database of an installation, made at its first start. No server runs meanwhile.
async fn database_of(
    binaries: &Binaries,
    owner: &Owner,
    home: &Path,
    cluster_dir: &Path,
    installation: &str,
) -> anyhow::Result<String> {
    let list = home.join(DATABASES);
    let known = std::fs::read_to_string(&list).unwrap_or_default();
    if let Some(database) = database_in(&known, installation) {
        return Ok(database.to_owned());
    }
    let database = if known.is_empty() {
        NAME.to_owned()
    } else {
        format!("{NAME}_{installation}")
    };
    // Single-user mode needs no client program. A database that an interrupted start has made already is
    // an error to it that ends nothing.
    let mut single = owner.command(&binaries.tool("postgres"), cluster_dir);
    single
        .arg("--single")
        .arg("-D")
        .arg(cluster_dir)
        .arg("postgres");
    let statement = format!("create database {database};\n");
    run(single, "postgres", Some(&statement)).await?;
    std::fs::write(&list, format!("{known}{installation} {database}\n"))
        .with_context(|| format!("writing {}", list.display()))?;
    Ok(database)
}

fn database_in<'a>(list: &'a str, installation: &str) -> Option<&'a str> {
    list.lines()
        .filter_map(|line| line.split_once(' '))
        .find_map(|(known, database)| (known == installation).then_some(database))
}

async fn run(mut command: Command, name: &str, input: Option<&str>) -> anyhow::Result<()> {
    use tokio::io::AsyncWriteExt as _;
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command
        .spawn()
        .with_context(|| format!("starting {name}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends without reading says why in its output.
        let _ = stdin.write_all(input.unwrap_or_default().as_bytes()).await;
    }
    let output = tokio::time::timeout(INITDB_DEADLINE, child.wait_with_output())
        .await
        .with_context(|| format!("{name} did not end within {INITDB_DEADLINE:?}"))??;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    bail!("{name} failed ({}): {}", output.status, said.trim())
}

async fn stop_left_over(
    binaries: &Binaries,
    owner: &Owner,
    cluster_dir: &Path,
    say: &impl Fn(&str),
) -> anyhow::Result<()> {
    if !cluster_dir.join("postmaster.pid").exists() {
        return Ok(());
    }
    let pg_ctl = |arguments: &[&str]| {
        let mut command = owner.command(&binaries.tool("pg_ctl"), cluster_dir);
        command.arg("--pgdata").arg(cluster_dir).args(arguments);
        command
    };
    // pg_ctl looks whether the process is there; a lock file without one is left to PostgreSQL, which
    // knows when it may take it over.
    if run(pg_ctl(&["status"]), "pg_ctl", None).await.is_err() {
        return Ok(());
    }
    say("stopping a PostgreSQL that an earlier start left behind");
    let stop = ["stop", "--mode=fast", "--wait", "--timeout=30"];
    if run(pg_ctl(&stop), "pg_ctl", None).await.is_ok() {
        return Ok(());
    }
    let stop = ["stop", "--mode=immediate", "--wait", "--timeout=30"];
    run(pg_ctl(&stop), "pg_ctl", None).await
}

fn launch(
    binaries: &Binaries,
    owner: &Owner,
    home: &Path,
    cluster_dir: &Path,
    socket_dir: &Path,
) -> anyhow::Result<Child> {
    let log = std::fs::File::create(log_file(home)).context("opening PostgreSQL's log file")?;
    let mut postgres = owner.command(&binaries.tool("postgres"), cluster_dir);
    postgres.arg("-D").arg(cluster_dir);
    for setting in [
        "listen_addresses=".to_owned(),
        format!("port={PORT}"),
        format!("unix_socket_directories={}", socket_dir.display()),
        // One process with a handful of pools; small machines.
        "max_connections=60".to_owned(),
        "shared_buffers=64MB".to_owned(),
        // Nobody replicates from here.
        "wal_level=minimal".to_owned(),
        "max_wal_senders=0".to_owned(),
        "log_min_messages=warning".to_owned(),
        "timezone=UTC".to_owned(),
    ] {
        postgres.arg("-c").arg(setting);
    }
    postgres
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("starting PostgreSQL")
}

/// The postmaster writes its state into the eighth line of its lock file.
fn is_ready(cluster_dir: &Path, pid: Option<u32>) -> bool {
    let Ok(text) = std::fs::read_to_string(cluster_dir.join("postmaster.pid")) else {
        return false;
    };
    let mut lines = text.lines();
    let ours = lines.next().and_then(|line| line.trim().parse().ok()) == pid;
    ours && lines.nth(6).is_some_and(|state| state.trim() == "ready")
}

fn log_file(home: &Path) -> PathBuf {
    home.join("postgres.log")
}

fn last_lines(file: &Path, count: usize) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(count).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_finds_its_own_database_again() {
        let list = "0a1b rivermouth\nffff rivermouth_ffff\n";
        assert_eq!(database_in(list, "0a1b"), Some("rivermouth"));
        assert_eq!(database_in(list, "ffff"), Some("rivermouth_ffff"));
        assert_eq!(database_in(list, "1234"), None);
    }
}
