//! What `dev` prints when it is up: where things are, and lines that work when they are pasted.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::binaries::on_path;
use super::demo;

/// Everything that the banner shows.
#[derive(Debug)]
pub(crate) struct Banner {
    pub(crate) url: String,
    pub(crate) metrics: String,
    pub(crate) log: String,
    pub(crate) database: String,
    /// A shell command that opens the database for reading.
    pub(crate) psql: String,
    pub(crate) token: String,
    pub(crate) token_file: PathBuf,
    pub(crate) data_dir: PathBuf,
    pub(crate) started_in: std::time::Duration,
}

impl Banner {
    /// The whole text; `color` for a terminal.
    pub(crate) fn text(&self, color: bool) -> String {
        let (loud, strong, off) = if color {
            ("\u{1b}[1;37;41m", "\u{1b}[1m", "\u{1b}[0m")
        } else {
            ("", "", "")
        };
        let rivermouth = ourselves();
        let token_file = quoted(&self.token_file);
        let mut text = String::new();
        let lines = [
            String::new(),
            format!(
                "{loud} DEVELOPMENT MODE {off} one process on one machine; not for the Internet"
            ),
            String::new(),
            format!("  page       {strong}{}/{off}", self.url),
            format!("  metrics    {}/metrics", self.metrics),
            format!("  log        {}", self.log),
            format!("  database   {}", self.database),
            format!(
                "  data       {} (removing it starts afresh)",
                self.data_dir.display()
            ),
            format!("  token      {}", self.token),
            String::new(),
            format!("{strong}Try in another terminal{off}"),
            String::new(),
            format!(
                "  curl -sS -w '\\n' {}/api/realtime/publish -H \"Authorization: Bearer $(cat {token_file})\" \
                 -H 'Content-Type: application/json' -d '{}'",
                self.url,
                hello("curl", true)
            ),
            String::new(),
            format!(
                "  {rivermouth} publish --url {} --token-file {token_file} {} chat.message '{}'",
                self.url,
                demo::CHANNEL,
                hello("the command line", false)
            ),
            String::new(),
            format!(
                "  {rivermouth} tail --url {} --token-file {token_file} {} --since last:10",
                self.url,
                demo::CHANNEL
            ),
            String::new(),
            format!(
                "  {} -P pager=off -c 'select at, channel, event, user_id, left(data::text, 60) as data from analytics.events order by at desc limit 10'",
                self.psql
            ),
            String::new(),
            format!(
                "Up after {:.1} s. Ctrl-C stops everything; the next start goes on where this one ended.",
                self.started_in.as_secs_f64()
            ),
        ];
        for line in lines {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{line}");
        }
        text
    }
}

fn hello(from: &str, whole: bool) -> String {
    let data = serde_json::json!({ "text": format!("hello from {from}") });
    if !whole {
        return data.to_string();
    }
    format!(
        r#"{{"channel":"{}","event":"chat.message","data":{data}}}"#,
        demo::CHANNEL
    )
}

/// How a person at this terminal calls this program.
fn ourselves() -> String {
    let here = std::env::current_exe().ok();
    let named = on_path("rivermouth").and_then(|path| path.canonicalize().ok());
    match here {
        Some(here) if named.is_none_or(|named| Some(named) != here.canonicalize().ok()) => {
            quoted(&here)
        }
        _ => "rivermouth".to_owned(),
    }
}

/// A path as a shell takes it.
pub(crate) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'_' | b'-' | b'+' | b','));
    if plain && !text.is_empty() {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_survive_the_shell() {
        assert_eq!(quoted(Path::new("/a/b-1.2")), "/a/b-1.2");
        assert_eq!(quoted(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    }

    #[test]
    fn the_bodies_in_the_banner_are_json() {
        for whole in [true, false] {
            let body = hello("curl", whole);
            serde_json::from_str::<serde_json::Value>(&body).unwrap();
            assert!(!body.contains('\''));
        }
    }
}
