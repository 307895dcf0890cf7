//! File systems of a test's own, in memory: small ones that get full, and read-only ones.

use std::path::Path;
use std::process::Command;

use super::Place;

const INSIDE: &str = "LIBKV_FILE_INSIDE";

/// Runs a test where it may mount: here, or in a name space of its own.
pub(super) fn where_mounting_is_allowed(test: &str, body: impl FnOnce()) {
    match try_mount() {
        Ok(()) => body(),
        Err(refusal) if std::env::var_os(INSIDE).is_some() => cannot_mount(&refusal),
        Err(refusal) => {
            let program = std::env::current_exe().unwrap();
            let mut inside = Command::new("unshare");
            inside.args(["--map-root-user", "--mount"]).arg(program).env(INSIDE, "yes");
            match inside.args(["--exact", test, "--nocapture"]).status() {
                Ok(status) if status.success() => {}
                Ok(status) if status.code() == Some(101) => panic!("{test} failed inside unshare"),
                _ => cannot_mount(&refusal),
            }
        }
    }
}

fn cannot_mount(refusal: &str) -> ! {
    panic!(
        "this test needs a small file system in memory and cannot mount one ({refusal}): run the \
         tests as root, or allow user name spaces, as with `sysctl kernel.unprivileged_userns_clone=1`"
    )
}

fn try_mount() -> Result<(), String> {
    let place = Place::new();
    let folder = place.folder.path();
    mount(&["-t", "tmpfs", "-o", "size=64k", "tmpfs"], folder)?;
    unmount(folder);
    Ok(())
}

/// A file system in memory.
pub(super) struct Small {
    place: Place,
}

impl Small {
    /// One of so many KiB.
    pub(super) fn new(size: usize) -> Self {
        let place = Place::new();
        let options = format!("size={size}k");
        let mounted = mount(&["-t", "tmpfs", "-o", &options, "tmpfs"], place.folder.path());
        mounted.expect("a small file system can be mounted");
        Self { place }
    }

    pub(super) fn path(&self) -> &Path {
        self.place.folder.path()
    }

    pub(super) fn file(&self) -> std::path::PathBuf {
        self.place.file()
    }

    /// Makes it so many KiB large.
    pub(super) fn resize(&self, size: usize) {
        self.remount(&format!("remount,size={size}k"));
    }

    pub(super) fn make_read_only(&self) {
        self.remount("remount,ro");
    }

    fn remount(&self, options: &str) {
        mount(&["-o", options], self.path()).expect("it can be mounted otherwise");
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        unmount(self.path());
    }
}

fn mount(how: &[&str], folder: &Path) -> Result<(), String> {
    let output = Command::new("mount").args(how).arg(folder).output();
    let output = output.map_err(|error| format!("mount: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

/// Also where something is still open in it.
fn unmount(folder: &Path) {
    // Where it fails, the folder cannot be removed either, and stays behind.
    let _ = Command::new("umount").arg("--lazy").arg(folder).status();
}
