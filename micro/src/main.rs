//! `rivermouth-micro`: names the cases, or runs one a given number of times for whoever counts.

use std::process::ExitCode;

use micro::CASES;

const USAGE: &str =
    "usage: rivermouth-micro [<case> <times>]; without arguments it names the cases";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        [] => {
            CASES.iter().for_each(|case| println!("{}", case.name));
            Some(())
        }
        [name, times] => run(name, times),
        _ => None,
    };
    if done.is_none() {
        eprintln!("{USAGE}");
        return ExitCode::from(64);
    }
    ExitCode::SUCCESS
}

fn run(name: &str, times: &str) -> Option<()> {
    let case = CASES.iter().find(|case| case.name == name)?;
    let times: u64 = times.parse().ok()?;
    let mut part = (case.prepare)();
    for _ in 0..times {
        part();
    }
    Some(())
}
