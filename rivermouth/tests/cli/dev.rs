//! A new user's first minutes: `rivermouth dev` with nothing but PostgreSQL's programs.

use std::path::Path;

use nix::sys::signal::Signal;

use crate::terminal::{Dev, Dir, paste, said, until};

/// What was pasted, from the beginning on, so many lines: players of the demo chat as well, before it or after it.
fn pasted(tail: &str, what: &str, count: usize) -> String {
    let since = "--since last:10";
    assert!(tail.contains(since), "{tail}");
    let tail = tail.trim().replace(since, "--since earliest");
    // A tail goes on for ever, and notices that grep has enough only when it has something more to say.
    paste(&format!(
        "timeout 60 {tail} --types chat.message | grep -m {count} '{what}'"
    ))
}

#[test]
fn every_printed_line_works_when_it_is_pasted() {
    let dir = Dir::new();
    let mut dev = Dev::start(&dir.path().join("data"));
    assert!(dev.banner.contains("DEVELOPMENT MODE"), "{}", dev.banner);

    let answer = paste(&dev.line("curl"));
    assert!(answer.contains("\"duplicate\":false"), "{answer}");
    let answer = paste(&dev.line("rivermouth"));
    assert!(answer.contains("\"cursor\":\""), "{answer}");
    let tail = dev
        .banner
        .lines()
        .find(|line| line.contains(" tail "))
        .unwrap();
    let lines = pasted(tail, "hello from", 2);
    assert!(lines.contains("hello from curl"), "{lines}");
    assert!(lines.contains("hello from the command line"), "{lines}");
    let psql = dev.line("psql");
    until("the rows", || {
        let rows = paste(&psql.replace("limit 10", "limit 1000"));
        (rows.contains("hello from curl") && rows.contains("hello from the command")).then_some(())
    });

    // Somebody moves in the demo session without anybody's doing.
    let moved = paste(&format!("{tail} --types token.move --count 1"));
    assert!(moved.contains("token.move"), "{moved}");

    let url = page_url(&dev);
    let page = paste(&format!("curl -sS {url}"));
    assert!(page.contains("development mode"), "{page}");
    for part in ["dev/page.js", "dev/table.js", "dev/style.css", "dev/token"] {
        paste(&format!("curl -sSf {url}{part} -o /dev/null"));
    }
    let foreign = paste(&format!("curl -sS -H 'Host: evil.example' {url}dev/token"));
    assert!(foreign.contains("INVALID_MESSAGE"), "{foreign}");

    dev.signal(Signal::SIGINT);
    assert_eq!(dev.ended().code(), Some(0));
    assert_no_postmaster(dir.path());
}

#[test]
fn starting_again_finds_everything_also_after_a_bad_death() {
    let dir = Dir::new();
    let data = dir.path().join("data");
    let mut dev = Dev::start(&data);
    paste(&dev.line("curl"));
    let secret = std::fs::read_to_string(data.join("jwt-secret")).unwrap();
    let taken = said(
        &[
            "dev",
            "--data-dir",
            data.to_str().unwrap(),
            "--realtime-port",
            "0",
        ],
        &[],
    );
    assert_eq!(taken.0, Some(1));
    assert!(
        taken.1.contains("another `rivermouth dev` is running"),
        "{}",
        taken.1
    );

    dev.signal(Signal::SIGKILL);
    dev.ended();
    let mut dev = Dev::start(&data);
    assert!(dev.banner.contains("left behind"), "{}", dev.banner);
    assert_eq!(
        std::fs::read_to_string(data.join("jwt-secret")).unwrap(),
        secret
    );
    let tail = dev
        .banner
        .lines()
        .find(|line| line.contains(" tail "))
        .unwrap();
    let lines = pasted(tail, "hello from curl", 1);
    assert!(lines.contains("hello from curl"), "{lines}");
    let psql = dev.line("psql").replace("limit 10", "limit 1000");
    until("the row", || {
        paste(&psql).contains("hello from curl").then_some(())
    });
    dev.signal(Signal::SIGTERM);
    assert_eq!(dev.ended().code(), Some(0));
    assert_no_postmaster(dir.path());
}

fn page_url(dev: &Dev) -> String {
    let line = dev
        .banner
        .lines()
        .find(|line| line.trim_start().starts_with("page"))
        .unwrap();
    line.split_whitespace().last().unwrap().to_owned()
}

/// Nothing that was started below `dir` goes on.
fn assert_no_postmaster(dir: &Path) {
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        let ours = line.contains("postgres") && line.contains(dir.to_str().unwrap());
        assert!(!ours, "still running: {line}");
    }
}
