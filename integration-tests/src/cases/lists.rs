//! Section 4: list.

use libkv_core::{
    ErrorKind, Key, KvPair, ListOptions, Store, StoreExt, Txn, WatchOptions, WatchTarget,
};

use super::writes::refused;
use crate::{Fixture, key};

/// Puts each key with its own name as the value.
pub(super) async fn put_all(f: &Fixture, names: &[&str]) {
    for name in names {
        f.store.put(*name, (*name).to_owned()).await.expect("a put");
    }
}

/// The keys of a listing, as text.
pub(super) fn names(pairs: &[KvPair]) -> Vec<&str> {
    pairs.iter().map(|pair| pair.key.as_str()).collect()
}

/// Puts many keys, as many in one transaction as it carries.
async fn put_many(f: &Fixture, names: &[String], value: &str) {
    for batch in names.chunks(f.store.capabilities().max_txn_ops.min(50)) {
        let mut txn = Txn::new();
        for name in batch {
            txn = txn.put(name, value.to_owned()).expect("a key that is written once");
        }
        f.store.txn(txn).await.expect("nothing is compared");
    }
}

async fn page(f: &Fixture, dir: &str, opts: &ListOptions) -> Vec<KvPair> {
    f.other.list_opts(&key(dir), opts.clone()).collect_pairs().await.expect("a page")
}

/// A listing has each stored key below the directory with its value and version, and nothing else.
pub async fn a_listing_gives_what_is_below(f: &Fixture) {
    const BELOW: [&str; 4] = ["app/-", "app/a", "app/a/b/c", "app/z"];
    put_all(f, &["app", "ap", "app-x", "app-x/a", "app.x", "app0", "apple", "apple/x", "b"]).await;
    put_all(f, &BELOW).await;
    f.store.put("app/a", "newer").await.expect("a put");
    for spelling in ["app", "/app/", "app//"] {
        let listed = f.other.list(spelling).await.expect("there are keys");
        assert_eq!(names(&listed), BELOW, "{spelling}");
        for pair in listed {
            assert_eq!(f.store.get(&pair.key).await.expect("the key is there"), pair);
        }
    }
    assert_eq!(names(&f.other.list("app/a").await.expect("there are keys")), ["app/a/b/c"]);
    assert_eq!(names(&f.other.list("app/a/b").await.expect("there are keys")), ["app/a/b/c"]);
    let mut listed = f.other.list(Key::root()).await.expect("there are keys");
    assert_eq!(listed.len(), 9 + BELOW.len());
    f.store.delete("app/a").await.expect("the key is there");
    listed.retain(|pair| pair.key != key("app/a"));
    assert_eq!(f.other.list(Key::root()).await.expect("there are keys"), listed);
}

/// The order is that of the bytes of the whole key, and not that of trees or of letters.
pub async fn a_listing_is_in_the_order_of_the_bytes(f: &Fixture) {
    const ASCENDING: [&str; 18] = [
        "B", "a", "a b", "a!", "a-b", "a-b/c", "a/b", "a/b-", "a/b/c", "a0", "aa", "b", "e\u{301}",
        "é", "é/a", "日本", "\u{d7ff}", "\u{ffef}",
    ];
    let mut shuffled = ASCENDING;
    fastrand::shuffle(&mut shuffled);
    put_all(f, &shuffled).await;
    put_all(f, &shuffled.map(|name| format!("dir/{name}")).each_ref().map(String::as_str)).await;
    let below = ASCENDING.map(|name| format!("dir/{name}"));
    assert_eq!(names(&f.other.list("dir").await.expect("there are keys")), below);
    let mut all: Vec<_> =
        ASCENDING.iter().copied().chain(below.iter().map(String::as_str)).collect();
    all.sort_by(|one, other| one.as_bytes().cmp(other.as_bytes()));
    assert_eq!(names(&f.other.list(Key::root()).await.expect("there are keys")), all);
}

/// A depth leaves out what is further down, and no parent is made up for it.
pub async fn a_depth_filters_and_invents_no_parents(f: &Fixture) {
    put_all(f, &["d", "d/a/b/c", "d/x", "d/x/y", "d/x/y/z/z", "e"]).await;
    for (dir, depth, expected) in [
        ("d", 0, &[][..]),
        ("d", 1, &["d/x"]),
        ("d", 2, &["d/x", "d/x/y"]),
        ("d", 3, &["d/a/b/c", "d/x", "d/x/y"]),
        ("d", 9, &["d/a/b/c", "d/x", "d/x/y", "d/x/y/z/z"]),
        ("d/a", 1, &[]),
        ("d/a", 2, &["d/a/b/c"]),
        ("/", 1, &["d", "e"]),
        ("/", 3, &["d", "d/x", "d/x/y", "e"]),
    ] {
        let listed = page(f, dir, &ListOptions::default().with_depth(depth)).await;
        assert_eq!(names(&listed), expected, "{dir} to the depth of {depth}");
        assert!(listed.iter().all(|pair| pair.value == pair.key.as_str()), "{listed:?}");
    }
    let limited = ListOptions::default().with_depth(1).with_limit(1);
    assert_eq!(names(&page(f, "d", &limited).await), ["d/x"], "a page counts what it gives");
}

