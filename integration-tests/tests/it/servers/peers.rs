//! What libkv writes another program reads, and the other way round.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::future::join_all;
use integration_tests::{Fixture, key, lines_about};
use libkv_core::{ErrorKind, Event, Foreign, Key, LifetimeKind, ListOptions, StoreExt};

use super::{Backend, unique};

/// Another program at the same server.
pub(crate) trait Peer {
    async fn write(&self, name: &str, value: &[u8]);

    async fn remove(&self, name: &str);

    async fn remove_below(&self, prefix: &str);

    /// All names that begin so, with their values.
    async fn content(&self, prefix: &str) -> BTreeMap<Vec<u8>, Vec<u8>>;
}

/// Names that shells, URLs and JSON would each like to change.
pub(crate) const KEYS: &[&str] = &[
    "plain",
    "deep/er/still",
    "with a space/and  two",
    "100%/%2F/%s",
    "it's \"quoted\"",
    r"back\slash/\n",
    "ümläut/ß/é",
    "漢字/キー/열쇠",
    "①/ﬁ/x",
    "a+b&c=d?e#f;g,h",
    "$HOME/`id`/*/{x}/~",
    "-w/--prefix",
    "UPPER/lower",
];

/// Values of which each breaks another careless way of passing bytes on.
pub(crate) fn values() -> Vec<Bytes> {
    vec![
        Bytes::from_iter(0..=u8::MAX),
        Bytes::new(),
        Bytes::from_static(b"\0"),
        Bytes::from_static(b"\0\0 between \0"),
        Bytes::from_static(b"\xff\xfe\x80"),
        Bytes::from_static(b"a line\n"),
        Bytes::from_static(b"\r\n\t \n\n"),
        Bytes::from_static(b"@/etc/passwd"),
        Bytes::from_static(b"{\"json\": \"\\u0000\"}"),
        Bytes::from(vec![0xa5; 70_000]),
    ]
}

/// Each key with another value, for each way to shift them.
fn pairs(keys: &[&str], shift: usize) -> BTreeMap<String, Bytes> {
    let values = values();
    let pair = |(at, key): (usize, &&str)| {
        ((*key).to_owned(), values[(at + shift) % values.len()].clone())
    };
    keys.iter().enumerate().map(pair).collect()
}

/// The name of a key below the root of a case.
pub(crate) fn name(f: &Fixture, key: &str) -> String {
    format!("{}/{key}", f.root())
}

pub(crate) async fn what_is_written_here_is_read_there(
    f: &Fixture,
    peer: &impl Peer,
    keys: &[&str],
) {
    for shift in 0..values().len() {
        let written = pairs(keys, shift);
        for (key, value) in &written {
            f.store.put(key, value.clone()).await.expect("a put");
        }
        let expected: BTreeMap<_, _> = written
            .into_iter()
            .map(|(key, value)| (name(f, &key).into_bytes(), value.to_vec()))
            .collect();
        assert_eq!(peer.content(&name(f, "")).await, expected);
    }
    for key in keys {
        f.store.delete(*key).await.expect("the key is there");
    }
    assert_eq!(peer.content(&name(f, "")).await, BTreeMap::new());
}

pub(crate) async fn what_is_written_there_is_read_here(
    f: &Fixture,
    peer: &impl Peer,
    keys: &[&str],
) {
    let mut watch = f.follow(f.store.watch_tree(Key::root()).expect("a directory"));
    watch.until_synced().await;
    for shift in [0, 5] {
        let expected = pairs(keys, shift);
        let putting = expected.iter().map(|(key, value)| {
            let name = name(f, key);
            async move { peer.write(&name, value).await }
        });
        join_all(putting).await;
        let listed = f.store.list(Key::root()).await.expect("a listing");
        let listed: BTreeMap<_, _> =
            listed.into_iter().map(|pair| (pair.key.to_string(), pair.value)).collect();
        assert_eq!(listed, expected);
        for (key, value) in &expected {
            let pair = f.store.get(key).await.expect("the key is there");
            assert_eq!((&pair.value, pair.lifetime), (value, LifetimeKind::Permanent));
        }
        watch
            .until(|state| {
                let told = state.iter().map(|(key, pair)| (key.to_string(), &pair.value));
                told.eq(expected.iter().map(|(key, value)| (key.clone(), value)))
            })
            .await;
    }
    let deleting = keys.iter().map(|key| {
        let name = name(f, key);
        async move { peer.remove(&name).await }
    });
    join_all(deleting).await;
    watch.until(BTreeMap::is_empty).await;
    let error = f.store.get(keys[0]).await.expect_err("it was deleted");
    assert_eq!(error.kind(), ErrorKind::KeyNotFound);
}

/// What is there below a prefix, as text.
async fn texts(peer: &impl Peer, prefix: &str) -> Vec<(String, String)> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    let content = peer.content(prefix).await;
    content.into_iter().map(|(name, value)| (text(name), text(value))).collect()
}

