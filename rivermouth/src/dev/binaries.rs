//! Where PostgreSQL's server programs are: `PG_BIN`, `PATH`, Debian's and Homebrew's places.

use std::path::{Path, PathBuf};

use anyhow::bail;

/// A directory that holds `initdb`, `postgres` and `pg_ctl` of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Binaries {
    dir: PathBuf,
    /// `15`, `17`, …; before version 10 not supported.
    major: String,
}

impl Binaries {
    /// The newest set, or the one for a cluster of major version `wanted`.
    pub(crate) fn find(wanted: Option<&str>) -> anyhow::Result<Self> {
        Self::find_in(places(), wanted)
    }

    fn find_in(places: Vec<PathBuf>, wanted: Option<&str>) -> anyhow::Result<Self> {
        let found: Vec<Binaries> = places.into_iter().filter_map(Binaries::at).collect();
        match (choose(&found, wanted), wanted) {
            (Some(binaries), _) => Ok(binaries.clone()),
            (None, Some(wanted)) if !found.is_empty() => bail!(
                "the private cluster was made by PostgreSQL {wanted}, whose server programs are gone: \
                 install postgresql-{wanted}, or set PG_BIN, or give a DATABASE_URL"
            ),
            _ => bail!(
                "no PostgreSQL server programs found: {} (or set PG_BIN, or give a DATABASE_URL)",
                advice()
            ),
        }
    }

    /// The full path of one of its programs.
    pub(crate) fn tool(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// `psql` as a person would call it: by name when it is on the path.
    pub(crate) fn psql(&self) -> PathBuf {
        if on_path("psql").is_some() {
            PathBuf::from("psql")
        } else {
            self.tool("psql")
        }
    }

    fn at(dir: PathBuf) -> Option<Binaries> {
        // A link in /usr/bin may lead to the real place, where its companions are.
        let initdb = dir.join("initdb").canonicalize().ok()?;
        let real = initdb.parent()?;
        let dir = [dir.as_path(), real]
            .into_iter()
            .find(|dir| has_server(dir))?
            .to_owned();
        let output = std::process::Command::new(dir.join("postgres"))
            .arg("--version")
            .output()
            .ok()?;
        let major = major_of(&String::from_utf8_lossy(&output.stdout))?;
        Some(Binaries { dir, major })
    }
}

fn has_server(dir: &Path) -> bool {
    ["initdb", "postgres", "pg_ctl"]
        .iter()
        .all(|name| dir.join(name).is_file())
}

fn choose<'a>(found: &'a [Binaries], wanted: Option<&str>) -> Option<&'a Binaries> {
    match wanted {
        Some(wanted) => found.iter().find(|binaries| binaries.major == wanted),
        // The first place wins: whoever sets PG_BIN means it.
        None => found.first(),
    }
}

/// `postgres (PostgreSQL) 15.13 (Debian …)` is `15`.
fn major_of(version: &str) -> Option<String> {
    let number = version.split_whitespace().nth(2)?;
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    (digits.parse::<u32>().ok()? >= 12).then_some(digits)
}

fn places() -> Vec<PathBuf> {
    let mut places = Vec::new();
    if let Some(dir) = std::env::var_os("PG_BIN").filter(|dir| !dir.is_empty()) {
        places.push(PathBuf::from(dir));
    }
    if let Some(path) = std::env::var_os("PATH") {
        places.extend(std::env::split_paths(&path));
    }
    for (parent, prefix) in [
        ("/usr/lib/postgresql", ""),
        ("/opt/homebrew/opt", "postgresql"),
        ("/usr/local/opt", "postgresql"),
    ] {
        places.extend(versions_below(Path::new(parent), prefix));
    }
    places.push(PathBuf::from("/usr/pgsql/bin"));
    places
}

/// `<parent>/<prefix…>/bin`, newest version first.
fn versions_below(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(parent) else {
        return Vec::new();
    };
    let mut versions: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let rest = name.strip_prefix(prefix)?;
            let number = rest.trim_start_matches('@').parse().unwrap_or(0);
            Some((number, entry.path().join("bin")))
        })
        .collect();
    versions.sort_by(|a, b| b.cmp(a));
    versions.into_iter().map(|(_, dir)| dir).collect()
}

/// The full path of a program, if `PATH` leads to it.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

fn advice() -> &'static str {
    for (manager, advice) in [
        ("apt-get", "apt-get install postgresql"),
        ("dnf", "dnf install postgresql-server"),
        ("pacman", "pacman -S postgresql"),
        ("apk", "apk add postgresql"),
        ("brew", "brew install postgresql"),
    ] {
        if on_path(manager).is_some() {
            return advice;
        }
    }
    "install PostgreSQL 15 or newer"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_what_the_server_says() {
        let major = |text| major_of(text);
        assert_eq!(
            major("postgres (PostgreSQL) 15.13 (Debian 15.13-0)").as_deref(),
            Some("15")
        );
        assert_eq!(
            major("postgres (PostgreSQL) 18beta1").as_deref(),
            Some("18")
        );
        assert_eq!(major("postgres (PostgreSQL) 9.6.1"), None);
        assert_eq!(major(""), None);
    }

    #[test]
    fn without_programs_one_line_says_what_to_install() {
        let said = Binaries::find_in(vec![PathBuf::from("/nonexistent")], None)
            .unwrap_err()
            .to_string();
        assert!(said.starts_with("no PostgreSQL server programs found: "));
        assert!(said.contains("install") && !said.contains('\n'), "{said}");
    }

    #[test]
    fn a_cluster_gets_the_version_that_made_it() {
        let set = |major: &str| Binaries {
            dir: PathBuf::from(format!("/{major}")),
            major: major.to_owned(),
        };
        let found = [set("17"), set("15")];
        assert_eq!(choose(&found, Some("15")), Some(&found[1]));
        assert_eq!(choose(&found, None), Some(&found[0]));
        assert_eq!(choose(&found, Some("14")), None);
    }
}
