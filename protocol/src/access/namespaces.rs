//! Which namespaces an installation has besides the built-in ones, and who reads and writes them.

use std::collections::BTreeMap;
use std::str::FromStr;

/// Who may read or write in a custom namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Who {
    /// Whoever holds the capability there by role, as in `session`.
    #[default]
    Role,
    /// Everyone signed in: to read as a viewer, to write as a player.
    Everyone,
    /// Backend services only.
    Backends,
}

/// The rules of one custom namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Policy {
    /// Who reads.
    pub read: Who,
    /// Who writes.
    pub write: Who,
    /// Whether joining and leaving become activity events.
    pub activity: bool,
}

/// The namespaces of an installation. The built-in ones (`session`, `docs`, `user`, `jobs`,
/// `broadcast`, `system`, and the views `activity` and `presence`) are always there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespaces {
    custom: BTreeMap<String, Policy>,
}

/// A namespace that cannot be configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadNamespace {
    /// Not `[a-z][a-z0-9_]{0,31}`.
    #[error("{0:?} is not a namespace: it takes [a-z][a-z0-9_]{{0,31}}")]
    Name(String),
    /// A built-in one, whose rules are fixed.
    #[error("{0} is built in, its rules cannot be changed")]
    BuiltIn(String),
    /// An option that is not known.
    #[error(
        "{0:?} is not an option of a namespace: read=, write= (role, everyone, backends) or activity"
    )]
    Option(String),
}

const BUILT_IN: &[&str] = &[
    "session",
    "docs",
    "user",
    "jobs",
    "broadcast",
    "system",
    "activity",
    "presence",
];

impl Namespaces {
    /// Adds a custom namespace.
    ///
    /// # Errors
    /// [`BadNamespace`] for a malformed name or a built-in one.
    pub fn with(mut self, name: &str, policy: Policy) -> Result<Self, BadNamespace> {
        if BUILT_IN.contains(&name) {
            return Err(BadNamespace::BuiltIn(name.into()));
        }
        let mut bytes = name.bytes();
        let formed = bytes.next().is_some_and(|b| b.is_ascii_lowercase())
            && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            && name.len() <= 32;
        if !formed {
            return Err(BadNamespace::Name(name.into()));
        }
        self.custom.insert(name.into(), policy);
        Ok(self)
    }

    /// The rules of a custom namespace; `None` when it is not configured or built in.
    pub fn custom(&self, name: &str) -> Option<Policy> {
        self.custom.get(name).copied()
    }
}

/// The form of configuration: `rooms;feeds:read=everyone,write=backends;boards:activity`. Blanks
/// around names and options do not count; the empty text is no custom namespace.
impl FromStr for Namespaces {
    type Err = BadNamespace;

    fn from_str(text: &str) -> Result<Self, BadNamespace> {
        let mut namespaces = Namespaces::default();
        for entry in text.split(';').map(str::trim).filter(|e| !e.is_empty()) {
            let (name, options) = entry.split_once(':').unwrap_or((entry, ""));
            let mut policy = Policy::default();
            for option in options.split(',').map(str::trim).filter(|o| !o.is_empty()) {
                match option.split_once('=') {
                    Some(("read", who)) => policy.read = who_of(who, option)?,
                    Some(("write", who)) => policy.write = who_of(who, option)?,
                    None if option == "activity" => policy.activity = true,
                    _ => return Err(BadNamespace::Option(option.into())),
                }
            }
            namespaces = namespaces.with(name.trim(), policy)?;
        }
        Ok(namespaces)
    }
}

fn who_of(word: &str, option: &str) -> Result<Who, BadNamespace> {
    match word {
        "role" => Ok(Who::Role),
        "everyone" => Ok(Who::Everyone),
        "backends" => Ok(Who::Backends),
        _ => Err(BadNamespace::Option(option.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_reads_names_and_rules() {
        let text = " rooms ; feeds:read=everyone, write=backends;boards:activity;";
        let namespaces: Namespaces = text.parse().unwrap();
        assert_eq!(namespaces.custom("rooms"), Some(Policy::default()));
        assert_eq!(
            namespaces.custom("feeds"),
            Some(Policy {
                read: Who::Everyone,
                write: Who::Backends,
                activity: false
            })
        );
        assert!(namespaces.custom("boards").unwrap().activity);
        assert_eq!(namespaces.custom("session"), None);
        assert_eq!("".parse(), Ok(Namespaces::default()));
    }

    #[test]
    fn built_in_and_malformed_namespaces_are_refused() {
        for name in BUILT_IN {
            assert_eq!(
                name.parse::<Namespaces>(),
                Err(BadNamespace::BuiltIn((*name).into()))
            );
        }
        for name in ["Rooms", "1rooms", "a.b", "a-b", &"a".repeat(33)] {
            assert_eq!(
                name.parse::<Namespaces>(),
                Err(BadNamespace::Name(name.into()))
            );
        }
        for options in ["read=all", "write", "readonly", "read=role=x"] {
            let text = format!("rooms:{options}");
            assert!(
                matches!(text.parse::<Namespaces>(), Err(BadNamespace::Option(_))),
                "{text}"
            );
        }
    }
}
