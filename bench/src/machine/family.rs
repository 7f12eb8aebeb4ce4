//! Who descends from whom.

use std::fs;

use anyhow::Context as _;

/// A process with its parent.
type Kinship = (i32, i32);

/// The processes that another has started or adopted and that still run.
pub fn children_of(parent: i32) -> anyhow::Result<Vec<i32>> {
    let all = processes()?.into_iter();
    Ok(all
        .filter(|(_, its)| *its == parent)
        .map(|(pid, _)| pid)
        .collect())
}

/// A process, and everything that descends from it and still runs.
pub fn family_of(root: i32) -> anyhow::Result<Vec<i32>> {
    Ok(descent(root, &processes()?))
}

fn descent(root: i32, all: &[Kinship]) -> Vec<i32> {
    let mut family = vec![root];
    let mut looked_at = 0;
    while let Some(&parent) = family.get(looked_at) {
        looked_at += 1;
        family.extend(
            all.iter()
                .filter(|(pid, its)| *its == parent && *pid != root)
                .map(|(pid, _)| pid),
        );
    }
    family
}

fn processes() -> anyhow::Result<Vec<Kinship>> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc").context("reading /proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // Processes come and go while they are looked at.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        all.extend(parent(&stat).map(|parent| (pid, parent)));
    }
    Ok(all)
}

/// The parent that a line of `/proc/PID/stat` tells: the second word after the name.
fn parent(stat: &str) -> Option<i32> {
    // The name may hold anything, but ends with the last bracket.
    let (_, after) = stat.rsplit_once(')')?;
    after.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_of_children_belong_to_the_family_and_others_do_not() {
        let all = [(2, 1), (5, 2), (7, 5), (6, 2), (3, 1), (4, 3)];
        assert_eq!(descent(2, &all), [2, 5, 6, 7]);
    }

    #[test]
    fn a_process_whose_name_is_odd_has_its_parent() {
        assert_eq!(parent("12 (a) S (b c) S 34 12 12 0"), Some(34));
        assert_eq!(parent(""), None);
    }
}
