//! How keys are named in Consul, and names that no key can express.

use std::collections::BTreeSet;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::iter;
use integration_tests::{Fixture, run};
use libkv_core::{Key, Store, StoreExt, Txn};

use super::Plain;
use super::cli::Cli;
use crate::harness::consul;
use crate::servers::peers;

async fn cli() -> Cli<'static> {
    Cli::of(consul::shared().await.server())
}

#[tokio::test]
async fn without_a_root_a_key_is_exactly_its_text() {
    peers::without_a_root_a_key_is_exactly_its_text::<Plain>(&cli().await).await;
}

#[tokio::test]
async fn a_root_is_put_in_front_with_one_slash() {
    peers::a_root_is_put_in_front_with_one_slash::<Plain>(&cli().await).await;
}

/// What stands behind the directory's name in names that are no keys. Consul has text only.
const FOREIGN: &[&str] = &[
    "/",
    "//",
    "//a",
    "/a/",
    "/a//b",
    "/line\nbreak",
    "/\u{1}",
    "/..",
    "/./a",
    "/ a",
    "/\u{e000}",
    "/🗝",
];

async fn put_foreign(f: &Fixture, dir: &str) {
    let cli = cli().await;
    let long = format!("/{}", "x".repeat(600));
    let names = FOREIGN.iter().copied().chain([&*long]);
    join_all(names.map(|name| {
        let (cli, name) = (&cli, format!("{}/{dir}{name}", f.root()));
        async move { cli.set(&name, b"foreign").await }
    }))
    .await;
}

#[test]
fn foreign_names_are_skipped_counted_and_removed_with_their_tree() {
    run(Plain, "consul::names", |f| async move {
        let (cli, foreign) = (cli().await, FOREIGN.len() + 1);
        let put = async |dir: &str| put_foreign(&f, dir).await;
        peers::foreign_names_are_skipped_counted_and_removed_with_their_tree(
            &f, &cli, foreign, put,
        )
        .await;
    });
}

#[test]
fn a_directory_with_foreign_names_only_is_there_and_empty() {
    run(Plain, "consul::names", |f| async move {
        let put = async |dir: &str| put_foreign(&f, dir).await;
        peers::a_directory_with_foreign_names_only_is_there_and_empty(&f, put).await;
    });
}

/// Up to here every character is tried: the letters of most alphabets, and signs, spaces and marks of
/// all kinds.
const MOST: char = '\u{2400}';
/// How many reads are under way at once.
const AT_ONCE: usize = 32;

/// Every character as the first, the middle and the last of a name's segment, and alone.
fn texts() -> impl Iterator<Item = String> {
    ('\0'..MOST).flat_map(|c| [format!("{c}b/a"), format!("a{c}b"), format!("a/b{c}"), c.into()])
}

/// All names that keys can be made of arrive exactly so, whichever call carries them: the body of a
/// transaction, the path of a read, or a listing.
#[test]
fn every_character_of_a_key_is_the_same_for_the_server() {
    run(Plain, "consul::names", |f| async move {
        let cli = cli().await;
        let keys: BTreeSet<Key> =
            texts().filter_map(|text| Key::new(&text).ok().filter(|key| !key.is_root())).collect();
        assert!(keys.len() > 20_000, "{} keys", keys.len());
        let expected: BTreeSet<String> =
            keys.iter().map(|key| format!("{}/{key}", f.root())).collect();
        let all: Vec<_> = keys.iter().cloned().collect();
        for some in all.chunks(f.store.capabilities().max_txn_ops) {
            let txn = some.iter().try_fold(Txn::new(), |txn, key| txn.put(key, key.to_string()));
            f.store.txn(txn.expect("different keys")).await.expect("no compare");
        }
        let top = format!("{}/", f.root());
        let stored = cli.below(&top).await;
        let names: BTreeSet<_> = stored.iter().map(|stored| stored.name.clone()).collect();
        assert!(names == expected, "{:?}", names.symmetric_difference(&expected));
        for one in &stored {
            assert_eq!(one.name.as_bytes()[top.len()..], one.value, "{:?}", one.name);
        }
        let listed = f.store.list(Key::root()).await.expect("a listing");
        assert!(listed.iter().map(|pair| &pair.key).eq(keys.iter()), "a listing of other keys");
        let store = &f.store;
        // The way of a character through a URL does not depend on its place, but in ASCII.
        let read = keys.iter().filter(|key| key.as_str().is_ascii() || key.as_str().ends_with('b'));
        let reading = read.map(|key| async move {
            let pair = store.get(key).await.unwrap_or_else(|error| panic!("{key:?}: {error}"));
            assert_eq!((&pair.key, &*pair.value), (key, key.as_str().as_bytes()));
        });
        iter(reading).for_each_concurrent(AT_ONCE, |reading| reading).await;
    });
}

/// What others name with any text at all is the same key here, or foreign.
#[test]
fn every_character_of_a_foreign_name_is_the_same_key_or_none() {
    run(Plain, "consul::names", |f| async move {
        let cli = cli().await;
        let names: BTreeSet<String> = ('\0'..'\u{800}').map(|c| format!("d/{c}/a{c}b")).collect();
        let putting = names.iter().map(|name| {
            let (cli, name) = (&cli, format!("{}/{name}", f.root()));
            async move { cli.set(&name, b"1").await }
        });
        iter(putting).for_each_concurrent(AT_ONCE, |putting| putting).await;
        let expected = names.iter().filter_map(|name| {
            let key = Key::new(name).ok()?;
            (key.as_str() == name).then_some(key)
        });
        let listed = f.store.list("d").await.expect("a listing");
        assert!(listed.iter().map(|pair| pair.key.clone()).eq(expected), "{listed:?}");
        assert!(listed.len() < names.len());
        f.store.delete_tree("d").await.expect("a tree");
        assert_eq!(cli.below(&format!("{}/", f.root())).await, []);
    });
}
