//! How keys are named in etcd, and names that no key can express.

use futures_util::future::join_all;
use integration_tests::{Fixture, key, lines_about, run};
use libkv_core::{ErrorKind, Event, Foreign, Key, ListOptions, Store, StoreExt};

use super::etcdctl::Etcdctl;
use super::{Plain, open_url};
use crate::harness::etcd;

async fn etcdctl() -> Etcdctl<'static> {
    Etcdctl::of(etcd::shared().await.server())
}

async fn open(rest: &str) -> libkv_etcd::EtcdStore {
    let endpoint = etcd::shared().await.endpoint();
    open_url(&format!("etcd://{endpoint}{rest}")).await.expect("the server is there")
}

/// Text that nobody else has in a name.
fn unique() -> String {
    format!("n{:016x}", fastrand::u64(..))
}

#[tokio::test]
async fn without_a_root_a_key_is_exactly_its_text() {
    let (etcdctl, top) = (etcdctl().await, unique());
    let store = open("").await;
    store.put(format!("{top}/a b"), "1").await.unwrap();
    let found = etcdctl.below(&top).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((&found[0].name, &found[0].value[..]), (&format!("{top}/a b").into(), &b"1"[..]));
    etcdctl.put(&top, b"2").await;
    assert_eq!(store.get(&top).await.unwrap().value, "2");
    store.delete_tree(&top).await.unwrap();
    assert_eq!(etcdctl.below(&top).await, []);
}

#[tokio::test]
async fn a_root_is_put_in_front_with_one_slash() {
    let (etcdctl, top) = (etcdctl().await, unique());
    // A URL may have doubled slashes and one at the end.
    for root in [format!("/{top}/y"), format!("//{top}//y/")] {
        let store = open(&root).await;
        store.put("a/b", "1").await.unwrap();
        let found = etcdctl.below(&top).await;
        let names: Vec<_> = found.iter().map(|stored| &stored.name[..]).collect();
        assert_eq!(names, [format!("{top}/y/a/b").as_bytes()]);
        for outside in [format!("{top}/y"), format!("{top}/y2/a"), format!("{top}/z")] {
            etcdctl.put(&outside, b"outside").await;
        }
        etcdctl.put(&format!("{top}/y/c"), b"2").await;
        let listed = store.list(Key::root()).await.unwrap();
        let listed: Vec<_> = listed.iter().map(|pair| pair.key.as_str()).collect();
        assert_eq!(listed, ["a/b", "c"]);
        store.delete_tree(Key::root()).await.unwrap();
        assert_eq!(etcdctl.below(&top).await.len(), 3, "what is outside stays");
        etcdctl.run(&["del", "--prefix", &top]).await;
    }
}

#[tokio::test]
async fn a_prefix_is_raw_text_in_front() {
    let (etcdctl, top) = (etcdctl().await, unique());
    for prefix in [format!("/{top}/"), format!("{top}//"), format!("{top}:"), format!("{top} ü%")]
    {
        let encoded = prefix.replace('%', "%25").replace(' ', "%20");
        let store = open(&format!("?prefix={encoded}")).await;
        store.put("pods/a", "1").await.unwrap();
        let inside = format!("{prefix}pods/b");
        etcdctl.put(&inside, b"2").await;
        let neighbour = format!("{}2", prefix.trim_end_matches('/'));
        if !neighbour.starts_with(&prefix) {
            etcdctl.put(&neighbour, b"outside").await;
        }
        let found = etcdctl.below(&prefix).await;
        let names: Vec<_> = found.iter().map(|stored| &stored.name[..]).collect();
        assert_eq!(names, [format!("{prefix}pods/a").as_bytes(), inside.as_bytes()]);
        let listed = store.list(Key::root()).await.unwrap();
        let listed: Vec<_> = listed.iter().map(|pair| (pair.key.as_str(), &pair.value)).collect();
        assert_eq!(listed, [("pods/a", &"1".into()), ("pods/b", &"2".into())]);
        let guard = store.new_lock("pods", Default::default()).unwrap().lock().await.unwrap();
        assert_eq!(etcdctl.below(&format!("{prefix}pods/6b76")).await.len(), 1);
        guard.unlock().await.unwrap();
        store.delete_tree(Key::root()).await.unwrap();
        assert_eq!(etcdctl.below(&prefix).await, []);
        if !neighbour.starts_with(&prefix) {
            etcdctl.delete(&neighbour).await;
        }
    }
}

