//! Which peers are installed, in their own words.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use super::process::program;

/// How each is asked.
const QUESTIONS: [(&str, &str, &[&str]); 5] = [
    ("nats-server", "nats-server", &["--version"]),
    ("nchan", "dpkg-query", &["--show", "libnginx-mod-nchan"]),
    ("nginx", "nginx", &["-v"]),
    ("node", "node", &["--version"]),
    ("redis-server", "redis-server", &["--version"]),
];

/// The version of each that is there: the first line that it says.
pub fn versions() -> BTreeMap<String, String> {
    let asked = QUESTIONS
        .iter()
        .filter_map(|(name, asked, words)| Some(((*name).to_owned(), said(asked, words)?)));
    let socketio = socketio().map(|version| ("socket.io".to_owned(), version));
    asked.chain(socketio).collect()
}

fn said(name: &str, words: &[&str]) -> Option<String> {
    let output = Command::new(program(name).ok()?)
        .args(words)
        .output()
        .ok()?;
    // nginx says it where others complain.
    let text = [output.stdout, output.stderr].concat();
    let line = String::from_utf8_lossy(&text)
        .lines()
        .next()?
        .trim()
        .to_owned();
    output.status.success().then_some(line)
}

fn socketio() -> Option<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("peers/socketio/node_modules/socket.io/package.json");
    let package: serde_json::Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    Some(package["version"].as_str()?.to_owned())
}
