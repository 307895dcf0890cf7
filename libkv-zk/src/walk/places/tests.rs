use std::collections::BTreeMap;

use tokio::time::Instant;

use super::*;
use crate::reader::Content;

/// Nodes by path, with what they hold.
type Tree = BTreeMap<String, Vec<u8>>;

const NODES: [&str; 17] = [
    "/d", "/d/a", "/d/a!", "/d/a-b", "/d/a-b/c", "/d/a/b", "/d/a/b-", "/d/a/b/c", "/d/a0", "/d/aa",
    "/d/b", "/d/b/c", "/d/b/c/d", "/d/é", "/d/é/x", "/d-", "/d0",
];

fn tree(nodes: &[&str]) -> Tree {
    let mut tree: Tree =
        nodes.iter().map(|path| ((*path).to_owned(), path.as_bytes().to_vec())).collect();
    for path in nodes {
        for above in crate::paths::ancestors(path) {
            tree.entry(above.to_owned()).or_default();
        }
    }
    tree.entry("/".to_owned()).or_default();
    tree
}

fn children(tree: &Tree, parent: &str) -> Vec<String> {
    let is_child = |path: &&String| crate::paths::parent(path) == Some(parent);
    let mut names: Vec<_> =
        tree.keys().filter(is_child).map(|path| crate::paths::name(path).to_owned()).collect();
    fastrand::shuffle(&mut names);
    names
}

fn stat(tree: &Tree, path: &str) -> Stat {
    Stat {
        czxid: 1,
        mzxid: 2,
        pzxid: 3,
        ctime: 0,
        mtime: 0,
        version: 0,
        cversion: 0,
        aversion: 0,
        ephemeral_owner: i64::from(path.contains("-lock-")),
        data_length: tree[path].len() as i32,
        num_children: children(tree, path).len() as i32,
    }
}

/// Answers as a server with this tree would.
fn answer(tree: &Tree, batch: &Batch) -> Vec<Answer> {
    let node = |path: &String| match tree.get(path) {
        Some(value) => Answer::Node(value.clone(), stat(tree, path)),
        None => Answer::Refused(zk::Error::NoNode),
    };
    let names = |path: &String| match tree.get(path) {
        Some(_) => Answer::Children(children(tree, path)),
        None => Answer::Refused(zk::Error::NoNode),
    };
    batch.nodes.iter().map(node).chain(batch.parents.iter().map(names)).collect()
}

fn call() -> Call {
    Call { operation: "list", deadline: Instant::now() }
}

/// The places of a walk that nothing was asked for yet.
fn places(plan: &Plan, tree: &Tree) -> Places {
    let paths = Paths::below_root(&Key::root());
    let path = paths.path(&plan.dir);
    let mut places = Places::new(&paths, plan);
    if tree.contains_key(&path) {
        places.begin(&path, &stat(tree, &path));
    }
    places
}

fn whole(dir: &str) -> Plan {
    Plan::whole(Key::new(dir).unwrap(), Content::Values)
}

fn land(places: &mut Places, tree: &Tree) {
    let batch = places.pick(9, 9);
    let answers = answer(tree, &batch);
    places.land(&batch, answers);
}

/// Walks to the end, with answers in any order.
fn finish(places: &mut Places, tree: &Tree) -> Result<Vec<String>> {
    let mut told = Vec::new();
    loop {
        told.extend(places.take(&call())?.into_iter().map(|found| found.key.to_string()));
        if places.is_empty() {
            return Ok(told);
        }
        let pick = || places.pick(50, fastrand::usize(1..20));
        let mut batches: Vec<_> =
            std::iter::repeat_with(pick).take(fastrand::usize(1..4)).collect();
        fastrand::shuffle(&mut batches);
        for batch in batches {
            places.land(&batch, answer(tree, &batch));
        }
    }
}

#[test]
fn the_order_is_that_of_the_bytes_wherever_a_walk_begins_and_ends() {
    let tree = tree(&NODES);
    for dir in ["", "d", "d/b"] {
        let dir = Key::new(dir).unwrap();
        let keys = NODES.iter().map(|path| Key::new(path).unwrap());
        let mut whole: Vec<_> = keys.filter(|key| key.is_below(&dir)).collect();
        whole.sort();
        let after = ["a", "d", "d/a", "d/a-", "d/a/b", "d/a/b/c/d", "d/az", "d/b/c", "d0", "z"];
        let after = after.into_iter().map(|after| Some(Key::new(after).unwrap()));
        for after in after.chain([None]) {
            for depth in [None, Some(1), Some(2), Some(3)] {
                let plan = Plan::whole(dir.clone(), Content::Values);
                let plan = Plan { depth, after: after.clone(), ..plan };
                let told = finish(&mut places(&plan, &tree), &tree).unwrap();
                let due = whole.iter().filter(|key| {
                    after.as_ref().is_none_or(|after| *key > after)
                        && depth.is_none_or(|depth| key.depth_below(&dir) <= Some(depth))
                });
                let due: Vec<_> = due.map(Key::to_string).collect();
                assert_eq!(told, due, "below {dir} after {after:?} to {depth:?}");
            }
        }
    }
}

