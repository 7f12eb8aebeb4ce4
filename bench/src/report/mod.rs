//! What the figures amount to: the tables of `bench/RESULTS.md` and the picture of the README.

mod notes;
mod picture;
mod tables;
mod targets;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::results::Kept;

/// Which figures, and where their tables stand.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// Files of figures; a later one replaces the same measurement of an earlier one.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "target/bench/results.json"
    )]
    pub results: Vec<PathBuf>,
    /// The page whose tables are written anew: what stands between `<!-- NAME -->` and `<!-- end -->`.
    #[arg(long, default_value = "bench/RESULTS.md")]
    pub page: PathBuf,
    /// The picture.
    #[arg(long, default_value = "docs/bench.svg")]
    pub picture: PathBuf,
}

/// Writes both, and says what there are no figures of. What would be empty stays as it is.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let kept = merged(&arguments.results)?;
    let mut page = fs::read_to_string(&arguments.page)
        .with_context(|| format!("reading {}", arguments.page.display()))?;
    anyhow::ensure!(
        kept.valid().next().is_some(),
        "there are no figures in the files: nothing is written"
    );
    let notes = notes::all(&kept);
    for note in notes.iter().chain(&notes::missing(&kept)) {
        println!("{note}");
    }
    for (name, table) in tables::all(&kept, &notes) {
        match table {
            Some(table) => page = replaced(&page, name, &table)?,
            None => println!("no figures for the table `{name}`: it stays as it is"),
        }
    }
    write(&arguments.page, &page)?;
    if !picture::whole(&kept) {
        println!("not for every panel of the picture there are figures: it stays as it is");
        return Ok(());
    }
    write(&arguments.picture, &picture::draw(&kept))
}

fn merged(files: &[PathBuf]) -> anyhow::Result<Kept> {
    let (first, more) = files.split_first().context("no file of figures")?;
    let mut kept = Kept::read(first)?;
    for file in more {
        let later = Kept::read(file)?;
        for point in later.points {
            kept.replace(point);
        }
    }
    Ok(kept)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

/// The page with another text between the marks of a name.
fn replaced(page: &str, name: &str, text: &str) -> anyhow::Result<String> {
    let mark = format!("<!-- {name} -->\n");
    let (before, rest) = page
        .split_once(&mark)
        .with_context(|| format!("the page has no place for {name}"))?;
    let (_, after) = rest
        .split_once("<!-- end -->")
        .with_context(|| format!("the place of {name} has no end"))?;
    Ok(format!("{before}{mark}{text}<!-- end -->{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_put_in_the_place_of_the_old_one() {
        let page = "a\n<!-- x -->\nold\n<!-- end -->\nb\n<!-- y -->\nother\n<!-- end -->\n";
        let new = replaced(page, "x", "new\n").unwrap();
        assert_eq!(new, page.replace("old", "new"));
        assert!(replaced(page, "z", "").is_err());
    }
}
