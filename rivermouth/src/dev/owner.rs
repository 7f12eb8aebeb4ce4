//! Who PostgreSQL runs as, and directories that this user can enter.
//!
//! It is ourselves, unless we are root: then `postgres`, or `nobody` where there is no such user.

use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use nix::unistd::{Gid, Uid, User, chown};
use tokio::process::Command;

/// Unix socket addresses hold 108 bytes on Linux and 104 on macOS, the file's own name included.
const SOCKET_DIR_BYTES_MAX: usize = 80;
/// For root whose data directory is closed to others, as `/root` is.
const SHARED_HOME: &str = "/var/lib/rivermouth";

/// The user that owns and runs the cluster.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    uid: Uid,
    gid: Gid,
    /// Set when the programs have to be started as another user than ourselves.
    drop_privileges: bool,
}

impl Owner {
    pub(crate) fn choose() -> anyhow::Result<Self> {
        let ours = Uid::effective();
        if !ours.is_root() {
            return Ok(Owner {
                uid: ours,
                gid: Gid::effective(),
                drop_privileges: false,
            });
        }
        for name in ["postgres", "nobody"] {
            if let Ok(Some(user)) = User::from_name(name) {
                return Ok(Owner {
                    uid: user.uid,
                    gid: user.gid,
                    drop_privileges: true,
                });
            }
        }
        bail!(
            "PostgreSQL does not run as root and there is no user postgres or nobody: \
             start as another user, or give a DATABASE_URL"
        )
    }

    /// The directory for the cluster: the data directory, or a place of its own under `/var/lib` when the
    /// owner cannot enter that one. The same data directory always leads to the same place.
    pub(crate) fn home(&self, data_dir: &Path) -> anyhow::Result<PathBuf> {
        if !self.drop_privileges || self.can_enter(data_dir) {
            return Ok(data_dir.to_owned());
        }
        let shared = Path::new(SHARED_HOME);
        std::fs::create_dir_all(shared).with_context(|| format!("making {SHARED_HOME}"))?;
        std::fs::set_permissions(shared, std::fs::Permissions::from_mode(0o755))?;
        let home = shared.join(short_name(data_dir));
        if !home.exists() {
            self.make_dir(&home)?;
        }
        Ok(home)
    }

    /// Makes one directory of mode 0700 that belongs to the owner.
    pub(crate) fn make_dir(&self, dir: &Path) -> anyhow::Result<()> {
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(dir)
            .and_then(|()| chown(dir, Some(self.uid), Some(self.gid)).map_err(Into::into))
            .with_context(|| format!("making {}", dir.display()))
    }

    /// Where the socket goes: inside the cluster's directory, or under `/tmp` when that name is too long.
    /// A directory that is already there must be the owner's alone, or somebody else could listen.
    pub(crate) fn socket_dir(&self, cluster_dir: &Path) -> anyhow::Result<PathBuf> {
        let inside = cluster_dir.to_owned();
        if inside.as_os_str().len() <= SOCKET_DIR_BYTES_MAX {
            return Ok(inside);
        }
        let short = PathBuf::from(format!("/tmp/rivermouth-{}", short_name(cluster_dir)));
        if !short.exists() {
            self.make_dir(&short)?;
        }
        let facts = std::fs::symlink_metadata(&short)?;
        let private =
            facts.is_dir() && facts.uid() == self.uid.as_raw() && facts.mode() & 0o077 == 0;
        if !private {
            bail!("{} is there and belongs to somebody else", short.display());
        }
        Ok(short)
    }

    /// A command that runs as the owner, in a directory that the owner can enter.
    pub(crate) fn command(&self, program: &Path, dir: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(dir).env("LC_ALL", "C");
        // Settings meant for clients of other databases would change what the tools do.
        for variable in [
            "PGDATA",
            "PGHOST",
            "PGPORT",
            "PGUSER",
            "PGDATABASE",
            "PGOPTIONS",
        ] {
            command.env_remove(variable);
        }
        if self.drop_privileges {
            command.uid(self.uid.as_raw()).gid(self.gid.as_raw());
        }
        command
    }

    fn can_enter(&self, dir: &Path) -> bool {
        dir.ancestors().all(|part| {
            std::fs::metadata(part).is_ok_and(|facts| {
                let mode = facts.mode();
                let bit = if facts.uid() == self.uid.as_raw() {
                    0o100
                } else if facts.gid() == self.gid.as_raw() {
                    0o010
                } else {
                    0o001
                };
                mode & bit != 0
            })
        })
    }
}

fn short_name(path: &Path) -> String {
    fingerprint(path.as_os_str().as_encoded_bytes())
}

/// Twelve hexadecimal digits that are the same for the same bytes, whoever compiled this (FNV-1a).
pub(crate) fn fingerprint(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{:012x}", hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_closed_to_others_is_not_used_for_another_user() {
        let stranger = Owner {
            uid: Uid::from_raw(54_321),
            gid: Gid::from_raw(54_321),
            drop_privileges: true,
        };
        let dir = std::env::temp_dir().join(format!("owner-{}", uuid::Uuid::new_v4()));
        std::fs::DirBuilder::new().mode(0o700).create(&dir).unwrap();
        assert!(!stranger.can_enter(&dir));
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o711)).unwrap();
        assert!(stranger.can_enter(&dir));
        std::fs::remove_dir(&dir).unwrap();
    }

    #[test]
    fn the_same_directory_has_the_same_short_name() {
        assert_eq!(short_name(Path::new("/a")), short_name(Path::new("/a")));
        assert_ne!(short_name(Path::new("/a")), short_name(Path::new("/b")));
        assert_eq!(short_name(Path::new("/a")).len(), 12);
    }
}
