//! File systems of a test's own, in memory: small ones that get full, and read-only ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Place;

/// How many times as much is in the way as is free.
const BALLAST: usize = 3;
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
            let Ok(output) = inside.args(["--exact", test, "--nocapture"]).output() else {
                cannot_mount(&refusal);
            };
            let said = String::from_utf8_lossy(&output.stdout);
            if !said.contains("running ") {
                cannot_mount(&format!("{refusal}; {}", String::from_utf8_lossy(&output.stderr)));
            }
            println!("{said}{}", String::from_utf8_lossy(&output.stderr));
            assert!(said.contains("1 passed"), "{test} failed in a name space of its own");
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
    /// One with so many KiB that are free.
    pub(super) fn new(free: usize) -> Self {
        let place = Place::new();
        let options = format!("size={}k", (1 + BALLAST) * free);
        let mounted = mount(&["-t", "tmpfs", "-o", &options, "tmpfs"], place.folder.path());
        mounted.expect("a small file system can be mounted");
        let small = Self { place };
        fs::write(small.ballast(), vec![0; (BALLAST * free) << 10]).unwrap();
        small
    }

    pub(super) fn path(&self) -> &Path {
        self.place.folder.path()
    }

    pub(super) fn file(&self) -> PathBuf {
        self.place.file()
    }

    /// Makes room for several times as much as there was.
    pub(super) fn make_room(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }

    pub(super) fn make_read_only(&self) {
        mount(&["-o", "remount,bind,ro"], self.path()).expect("it can be made read-only");
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
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
