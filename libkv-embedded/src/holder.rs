//! Who has a file, where the system shows it: Linux lists the locks in `/proc/locks`.

use std::fs::{self, Metadata};
use std::path::Path;

/// The process that has the lock on a file.
pub(crate) fn name(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let wanted = fs::metadata(&path).ok().and_then(|about| place(&about));
    let locks: Vec<(&str, &str)> = locks.lines().filter_map(exclusive).collect();
    let named = locks.iter().find(|(_, place)| Some(*place) == wanted.as_deref());
    // Some file systems are listed under another number than the one they tell; then it is who has
    // a lock and this file.
    let holder = named.or_else(|| locks.iter().find(|(id, _)| has_open(id, &path)));
    holder.map(|(id, _)| describe(id))
}

/// The process and the place of an exclusive lock on a whole file, as in
/// `1: FLOCK  ADVISORY  WRITE 1418 fe:00:753934 0 EOF`.
fn exclusive(line: &str) -> Option<(&str, &str)> {
    let mut words = line.split_whitespace().skip(1);
    let how = [words.next()?, words.next()?, words.next()?];
    let (id, place) = (words.next()?, words.next()?);
    let known = id.parse::<u32>().is_ok_and(|id| id > 0);
    (how == ["FLOCK", "ADVISORY", "WRITE"] && known).then_some((id, place))
}

/// Where a file is, as `/proc/locks` writes it: device and number.
#[cfg(target_os = "linux")]
fn place(about: &Metadata) -> Option<String> {
    use std::os::linux::fs::MetadataExt;
    let device = about.st_dev();
    let major = ((device >> 8) & 0xfff) | ((device >> 32) & !0xfff);
    let minor = (device & 0xff) | ((device >> 12) & !0xff);
    Some(format!("{major:02x}:{minor:02x}:{}", about.st_ino()))
}

#[cfg(not(target_os = "linux"))]
fn place(_: &Metadata) -> Option<String> {
    None
}

fn has_open(id: &str, path: &Path) -> bool {
    let files = fs::read_dir(format!("/proc/{id}/fd")).into_iter().flatten().flatten();
    let mut names = files.filter_map(|file| fs::read_link(file.path()).ok());
    names.any(|name| name == path)
}

fn describe(id: &str) -> String {
    if id == std::process::id().to_string() {
        return "this very process".to_owned();
    }
    let program = fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
    match program.trim() {
        "" => format!("process {id}"),
        program => format!("process {id} ({program})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_on_a_whole_file_is_read_and_others_are_not() {
        let line = "1: FLOCK  ADVISORY  WRITE 1418 fe:00:753934 0 EOF";
        assert_eq!(exclusive(line), Some(("1418", "fe:00:753934")));
        for line in [
            "2: OFDLCK ADVISORY  READ -1 00:06:3 0 EOF",
            "3: FLOCK  ADVISORY  READ 1418 fe:00:753934 0 EOF",
            "4: FLOCK  ADVISORY  WRITE 0 fe:00:753934 0 EOF",
            "4: -> FLOCK  ADVISORY  WRITE 1419 fe:00:753934 0 EOF",
            "",
        ] {
            assert_eq!(exclusive(line), None, "{line}");
        }
    }
}
