//! Figures, the file they are kept in, and what they amount to.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::order::Wrong;

/// Others used more than this of a processor: the measurement was not alone.
pub const ALONE_PERCENT: f64 = 10.0;

/// A paced measurement that delivered less than this of what was due did not keep its rate.
pub const RATE_PERCENT: f64 = 98.0;

/// How long a measurement was asked to be, and with how many clients.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Lengths {
    /// Measured, seconds.
    pub time_s: f64,
    /// Before anything was measured, seconds.
    pub warm_up_s: f64,
    /// The clients of every scenario were divided by this.
    pub divide: u32,
}

impl fmt::Display for Lengths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s after {} s", self.time_s, self.warm_up_s)?;
        if self.divide > 1 {
            write!(f, " with 1/{} of the clients", self.divide)?;
        }
        Ok(())
    }
}

/// One measurement.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Point {
    /// What was done.
    pub scenario: String,
    /// What it was done to.
    pub engine: String,
    /// The how many-th of the sitting.
    pub repeat: u32,
    /// The commit it was taken at.
    #[serde(default)]
    pub commit: String,
    /// Names with their unit at the end, and values.
    pub figures: BTreeMap<String, f64>,
    /// A measurement with anything wrong is void.
    pub wrong: Wrong,
    /// The first things that were wrong, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub complaints: Vec<String>,
    /// Processor time of others, percent of one processor. Nothing where nobody looked.
    pub foreign_percent: Option<f64>,
    /// Of a paced one: what was delivered in time, percent of what was due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_percent: Option<f64>,
    /// Missing in those of before it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lengths: Option<Lengths>,
}

impl Point {
    /// Without figures yet.
    pub fn new(scenario: &str, engine: &str) -> Point {
        Point {
            scenario: scenario.to_owned(),
            engine: engine.to_owned(),
            repeat: 0,
            commit: String::new(),
            figures: BTreeMap::new(),
            wrong: Wrong::default(),
            complaints: Vec::new(),
            foreign_percent: None,
            rate_percent: None,
            lengths: None,
        }
    }

    /// Void, and why.
    #[must_use]
    pub fn failed(self, why: String) -> Point {
        let wrong = Wrong {
            complaints: 1,
            ..Wrong::default()
        };
        self.checked(wrong, &[why])
    }

    /// How much others used of a processor, when it was more than they may.
    pub fn company_percent(&self) -> Option<f64> {
        self.foreign_percent.filter(|it| *it > ALONE_PERCENT)
    }

    /// How much of its rate it delivered, when it was clearly less than all.
    pub fn short_percent(&self) -> Option<f64> {
        self.rate_percent.filter(|it| *it < RATE_PERCENT)
    }

    /// With what was wrong, in numbers and in words.
    #[must_use]
    pub fn checked(mut self, wrong: Wrong, complaints: &[String]) -> Point {
        self.wrong = wrong;
        self.complaints = complaints.to_vec();
        self
    }

    /// With what was wrong in another part of it, too.
    #[must_use]
    pub fn also_checked(mut self, wrong: Wrong, complaints: &[String]) -> Point {
        self.wrong = self.wrong.and(wrong);
        self.complaints.extend_from_slice(complaints);
        self
    }

    /// With one more.
    #[must_use]
    pub fn with(mut self, name: &str, value: f64) -> Point {
        self.figures.insert(name.to_owned(), value);
        self
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<20} {:<18}", self.scenario, self.engine)?;
        for (name, value) in &self.figures {
            let digits = match value.abs() {
                small if small < 10.0 => 3,
                middle if middle < 1000.0 => 1,
                _ => 0,
            };
            write!(f, " {name}={value:.digits$}")?;
        }
        if let Some(percent) = self.company_percent() {
            write!(f, " (not alone: {percent:.0} %)")?;
        }
        if let Some(percent) = self.short_percent() {
            write!(f, " (only {percent:.0} % of its rate)")?;
        }
        if !self.wrong.nothing() {
            write!(f, " VOID: {} {:?}", self.wrong, self.complaints)?;
        }
        Ok(())
    }
}

/// All measurements of a file, one a line after the machine's.
#[derive(Debug)]
pub struct Results {
    path: PathBuf,
    kept: Kept,
    /// Void measurements of this sitting.
    void: Vec<String>,
}

/// What the file holds.
#[derive(Debug, Serialize, Deserialize)]
pub struct Kept {
    /// Where and when the newest were taken.
    pub machine: Machine,
    /// The measurements.
    pub points: Vec<Point>,
}

impl Kept {
    /// Reads a file.
    pub fn read(path: &Path) -> anyhow::Result<Kept> {
        let text = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        anyhow::ensure!(
            !text.is_empty(),
            "nothing was measured into {}",
            path.display()
        );
        serde_json::from_slice(&text).with_context(|| format!("{} is no results", path.display()))
    }