pub(crate) async fn without_a_root_a_key_is_exactly_its_text<B: Backend>(peer: &impl Peer) {
    let top = unique();
    let url = format!("{}://{}", B::SCHEME, B::shared().await);
    let store = B::open_url(&url).await.unwrap();
    store.put(format!("{top}/a b"), "1").await.unwrap();
    assert_eq!(texts(peer, &top).await, [(format!("{top}/a b"), "1".to_owned())]);
    peer.write(&top, b"2").await;
    assert_eq!(store.get(&top).await.unwrap().value, "2");
    store.delete_tree(&top).await.unwrap();
    assert_eq!(texts(peer, &top).await, []);
}

pub(crate) async fn a_root_is_put_in_front_with_one_slash<B: Backend>(peer: &impl Peer) {
    let top = unique();
    // A URL may have doubled slashes and one at the end.
    for root in [format!("/{top}/y"), format!("//{top}//y/")] {
        let url = format!("{}://{}{root}", B::SCHEME, B::shared().await);
        let store = B::open_url(&url).await.unwrap();
        store.put("a/b", "1").await.unwrap();
        assert_eq!(texts(peer, &top).await, [(format!("{top}/y/a/b"), "1".to_owned())]);
        for outside in [format!("{top}/y"), format!("{top}/y2/a"), format!("{top}/z")] {
            peer.write(&outside, b"outside").await;
        }
        peer.write(&format!("{top}/y/c"), b"2").await;
        let listed = store.list(Key::root()).await.unwrap();
        let listed: Vec<_> = listed.iter().map(|pair| pair.key.as_str()).collect();
        assert_eq!(listed, ["a/b", "c"]);
        store.delete_tree(Key::root()).await.unwrap();
        assert_eq!(texts(peer, &top).await.len(), 3, "what is outside stays");
        peer.remove_below(&top).await;
    }
}

/// The counts in the warnings about skipped names, as they were logged.
fn skipped(f: &Fixture, dir: &str) -> Vec<usize> {
    let backend = format!("backend={}", f.store.backend());
    let lines = lines_about(&format!("key={dir}"));
    let lines = lines.iter().filter(|line| line.contains("names that are no keys were skipped"));
    let count = |line: &String| {
        assert!(line.contains("WARN") && line.contains(&backend), "{line}");
        let (_, count) = line.split_once("count=").expect("a count");
        let digits: String = count.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().expect("a count")
    };
    lines.map(count).collect()
}

/// `put` puts so many names below a directory that are no keys.
pub(crate) async fn foreign_names_are_skipped_counted_and_removed_with_their_tree(
    f: &Fixture,
    peer: &impl Peer,
    foreign: usize,
    put: impl AsyncFn(&str),
) {
    let dir = unique();
    let good = format!("{dir}/good");
    let mut watch = f.follow(f.store.watch_tree(&dir).expect("a directory"));
    watch.until_synced().await;
    put(&dir).await;
    f.store.put(&good, "1").await.expect("a put");
    assert_eq!(watch.put().await.key.as_str(), good, "the first that is told");
    assert_eq!(skipped(f, &dir).iter().sum::<usize>(), foreign);

    let before = skipped(f, &dir).len();
    let listed = f.store.list(&dir).await.expect("a listing");
    assert_eq!(listed.iter().map(|pair| pair.key.as_str()).collect::<Vec<_>>(), [&*good]);
    assert_eq!(skipped(f, &dir)[before..], [foreign]);
    let mut second = f.follow(f.store.watch_tree(&dir).expect("a directory"));
    let (_, told) = second.until_synced().await;
    assert!(matches!(&told[..], [Event::Put(pair)] if pair.key.as_str() == good), "{told:?}");
    assert_eq!(skipped(f, &dir)[before + 1..], [foreign]);

    let dir_key = key(&dir);
    let fails = || ListOptions::default().with_foreign(Foreign::Fail);
    let error = f.store.list_opts(&dir_key, fails()).collect_pairs().await.expect_err("one is");
    assert_eq!((error.kind(), error.key()), (ErrorKind::InvalidKey, Some(&dir_key)), "{error}");
    assert!(!error.is_transient(), "{error}");

    f.other.delete_tree(&dir).await.expect("a tree");
    assert_eq!(peer.content(&name(f, "")).await, BTreeMap::new());
    for watch in [&mut watch, &mut second] {
        assert_eq!(watch.delete().await.0.as_str(), good);
    }
    // Nothing else was told of them, and a directory of nothing is none.
    f.store.put(&good, "2").await.expect("a put");
    assert_eq!(watch.put().await.value, "2");
    f.store.delete(&good).await.expect("the key is there");
    let error = f.store.list_opts(&dir_key, fails()).collect_pairs().await.expect_err("gone");
    assert_eq!(error.kind(), ErrorKind::KeyNotFound, "{error}");
}

/// A foreign name beside the last good key still makes the directory one that is there.
pub(crate) async fn a_directory_with_foreign_names_only_is_there_and_empty(
    f: &Fixture,
    put: impl AsyncFn(&str),
) {
    let dir = unique();
    put(&dir).await;
    assert_eq!(f.store.list(&dir).await.expect("something is there"), []);
    assert!(!f.store.exists(&dir).await.expect("a read"));
}