/// A listing of keys only has all keys, no values, and versions that are right or unknown.
pub async fn a_listing_of_keys_has_no_values(f: &Fixture) {
    put_all(f, &["d/a", "d/a/b", "d/c"]).await;
    let whole = f.other.list("d").await.expect("there are keys");
    let listed = page(f, "d", &ListOptions::default().with_keys_only()).await;
    assert_eq!(names(&listed), names(&whole));
    for (pair, whole) in listed.iter().zip(&whole) {
        assert_eq!(pair.value.len(), 0, "{pair:?}");
        if pair.last_index() != 0 {
            assert_eq!(pair.version, whole.version, "{pair:?}");
            continue;
        }
        assert_eq!(pair.version.to_string().parse().ok(), Some(pair.version));
        refused(f.store.atomic_delete(pair).await, ErrorKind::InvalidVersion, pair.key.as_str());
    }
    let opts = ListOptions::default().with_keys_only().with_limit(1).with_start_after(key("d/a"));
    assert_eq!(names(&page(f, "d", &opts).await), ["d/a/b"]);
    assert_eq!(f.other.list("d").await.expect("there are keys"), whole);
}

/// Pages of any size, one after the other, are the whole listing.
pub async fn pages_walk_the_whole_listing(f: &Fixture) {
    put_all(f, &["a", "d", "d-", "d/a", "d/a-b", "d/a/b", "d/a/b/c", "d/b", "d/é", "d0", "e"])
        .await;
    for dir in ["d", "/"] {
        let whole = page(f, dir, &ListOptions::default()).await;
        for limit in 1..=whole.len() + 1 {
            let mut walked: Vec<KvPair> = Vec::new();
            loop {
                let mut opts = ListOptions::default().with_limit(limit);
                opts.start_after = walked.last().map(|pair| pair.key.clone());
                let page = page(f, dir, &opts).await;
                let left = whole.len() - walked.len();
                assert_eq!(page.len(), limit.min(left), "{dir} by {limit} after {walked:?}");
                walked.extend(page);
                if left < limit {
                    break;
                }
            }
            assert_eq!(walked, whole, "{dir} by {limit}");
        }
        assert_eq!(page(f, dir, &ListOptions::default().with_limit(0)).await, []);
    }
}

/// A page begins behind a place in the order; no key need be there, nor in the directory.
pub async fn a_page_begins_after_any_place(f: &Fixture) {
    const WHOLE: [&str; 5] = ["d/a", "d/a-b", "d/a/b", "d/b", "d/c"];
    put_all(f, &WHOLE).await;
    put_all(f, &["a", "d", "d-", "d0", "e/a"]).await;
    for (after, left) in [
        ("c", 5),
        ("d", 5),
        ("d-x", 5),
        ("d/A", 5),
        ("d/a", 4),
        ("d/a!", 4),
        ("d/a-c", 3),
        ("d/a/a", 3),
        ("d/a0", 2),
        ("d/bb", 1),
        ("d/c", 0),
        ("d/c/x", 0),
        ("d/é", 0),
        ("d0", 0),
        ("e", 0),
    ] {
        let opts = ListOptions::default().with_start_after(key(after));
        assert_eq!(names(&page(f, "d", &opts).await), WHOLE[5 - left..], "after {after}");
        let first = &WHOLE[5 - left..][..left.min(1)];
        assert_eq!(names(&page(f, "d", &opts.with_limit(1)).await), first, "after {after}");
    }
    let opts = ListOptions::default().with_depth(1).with_limit(2).with_start_after(key("d/a"));
    assert_eq!(names(&page(f, "d", &opts).await), ["d/a-b", "d/b"]);
}

/// A directory that is no key and has nothing below it is not found, whatever is asked of it.
pub async fn an_absent_directory_is_not_found(f: &Fixture) {
    put_all(f, &["apple", "app-x/a", "app0", "gone/a"]).await;
    f.store.delete("gone/a").await.expect("the key is there");
    for dir in ["app", "x/y", "gone", "apple/x"] {
        refused(f.other.list(dir).await, ErrorKind::KeyNotFound, dir);
        let opts = ListOptions::default();
        for opts in [
            opts.clone().with_limit(3),
            opts.clone().with_depth(1),
            opts.clone().with_keys_only(),
            opts.with_start_after(key("app-x")),
        ] {
            let mut listing = f.other.list_opts(&key(dir), opts);
            let told = listing.next().await.expect("something is told");
            refused(told, ErrorKind::KeyNotFound, dir);
            assert!(listing.next().await.is_none(), "the error is the last item");
        }
    }
}

