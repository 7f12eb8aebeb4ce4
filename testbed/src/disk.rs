//! A disk that a test can fill up.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// A file system in memory, as large as it is told to be; gone when dropped.
#[derive(Debug)]
pub struct Disk(TempDir);

impl Disk {
    /// One of `size` (`24m`); `None` where this user may mount nothing.
    pub fn of(size: &str) -> Option<Disk> {
        let dir =
            TempDir::with_prefix("rivermouth-disk-").expect("a temporary directory can be made");
        mount(dir.path(), &format!("size={size},mode=0777")).then_some(Disk(dir))
    }

    /// Its size from now on.
    pub fn grow(&self, size: &str) {
        assert!(mount(self.0.path(), &format!("remount,size={size}")));
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

fn mount(path: &Path, options: &str) -> bool {
    let mut mount = Command::new("mount");
    mount
        .args(["-t", "tmpfs", "-o", options, "rivermouth"])
        .arg(path);
    mount.output().is_ok_and(|done| done.status.success())
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: whoever still has a file open there is on its way out.
        let unmounted = Command::new("umount").arg("-l").arg(self.0.path()).output();
        if !unmounted.is_ok_and(|done| done.status.success()) {
            println!("{} stays mounted", self.0.path().display());
        }
    }
}
