//! How keys are named in etcd, and names that no key can express.

use futures_util::future::join_all;
use integration_tests::{Fixture, run};
use libkv_core::{Key, StoreExt};

use super::etcdctl::Etcdctl;
use super::{Plain, open_url};
use crate::harness::etcd;
use crate::servers::{peers, unique};

async fn etcdctl() -> Etcdctl<'static> {
    Etcdctl::of(etcd::shared().await.server())
}

#[tokio::test]
async fn without_a_root_a_key_is_exactly_its_text() {
    peers::without_a_root_a_key_is_exactly_its_text::<Plain>(&etcdctl().await).await;
}

#[tokio::test]
async fn a_root_is_put_in_front_with_one_slash() {
    peers::a_root_is_put_in_front_with_one_slash::<Plain>(&etcdctl().await).await;
}

#[tokio::test]
async fn a_prefix_is_raw_text_in_front() {
    let (etcdctl, top) = (etcdctl().await, unique());
    let endpoint = etcd::shared().await.endpoint();
    for prefix in [format!("/{top}/"), format!("{top}//"), format!("{top}:"), format!("{top} ü%")]
    {
        let encoded = prefix.replace('%', "%25").replace(' ', "%20");
        let url = format!("etcd://{endpoint}?prefix={encoded}");
        let store = open_url(&url).await.expect("the server is there");
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

#[test]
fn foreign_names_are_skipped_counted_and_removed_with_their_tree() {
    run(Plain, "etcd::names", |f| async move {
        let (etcdctl, foreign) = (etcdctl().await, FOREIGN.len() + 1);
        let put = async |dir: &str| put_foreign(&f, dir).await;
        peers::foreign_names_are_skipped_counted_and_removed_with_their_tree(
            &f, &etcdctl, foreign, put,
        )
        .await;
    });
}

#[test]
fn a_directory_with_foreign_names_only_is_there_and_empty() {
    run(Plain, "etcd::names", |f| async move {
        let put = async |dir: &str| put_foreign(&f, dir).await;
        peers::a_directory_with_foreign_names_only_is_there_and_empty(&f, put).await;
    });
}
