//! What cannot be opened is told clearly, and is as it was afterwards.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use libkv_core::{ErrorKind, Store, StoreExt};

use super::child;
use super::mount::{Small, where_mounting_is_allowed};
use super::{Place, open, open_within, run};

/// Everything in a folder: names, bytes and times.
pub(super) fn picture(folder: &Path) -> Vec<(PathBuf, Option<Vec<u8>>, SystemTime)> {
    let mut picture = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let is_file = entry.file_type().unwrap().is_file();
        let bytes = is_file.then(|| fs::read(entry.path()).unwrap());
        picture.push((entry.path(), bytes, entry.metadata().unwrap().modified().unwrap()));
    }
    picture.sort();
    picture
}

/// Opens, and returns the error's kind and text; nothing in the folder is touched.
pub(super) fn refusal(file: &Path, folder: &Path) -> (ErrorKind, String) {
    let before = picture(folder);
    let error = run(open_within(file, Duration::from_millis(100))).unwrap_err();
    assert!(picture(folder) == before, "it was touched: {error}");
    let text = error.to_string();
    assert!(text.starts_with("file open: "), "{text}");
    assert!(text.contains(file.to_str().unwrap()), "{text} does not name the file");
    assert!(!error.is_transient(), "{text}");
    (error.kind(), text)
}

#[test]
fn what_is_no_file_of_libkv_is_left_alone() {
    for (what, bytes) in [
        ("a text", &b"key = value\n"[..]),
        ("a short one", &b"re"[..]),
        ("nothing but zeros", &[0; 8192][..]),
        ("another database", &b"SQLite format 3\0 and so on"[..]),
    ] {
        let place = Place::new();
        fs::write(place.file(), bytes).unwrap();
        let (kind, text) = refusal(&place.file(), place.folder.path());
        assert_eq!(kind, ErrorKind::InvalidConfig, "{what}: {text}");
        assert!(text.contains("no file of libkv") && text.contains("name another"), "{text}");
    }
}

/// What makes a name for a temporary file makes an empty file.
#[test]
fn an_empty_file_becomes_a_store_and_keeps_its_rights() {
    let place = Place::new();
    fs::write(place.file(), "").unwrap();
    fs::set_permissions(place.file(), Permissions::from_mode(0o600)).unwrap();
    run(async { open(&place.file()).await.put("a", "1").await.unwrap() });
    let mode = fs::metadata(place.file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    run(async { assert_eq!(open(&place.file()).await.get("a").await.unwrap().value, "1") });
}

#[test]
fn what_is_no_plain_file_is_refused() {
    let place = Place::new();
    let folder = place.folder.path();
    let (kind, text) = refusal(folder, folder);
    assert_eq!(kind, ErrorKind::InvalidConfig, "{text}");
    assert!(text.contains("it is a folder"), "{text}");

    let missing = folder.join("missing/store.redb");
    let (kind, text) = refusal(&missing, folder);
    assert_eq!(kind, ErrorKind::InvalidConfig, "{text}");
    assert!(text.contains("its folder does not exist"), "{text}");

    fs::write(place.file(), "text").unwrap();
    let below = place.file().join("store.redb");
    let (kind, text) = refusal(&below, folder);
    assert_eq!(kind, ErrorKind::InvalidConfig, "{text}");
    assert!(text.contains("its folder is a file"), "{text}");

    // Opening one to read would wait for somebody who writes.
    let pipe = folder.join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let (kind, text) = refusal(&pipe, folder);
    assert_eq!(kind, ErrorKind::InvalidConfig, "{text}");
    assert!(text.contains("it is no plain file"), "{text}");
}

#[test]
fn a_link_is_followed_and_a_dangling_one_is_told() {
    let place = Place::new();
    let link = place.folder.path().join("link");
    std::os::unix::fs::symlink(place.file(), &link).unwrap();
    let (kind, text) = refusal(&link, place.folder.path());
    assert_eq!(kind, ErrorKind::InvalidConfig, "{text}");
    assert!(text.contains("it is a link to nowhere"), "{text}");
    run(async { open(&place.file()).await.put("a", "1").await.unwrap() });
    run(async { assert_eq!(open(&link).await.get("a").await.unwrap().value, "1") });
}

#[test]
fn a_file_that_may_not_be_written_is_told() {
    let place = Place::new();
    let folder = place.folder.path();
    run(async {
        let store = open(&place.file()).await;
        store.put("a", "1").await.unwrap();
        store.close().await.unwrap();
    });
    // Everybody may look into it, and nobody may make a file there.
    fs::set_permissions(folder, Permissions::from_mode(0o555)).unwrap();
    let (new, before) = (folder.join("new.redb"), picture_of(&place.file()));
    for (what, file, mode) in [
        ("to read only", place.file(), 0o444),
        ("not to read", place.file(), 0o000),
        ("a new one in a folder that is not ours", new, 0o444),
    ] {
        fs::set_permissions(place.file(), Permissions::from_mode(mode)).unwrap();
        let told = child::start_unprivileged("open", &file, "100").line();
        assert!(told.starts_with("PermissionDenied file open: "), "{what}: {told}");
        assert!(told.contains(file.to_str().unwrap()), "{what}: {told}");
        assert!(told.contains("no permission to read and write"), "{what}: {told}");
        fs::set_permissions(place.file(), Permissions::from_mode(0o444)).unwrap();
        assert_eq!(picture_of(&place.file()), before, "{what}");
    }
    fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
}

fn picture_of(file: &Path) -> (Vec<u8>, SystemTime) {
    (fs::read(file).unwrap(), fs::metadata(file).unwrap().modified().unwrap())
}

#[test]
fn a_read_only_disk_is_told() {
    where_mounting_is_allowed("file::foreign::a_read_only_disk_is_told", || {
        let disk = Small::new(2 << 10);
        run(async {
            let store = open(&disk.file()).await;
            store.put("a", "1").await.unwrap();
            store.close().await.unwrap();
        });
        disk.make_read_only();
        for file in [disk.file(), disk.path().join("new.redb")] {
            let (kind, text) = refusal(&file, disk.path());
            assert_eq!(kind, ErrorKind::PermissionDenied, "{text}");
            assert!(text.contains("its file system is read-only"), "{text}");
        }
    });
}