#[test]
fn what_sorts_before_is_not_walked() {
    let names: Vec<_> = (0..1_000).map(|number| format!("d/{number:03}/x")).collect();
    let nodes: Vec<_> = names.iter().map(|name| format!("/{name}")).collect();
    let tree = tree(&nodes.iter().map(String::as_str).collect::<Vec<_>>());
    let plan = Plan { after: Some(Key::new("d/990/x").unwrap()), ..whole("d") };
    let mut places = places(&plan, &tree);
    land(&mut places, &tree);
    assert_eq!(places.queue.len(), 10);
    assert_eq!(finish(&mut places, &tree).unwrap(), names[991..]);
}

#[test]
fn locks_and_foreign_names_are_passed_and_these_are_counted() {
    let lock = "/d/_c_0f8fad5b-d9cb-469f-a165-70867728950e-lock-0000000001";
    let long = format!("/d/{}", "x".repeat(600));
    let tree = tree(&["/d/a", lock, &long, "/d/ b/c", "/zookeeper/quota"]);
    let mut all = places(&whole(""), &tree);
    assert_eq!(finish(&mut all, &tree).unwrap(), ["d/a"]);
    assert_eq!((all.foreign, all.seen, all.newest), (2, true, 3));
    let plan = Plan { foreign: Foreign::Fail, ..whole("") };
    let refused = finish(&mut places(&plan, &tree), &tree).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidKey);
}

#[test]
fn a_directory_of_locks_has_nothing() {
    let lock = "/d/_c_0f8fad5b-d9cb-469f-a165-70867728950e-lock-0000000001";
    let tree = tree(&[lock]);
    let mut places = places(&whole("d"), &tree);
    assert_eq!(finish(&mut places, &tree).unwrap(), Vec::<String>::new());
    assert!(!places.seen);
}

#[test]
fn what_is_refused_or_too_wide_ends_the_walk_where_it_is_reached() {
    let tree = tree(&["/a", "/b", "/c"]);
    let mut places = places(&whole(""), &tree);
    land(&mut places, &tree);
    let batch = places.pick(9, 9);
    let wide = Stat { num_children: 1_000_001, ..stat(&tree, "/b") };
    let answers = vec![
        Answer::Node(b"1".to_vec(), stat(&tree, "/a")),
        Answer::Node(b"2".to_vec(), wide),
        Answer::Refused(zk::Error::NoAuth),
    ];
    places.land(&batch, answers);
    assert!(places.pick(9, 9).is_empty());
    assert_eq!(places.take(&call()).unwrap().len(), 2);
    for (kind, key) in [(ErrorKind::TooLarge, "b"), (ErrorKind::PermissionDenied, "c")] {
        let refused = places.take(&call()).unwrap_err();
        assert_eq!((refused.kind(), refused.key().unwrap().as_str()), (kind, key));
        places.queue.pop_front();
    }
}

#[test]
fn what_is_forgotten_is_asked_for_again() {
    let tree = tree(&NODES);
    let mut places = places(&whole(""), &tree);
    for _ in 0..3 {
        let batch = places.pick(9, 9);
        assert!(!batch.is_empty());
        places.forget(&batch);
        land(&mut places, &tree);
    }
    assert_eq!(finish(&mut places, &tree).unwrap().len(), NODES.len());
}

#[test]
fn what_is_gone_meanwhile_is_skipped() {
    let mut tree = tree(&NODES);
    let mut places = places(&whole("d"), &tree);
    land(&mut places, &tree);
    tree.remove("/d/a");
    land(&mut places, &tree);
    tree.remove("/d/b");
    let due = ["d/a!", "d/a-b", "d/a-b/c", "d/a0", "d/aa", "d/é", "d/é/x"];
    let told = finish(&mut places, &tree).unwrap();
    assert!(told.iter().filter(|key| *key != "d/b").eq(due.iter()), "{told:?}");
}