/// What is there without children, and what a page leaves nothing of, is an empty listing.
pub async fn a_listing_of_nothing_is_empty_where_something_is(f: &Fixture) {
    assert_eq!(f.other.list(Key::root()).await.expect("the root is there"), []);
    put_all(f, &["leaf", "d/a", "d/b/c"]).await;
    f.store.put("empty", "").await.expect("a put");
    for leaf in ["leaf", "empty", "d/a", "d/b/c"] {
        assert_eq!(f.other.list(leaf).await.expect("the key is there"), [], "{leaf}");
        assert_eq!(page(f, leaf, &ListOptions::default().with_depth(1)).await, [], "{leaf}");
    }
    let past = ListOptions::default().with_start_after(key("d/b/c"));
    assert_eq!(page(f, "d", &past).await, []);
    assert_eq!(page(f, "d/b", &ListOptions::default().with_depth(0)).await, []);
    f.store.delete_tree(Key::root()).await.expect("a tree");
    assert_eq!(f.other.list(Key::root()).await.expect("the root is there"), []);
    assert_eq!(page(f, "/", &past).await, []);
}

/// A long listing comes as a stream of all its pairs, with the index that it shows.
pub async fn a_listing_streams_with_its_index(f: &Fixture) {
    const COUNT: usize = 2_300;
    let expected: Vec<_> = (0..COUNT).map(|number| format!("d/{number:04}")).collect();
    put_many(f, &expected, "1").await;
    let facts = f.store.capabilities();
    let mut listing = f.other.list_opts(&key("d"), ListOptions::default());
    let mut pairs = vec![listing.next().await.expect("a pair").expect("the listing begins")];
    let later = f.store.put("d/2299", "2").await.expect("a put");
    f.store.put("d/9999", "2").await.expect("a put");
    while let Some(pair) = listing.next().await {
        pairs.push(pair.expect("the listing goes on"));
    }
    assert!(listing.next().await.is_none(), "a listing that ended stays ended");
    assert_eq!(names(&pairs)[..COUNT], expected);
    if facts.atomic_list {
        assert!(pairs.iter().all(|pair| pair.value == "1"), "the listing shows one state");
        assert_eq!(pairs.len(), COUNT);
        let index = listing.index().expect("one point in time has an index");
        assert!(pairs.iter().all(|pair| pair.last_index() <= index), "{index}");
        assert!(later.last_index() > index, "{later} after {index}");
        let opts = WatchOptions::default().with_from(index);
        let mut watch = f.follow(f.other.watch_opts(&WatchTarget::Tree(key("d")), opts));
        if facts.history {
            assert_eq!(watch.put().await.version, later, "a watch goes on from the listing");
        } else {
            let refusal = watch.item().await.expect("something is told");
            let error = refusal.expect_err("there is no history");
            assert_eq!(error.kind(), ErrorKind::NotImplemented, "{error}");
        }
    }
    let opts = ListOptions::default().with_start_after(key("d/0099")).with_limit(1_500);
    assert_eq!(names(&page(f, "d", &opts).await), expected[100..1_600]);
}

/// Where the capability says so, a listing never mixes the states before and after a transaction.
pub async fn a_listing_is_of_one_point_in_time(f: &Fixture) {
    const ROUNDS: usize = 40;
    let count = f.store.capabilities().max_txn_ops.min(15);
    let keys: Vec<_> = (0..count).map(|number| format!("d/{number:02}")).collect();
    put_many(f, &keys, "0").await;
    let atomic = f.store.capabilities().atomic_list;
    let (listing, expected) = (f.other.clone(), keys.clone());
    let lister = tokio::spawn(async move {
        let mut newest = vec![0; expected.len()];
        let mut listings = 0;
        while newest.iter().any(|round| *round < ROUNDS) {
            let pairs = listing.list("d").await.expect("there are keys");
            assert_eq!(names(&pairs), expected, "each key is listed once");
            let rounds: Vec<usize> = pairs
                .iter()
                .map(|pair| {
                    std::str::from_utf8(&pair.value).expect("text").parse().expect("digits")
                })
                .collect();
            let one_state = rounds.iter().all(|round| *round == rounds[0]);
            assert!(one_state || !atomic, "a listing mixes {rounds:?}");
            let forth = rounds.iter().zip(&newest).all(|(round, known)| round >= known);
            assert!(forth, "{rounds:?} after {newest:?}");
            newest = rounds;
            listings += 1;
        }
        listings
    });
    for round in 1..=ROUNDS {
        put_many(f, &keys, &round.to_string()).await;
    }
    let listings = f.soon("the last state is listed", lister).await.expect("the lister ends well");
    assert!(listings > 0);
}