/// What stands behind the directory's name in names that are no keys, as the shell's `printf`
/// takes it.
const FOREIGN: &[&str] = &[
    "/",
    "//",
    "//a",
    "/a/",
    "/a//b",
    r"/\377",
    r"/a\200b/c",
    r"/line\nbreak",
    r"/\001",
    "/..",
    "/./a",
    "/ a",
    r"/\356\200\200",
    "/🗝",
];

/// Puts names of any bytes but zero, which no argument can have.
async fn put_foreign(f: &Fixture, dir: &str) {
    let server = etcd::shared().await.server();
    let long = format!("/{}", "x".repeat(600));
    let names = FOREIGN.iter().copied().chain([&*long]);
    let putting = names.map(|name| async move {
        let name = format!("{}/{dir}{name}", f.root());
        let script = r#"etcdctl put -- "$(printf "$0")" foreign"#;
        server.exec(&["sh", "-c", script, &name]).await.text();
    });
    join_all(putting).await;
}

/// The counts in the warnings about skipped names, as they were logged.
fn skipped(dir: &str) -> Vec<usize> {
    let lines = lines_about(&format!("key={dir}"));
    let lines = lines.iter().filter(|line| line.contains("names that are no keys were skipped"));
    let count = |line: &String| {
        assert!(line.contains("WARN") && line.contains("backend=etcd"), "{line}");
        let (_, count) = line.split_once("count=").expect("a count");
        let digits: String = count.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().expect("a count")
    };
    lines.map(count).collect()
}

#[test]
fn foreign_names_are_skipped_counted_and_removed_with_their_tree() {
    run(Plain, "etcd::names", |f| async move {
        let (dir, foreign) = (unique(), FOREIGN.len() + 1);
        let good = format!("{dir}/good");
        let mut watch = f.follow(f.store.watch_tree(&dir).expect("a directory"));
        watch.until_synced().await;
        put_foreign(&f, &dir).await;
        f.store.put(&good, "1").await.expect("a put");
        assert_eq!(watch.put().await.key.as_str(), good, "the first that is told");
        assert_eq!(skipped(&dir).iter().sum::<usize>(), foreign);

        let before = skipped(&dir).len();
        let listed = f.store.list(&dir).await.expect("a listing");
        assert_eq!(listed.iter().map(|pair| pair.key.as_str()).collect::<Vec<_>>(), [&*good]);
        assert_eq!(skipped(&dir)[before..], [foreign]);
        let mut second = f.follow(f.store.watch_tree(&dir).expect("a directory"));
        let (_, told) = second.until_synced().await;
        assert!(matches!(&told[..], [Event::Put(pair)] if pair.key.as_str() == good), "{told:?}");
        assert_eq!(skipped(&dir)[before + 1..], [foreign]);

        let dir_key = key(&dir);
        let fails = || ListOptions::default().with_foreign(Foreign::Fail);
        let error = f.store.list_opts(&dir_key, fails()).collect_pairs().await.expect_err("one is");
        assert_eq!((error.kind(), error.key()), (ErrorKind::InvalidKey, Some(&dir_key)), "{error}");
        assert!(!error.is_transient(), "{error}");

        f.other.delete_tree(&dir).await.expect("a tree");
        let left = etcdctl().await.below(&format!("{}/", f.root())).await;
        assert_eq!(left, []);
        for watch in [&mut watch, &mut second] {
            assert_eq!(watch.delete().await.0.as_str(), good);
        }
        // Nothing else was told of them, and a directory of nothing is none.
        f.store.put(&good, "2").await.expect("a put");
        assert_eq!(watch.put().await.value, "2");
        f.store.delete(&good).await.expect("the key is there");
        let error = f.store.list_opts(&dir_key, fails()).collect_pairs().await.expect_err("gone");
        assert_eq!(error.kind(), ErrorKind::KeyNotFound, "{error}");
    });
}

/// A foreign name beside the last good key still makes the directory one that is there.
#[test]
fn a_directory_with_foreign_names_only_is_there_and_empty() {
    run(Plain, "etcd::names", |f| async move {
        let dir = unique();
        put_foreign(&f, &dir).await;
        assert_eq!(f.store.list(&dir).await.expect("something is there"), []);
        assert!(!f.store.exists(&dir).await.expect("a read"));
    });
}
