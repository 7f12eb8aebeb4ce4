//! A terminal: commands with nothing in their environment but what a test gives them.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// `rivermouth` with these arguments and variables.
pub(crate) fn rivermouth(arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rivermouth"));
    command.args(arguments).env_clear();
    for kept in ["PATH", "HOME", "PG_BIN"] {
        if let Some(value) = std::env::var_os(kept) {
            command.env(kept, value);
        }
    }
    command.envs(variables.iter().copied());
    command
}

/// Runs it to its end; status, and everything it said on both streams.
pub(crate) fn said(arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = rivermouth(arguments, variables).output().unwrap();
    let text = [stdout, stderr].concat();
    (status.code(), String::from_utf8(text).unwrap())
}

/// A directory that is gone when the test is over, also a failed one.
pub(crate) struct Dir(PathBuf);

impl Dir {
    pub(crate) fn new() -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let path = std::env::temp_dir().join(format!("rm-cli-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        Dir(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A running `rivermouth dev` and what it has printed.
pub(crate) struct Dev {
    child: Child,
    out: BufReader<ChildStdout>,
    pub(crate) banner: String,
}

impl Dev {
    /// Starts it on free ports and reads until it says that it is up.
    pub(crate) fn start(data: &Path) -> Self {
        let data = data.to_str().unwrap();
        let arguments = [
            "dev",
            "--data-dir",
            data,
            "--realtime-port",
            "0",
            "--metrics-port",
            "0",
        ];
        let mut child = rivermouth(&arguments, &[("RIVERMOUTH_PARTITIONS", "2")])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut banner = String::new();
        while !banner.contains("Up after") {
            if out.read_line(&mut banner).unwrap() == 0 {
                let output = child.wait_with_output().unwrap();
                let errors = String::from_utf8_lossy(&output.stderr);
                panic!("dev ended ({}): {banner}{errors}", output.status);
            }
        }
        Dev { child, out, banner }
    }

    /// The line of the banner that starts with this word (a path to it counts).
    pub(crate) fn line(&self, program: &str) -> String {
        let fits = |line: &&str| {
            let first = line.split(' ').next().unwrap_or_default();
            first.rsplit('/').next() == Some(program)
        };
        self.banner
            .lines()
            .map(str::trim)
            .find(fits)
            .unwrap_or_else(|| panic!("no {program} line in {}", self.banner))
            .to_owned()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Waits for its end and gives the status.
    pub(crate) fn ended(&mut self) -> std::process::ExitStatus {
        // A child whose output nobody reads could wait for us.
        let mut rest = String::new();
        while self.out.read_line(&mut rest).unwrap() > 0 {}
        self.child.wait().unwrap()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // Gently first: its PostgreSQL goes with it.
            self.signal(Signal::SIGTERM);
            let _ = self.ended();
        }
    }
}

/// Runs a line in a shell, as pasted.
pub(crate) fn paste(line: &str) -> String {
    let output = Command::new("sh").arg("-c").arg(line).output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{line}\n{text}");
    text
}

/// Asks again until the answer is there.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::yield_now();
    }
}
