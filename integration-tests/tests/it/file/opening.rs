//! One process at a time has the file.

use std::path::Path;
use std::time::{Duration, Instant};

use libkv_core::{Error, ErrorKind, Store, StoreExt};

use super::child::{self, Child, say, wait_for_the_end};
use super::{PATIENCE, Place, open, open_within, run};

const SHORT_WAIT: Duration = Duration::from_millis(300);

/// Has the file until it is told that it is enough.
pub(super) fn hold(file: &Path) {
    run(async {
        say("opening");
        let store = open(file).await;
        say("open");
        wait_for_the_end();
        store.close().await.unwrap();
    });
}

/// Opens the file, waiting as many milliseconds as told, and says how it went.
pub(super) fn open_once(file: &Path, wait: &str) {
    let wait = Duration::from_millis(wait.parse().unwrap());
    run(async {
        match open_within(file, wait).await {
            Ok(_) => say("open"),
            Err(error) => say(format_args!("{:?} {error}", error.kind())),
        }
    });
}

fn holder(file: &Path) -> Child {
    let holder = child::start("hold", file, "");
    assert_eq!((&*holder.line(), &*holder.line()), ("opening", "open"));
    holder
}

fn assert_names(error: &Error, holder: &str) {
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.to_string().contains(holder), "{error} does not name {holder}");
    assert!(error.is_transient(), "{error}");
}

#[test]
fn a_second_process_waits_and_is_told_who_has_the_file() {
    let place = Place::new();
    let holder = holder(&place.file());
    let begun = Instant::now();
    let error = run(open_within(&place.file(), SHORT_WAIT)).unwrap_err();
    assert!(begun.elapsed() >= SHORT_WAIT, "it gave up after {:?}", begun.elapsed());
    assert_names(&error, &format!("process {} ", holder.id()));
    assert!(error.to_string().contains(place.file().to_str().unwrap()), "{error}");
}

/// Whoever only looks into the file does not have it, nor do those who wait as well.
#[test]
fn only_the_one_who_has_the_file_is_named() {
    let place = Place::new();
    run(async { open(&place.file()).await.close().await.unwrap() });
    let reader = std::process::Command::new("sleep")
        .arg("60")
        .stdin(std::fs::File::open(place.file()).unwrap())
        .spawn();
    let mut reader = reader.unwrap();
    let holder = holder(&place.file());
    let waiting = child::start("open", &place.file(), &PATIENCE.as_millis().to_string());
    let file = place.file();
    let errors = run(async {
        let many = (0..8).map(|_| open_within(&file, SHORT_WAIT));
        futures_util::future::join_all(many).await
    });
    for error in errors {
        assert_names(&error.unwrap_err(), &format!("process {} ", holder.id()));
    }
    reader.kill().unwrap();
    reader.wait().unwrap();
    assert!(holder.wait().success());
    assert_eq!(waiting.line(), "open");
}

#[test]
fn a_second_process_gets_the_file_when_the_first_lets_go() {
    let place = Place::new();
    for killed in [false, true] {
        let mut holder = holder(&place.file());
        let second = child::start("open", &place.file(), &PATIENCE.as_millis().to_string());
        assert_eq!(second.line_within(SHORT_WAIT), None, "two processes have the file");
        if killed {
            drop(holder.kill());
        } else {
            holder.let_go();
        }
        assert_eq!(second.line(), "open");
    }
}

#[test]
fn a_second_opening_in_one_process_is_told_so() {
    let place = Place::new();
    run(async {
        let store = open(&place.file()).await;
        let error = open_within(&place.file(), SHORT_WAIT).await.unwrap_err();
        assert_names(&error, "this very process");
        let handle = store.new_handle().await.unwrap();
        handle.put("a", "1").await.expect("a further handle is how it is done");
    });
}

/// Processes that begin a file at the same time: one has it first, and the others after it.
#[test]
fn a_file_is_begun_once() {
    for _ in 0..10 {
        let place = Place::new();
        let wait = PATIENCE.as_millis().to_string();
        let many: Vec<Child> = (0..4).map(|_| child::start("open", &place.file(), &wait)).collect();
        for child in many {
            assert_eq!(child.line(), "open");
        }
        let left: Vec<_> = std::fs::read_dir(place.folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }
}
