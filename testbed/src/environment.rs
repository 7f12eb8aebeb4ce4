//! What the surroundings have to give.

use std::path::PathBuf;

/// A variable that the tests cannot do without.
pub(crate) fn needed(name: &str) -> String {
    match std::env::var(name) {
        Ok(value) if !value.is_empty() => value,
        _ => panic!(
            "{name} is not set: run `make test`, which starts Kafka and PostgreSQL and sets it"
        ),
    }
}

/// The Python that has `testbed/python/requirements.txt`.
pub fn python() -> PathBuf {
    std::env::var_os("RIVERMOUTH_TEST_PYTHON")
        .map_or_else(|| PathBuf::from("python3"), PathBuf::from)
}

/// The root of the work tree.
pub fn workspace() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies in the workspace")
        .to_owned()
}
