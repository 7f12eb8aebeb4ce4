//! A PostgreSQL server of one test, which may be restarted, stopped and killed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::{Uid, User, chown};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use crate::process::Process;
use crate::wait::{PATIENCE, within};
use crate::world::free_port;

/// A server on a free loopback port, with a data directory of its own. Stopped by its pid when dropped.
///
/// Nothing here has to survive a power cut, so nothing is synced to disk: a kill -9 loses nothing all the same,
/// because what was written is with the kernel.
#[derive(Debug)]
pub struct Server {
    // Ends before its directory goes.
    process: Option<Process>,
    programs: PathBuf,
    user: Option<User>,
    port: u16,
    settings: Vec<String>,
    dir: TempDir,
}

impl Server {
    /// Makes a data directory, starts the server and waits until it answers.
    pub async fn start() -> Server {
        Server::start_with(&["max_connections=200", "fsync=off", "shared_buffers=64MB"]).await
    }

    /// The same with other settings than those of a test, each `name=value`.
    pub async fn start_with(settings: &[&str]) -> Server {
        let dir =
            TempDir::with_prefix("rivermouth-pg-").expect("a temporary directory can be made");
        // PostgreSQL refuses to run as root.
        let user = Uid::effective().is_root().then(somebody);
        if let Some(user) = &user {
            chown(dir.path(), Some(user.uid), Some(user.gid))
                .expect("root may give a directory away");
        }
        let mut server = Server {
            process: None,
            programs: programs(),
            user,
            port: free_port(),
            settings: settings
                .iter()
                .map(|setting| (*setting).to_owned())
                .collect(),
            dir,
        };
        server.initialise().await;
        server.launch().await;
        server
    }

    /// `postgres://…`, of the superuser, naming the database `postgres`.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// The process that starts all others of it; 0 while it is down.
    pub fn pid(&self) -> i32 {
        self.process.as_ref().map_or(0, Process::pid)
    }

    /// Makes a directory that is the server's own.
    pub fn directory(&self, path: &Path) {
        std::fs::create_dir(path).expect("a directory can be made");
        if let Some(user) = &self.user {
            chown(path, Some(user.uid), Some(user.gid)).expect("root may give a directory away");
        }
    }

    /// SIGKILL of the server, as the kernel does when memory is short. It stays down.
    pub async fn kill_9(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill_9().await;
        }
    }

    /// Stops it at once, cutting every connection ("fast"). It stays down.
    pub async fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.signal(Signal::SIGINT);
            process.wait().await;
        }
    }

    /// Starts it (again) on the same port with the same data and waits until it answers. After a kill its
    /// orphans hold the data directory for a moment; it is tried until they are gone.
    pub async fn launch(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut process = Process::start("postgres", self.command(), &self.log());
            if self.ready(&mut process).await {
                self.process = Some(process);
                return;
            }
            assert!(
                Instant::now() < deadline,
                "PostgreSQL does not start: {}",
                process.tail(10)
            );
        }
    }

    /// True when it answers, false when it ended instead.
    async fn ready(&self, process: &mut Process) -> bool {
        let state = self.dir.path().join("data/postmaster.pid");
        let pid = process.pid().to_string();
        let deadline = Instant::now() + PATIENCE;
        while process.ended().is_none() {
            // The file of a killed server stays behind and says `ready` too, but under another pid.
            let text = std::fs::read_to_string(&state).unwrap_or_default();
            let mut lines = text.lines();
            if lines.next() == Some(&pid) && lines.nth(6).is_some_and(|line| line.trim() == "ready")
            {
                return true;
            }
            assert!(
                Instant::now() < deadline,
                "PostgreSQL is not ready: {}",
                process.tail(10)
            );
            sleep(Duration::from_millis(50)).await;
        }
        false
    }

    async fn initialise(&self) {
        let mut command = self.program("initdb");
        command
            .arg("-D")
            .arg(self.dir.path().join("data"))
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8"])
            .args(["--locale=C", "--no-sync"]);
        let log = self.log();
        let mut initdb = Process::start("initdb", command, &log);
        let status = within("initdb", initdb.wait()).await;
        assert!(status.success(), "initdb: {}", initdb.output());
    }

    fn command(&self) -> Command {
        let mut command = self.program("postgres");
        command
            .arg("-D")
            .arg(self.dir.path().join("data"))
            .args(["-p", &self.port.to_string()]);
        for setting in ["listen_addresses=127.0.0.1", "unix_socket_directories="] {
            command.args(["-c", setting]);
        }
        for setting in &self.settings {
            command.args(["-c", setting.as_str()]);
        }
        command
    }

    /// A program of PostgreSQL, run as a user it accepts.
    fn program(&self, name: &str) -> Command {
        let program = self.programs.join(name);
        let mut command = Command::new(&program);
        if let Some(user) = &self.user {
            // setpriv becomes the program, so that the pid is the server's own.
            command = Command::new("setpriv");
            command
                .arg(format!("--reuid={}", user.uid))
                .arg(format!("--regid={}", user.gid))
                .args(["--clear-groups", "--"])
                .arg(program);
        }
        command.current_dir(self.dir.path());
        command
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("postgres.log")
    }
}

/// Where `initdb` and `postgres` are: `PG_BIN`, the path, or where the distributions put them.
fn programs() -> PathBuf {
    let named = std::env::var_os("PG_BIN").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut packaged: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"))
        .collect();
    packaged.sort();
    let complete = |dir: &Path| {
        ["initdb", "postgres"]
            .iter()
            .all(|name| dir.join(name).exists())
    };
    named
        .into_iter()
        .chain(std::env::split_paths(&path))
        .chain(packaged.into_iter().rev())
        .find(|dir| complete(dir))
        .expect("PostgreSQL's server programs are installed (scripts/need.sh test)")
}

fn somebody() -> User {
    ["postgres", "nobody"]
        .iter()
        .find_map(|name| User::from_name(name).ok().flatten())
        .expect("there is a user postgres or nobody")
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::{Connection, Executor, PgConnection};

    async fn count(server: &Server) -> i64 {
        let mut connection = PgConnection::connect(&server.url()).await.unwrap();
        sqlx::query_scalar("select count(*) from t")
            .fetch_one(&mut connection)
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn a_killed_and_a_stopped_server_come_back_with_what_was_committed() {
        let mut server = Server::start().await;
        let mut connection = PgConnection::connect(&server.url()).await.unwrap();
        connection
            .execute("create table t as select generate_series(1, 7)")
            .await
            .unwrap();
        server.kill_9().await;
        server.launch().await;
        assert_eq!(count(&server).await, 7);
        server.stop().await;
        server.launch().await;
        assert_eq!(count(&server).await, 7);
    }
}
