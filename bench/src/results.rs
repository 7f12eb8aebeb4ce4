//! Figures, the file they are kept in, and what they amount to.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::order::Wrong;

/// Others used more than this of a processor: the measurement was not alone.
pub const ALONE_PERCENT: f64 = 10.0;

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
    /// Processor time of others, percent of one processor; the brokers are others. Nothing where it says nothing.
    pub foreign_percent: Option<f64>,
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
        }
    }

    /// With what was wrong, in numbers and in words.
    #[must_use]
    pub fn checked(mut self, wrong: Wrong, complaints: &[String]) -> Point {
        self.wrong = wrong;
        self.complaints = complaints.to_vec();
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
        if let Some(percent) = self
            .foreign_percent
            .filter(|percent| *percent > ALONE_PERCENT)
        {
            write!(f, " (not alone: {percent:.0} %)")?;
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
        serde_json::from_slice(&text).with_context(|| format!("{} is no results", path.display()))
    }

    /// Puts a measurement in place of one of the same scenario, server and repeat.
    pub fn replace(&mut self, point: Point) {
        let same = |old: &Point| {
            (&old.scenario, &old.engine, old.repeat)
                == (&point.scenario, &point.engine, point.repeat)
        };
        self.points.retain(|old| !same(old));
        self.points.push(point);
    }

    /// The median of a figure over its repeats, and the spread around it: void measurements do not count.
    pub fn median(&self, scenario: &str, engine: &str, figure: &str) -> Option<Median> {
        let mut values: Vec<f64> = self
            .points
            .iter()
            .filter(|point| point.scenario == scenario && point.engine == engine)
            .filter(|point| point.wrong.nothing())
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
    /// Goes on with a file, or begins it.
    pub fn open(path: &Path) -> anyhow::Result<Results> {
        let points = if path.exists() {
            Kept::read(path)?.points
        } else {
            Vec::new()
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
        if let Some(dir) = self.path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        std::fs::write(&self.path, serde_json::to_vec_pretty(&self.kept)?)
            .with_context(|| format!("writing {}", self.path.display()))
    }

    /// An error when anything was wrong in any measurement of this sitting.
    pub fn void(&self) -> anyhow::Result<()> {
        anyhow::ensure!(self.void.is_empty(), "void: {}", self.void.join("; "));
        Ok(())
    }
}