    /// Puts a measurement in place of the one of the same scenario, server and repeat, and of all of that scenario and
    /// server that had other lengths: there is no median of unlike things.
    pub fn replace(&mut self, point: Point) {
        let replaced = |old: &Point| {
            (&old.scenario, &old.engine) == (&point.scenario, &point.engine)
                && (old.repeat == point.repeat || old.lengths != point.lengths)
        };
        self.points.retain(|old| !replaced(old));
        self.points.push(point);
    }

    /// The measurements in which nothing was wrong.
    pub fn valid(&self) -> impl Iterator<Item = &Point> {
        self.points.iter().filter(|point| point.wrong.nothing())
    }

    /// The median of a figure over its repeats, and the spread around it: void measurements do not count.
    pub fn median(&self, scenario: &str, engine: &str, figure: &str) -> Option<Median> {
        let mut values: Vec<f64> = self
            .valid()
            .filter(|point| point.scenario == scenario && point.engine == engine)
            .filter_map(|point| point.figures.get(figure).copied())
            .collect();
        values.sort_by(f64::total_cmp);
        Some(Median {
            least: *values.first()?,
            value: *values.get(values.len() / 2)?,
            most: *values.last()?,
        })
    }
}

/// The middle of some values, and their ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Median {
    /// The least.
    pub least: f64,
    /// The middle one.
    pub value: f64,
    /// The most.
    pub most: f64,
}

impl Results {
    /// Goes on with a file, or begins it: after this it can be written to.
    pub fn open(path: &Path) -> anyhow::Result<Results> {
        let unusable = || format!("{} cannot be written to", path.display());
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).with_context(unusable)?;
        }
        let file = File::options().append(true).create(true).open(path);
        let length = file
            .and_then(|file| file.metadata())
            .with_context(unusable)?;
        let points = match length.len() {
            0 => Vec::new(),
            _ => Kept::read(path)?.points,
        };
        Ok(Results {
            path: path.to_owned(),
            kept: Kept {
                machine: Machine::look(),
                points,
            },
            void: Vec::new(),
        })
    }

    /// Keeps a measurement, in place of an older one of the same scenario, server and repeat.
    pub fn add(&mut self, mut point: Point) -> anyhow::Result<()> {
        point.commit.clone_from(&self.kept.machine.commit);
        if !point.wrong.nothing() {
            let Point {
                scenario,
                engine,
                wrong,
                ..
            } = &point;
            self.void.push(format!("{scenario} of {engine}: {wrong}"));
        }
        self.kept.replace(point);
        self.write()
            .with_context(|| format!("writing {}", self.path.display()))
    }

    /// Beside the file, and then in its place: whoever kills the sitting leaves the one or the other.
    fn write(&self) -> anyhow::Result<()> {
        let mut beside = self.path.clone().into_os_string();
        beside.push(".new");
        std::fs::write(&beside, serde_json::to_vec_pretty(&self.kept)?)?;
        Ok(std::fs::rename(&beside, &self.path)?)
    }

    /// An error when anything was wrong in any measurement of this sitting.
    pub fn void(&self) -> anyhow::Result<()> {
        anyhow::ensure!(self.void.is_empty(), "void: {}", self.void.join("; "));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_written_to_is_found_before_anything_is_measured() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        for path in [dir.path(), &file.join("below/results.json")] {
            let error = Results::open(path).unwrap_err().to_string();
            assert!(error.contains("cannot be written to"), "{error}");
        }
    }

    #[test]
    fn a_new_file_gets_its_folder_and_an_old_one_keeps_its_points() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/results.json");
        let mut results = Results::open(&path).unwrap();
        results.add(Point::new("idle", "raw")).unwrap();
        let mut results = Results::open(&path).unwrap();
        results.add(Point::new("idle", "nats")).unwrap();
        assert_eq!(Kept::read(&path).unwrap().points.len(), 2);
    }

    #[test]
    fn unlike_measurements_do_not_stand_side_by_side() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.json");
        let mut results = Results::open(&path).unwrap();
        let point = |engine, repeat, time_s| Point {
            repeat,
            lengths: Some(Lengths {
                time_s,
                warm_up_s: 1.0,
                divide: 1,
            }),
            ..Point::new("idle", engine).with("p50_ms", time_s)
        };
        for added in [
            point("raw", 0, 3.0),
            point("raw", 1, 3.0),
            point("nats", 0, 3.0),
        ] {
            results.add(added).unwrap();
        }
        assert_eq!(Kept::read(&path).unwrap().points.len(), 3);
        results.add(point("raw", 2, 1.0)).unwrap();
        let kept = Kept::read(&path).unwrap();
        assert_eq!(kept.points.len(), 2);
        assert_eq!(kept.median("idle", "raw", "p50_ms").unwrap().most, 1.0);
    }

    #[test]
    fn a_measurement_that_failed_is_void_and_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.json");
        let mut results = Results::open(&path).unwrap();
        let point = Point::new("idle", "raw").failed("the broker is gone".to_owned());
        results.add(point).unwrap();
        assert!(results.void().is_err());
        let kept = Kept::read(&path).unwrap();
        assert_eq!(kept.points[0].complaints, ["the broker is gone"]);
        assert_eq!(kept.median("idle", "raw", "p50_ms"), None);
    }
}
