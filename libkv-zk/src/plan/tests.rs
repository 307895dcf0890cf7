use libkv_core::Version;

use super::*;

const OURS: i64 = 7;

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn stat(data_length: i32, num_children: i32, version: i32) -> Option<Stat> {
    Some(Stat {
        czxid: 100,
        mzxid: 200,
        pzxid: 200,
        ctime: 0,
        mtime: 0,
        version,
        cversion: 0,
        aversion: 0,
        ephemeral_owner: 0,
        data_length,
        num_children,
    })
}

fn ephemeral(owner: i64) -> Option<Stat> {
    stat(1, 0, 3).map(|stat| Stat { ephemeral_owner: owner, ..stat })
}

fn put(name: &str, value: &'static str) -> TxnWrite {
    let lifetime = Lifetime::Permanent;
    TxnWrite::Put { key: key(name), value: value.into(), lifetime }
}

fn put_ephemeral(name: &str) -> TxnWrite {
    let lifetime = Lifetime::Ephemeral;
    TxnWrite::Put { key: key(name), value: "v".into(), lifetime }
}

fn delete(name: &str) -> TxnWrite {
    TxnWrite::Delete { key: key(name) }
}

fn plan(writes: Vec<TxnWrite>, nodes: &[(&str, Option<Stat>)]) -> Result<Vec<String>> {
    compared(Vec::new(), writes, nodes)
}

/// The operations as short lines. What is not named is absent.
fn compared(
    compares: Vec<(Key, Condition)>,
    writes: Vec<TxnWrite>,
    nodes: &[(&str, Option<Stat>)],
) -> Result<Vec<String>> {
    let request = Request { operation: "txn", compares, fences: Vec::new(), writes, session: OURS };
    let paths = Paths::below_root(&Key::root());
    let mut all: Nodes = request.paths(&paths).into_iter().map(|path| (path, None)).collect();
    for (path, stat) in nodes {
        assert!(all.insert((*path).to_owned(), *stat).is_some(), "{path} is not read");
    }
    let shown = |(op, _): &(Op, Role)| match op {
        Op::Check { path, version } => format!("check {path} {version:?}"),
        Op::Create { path, ephemeral: false, .. } => format!("create {path}"),
        Op::Create { path, .. } => format!("create ephemeral {path}"),
        Op::Set { path, value, version } => {
            format!("set {path} {} bytes {}", value.len(), version.unwrap_or(-1))
        }
        Op::Delete { path, version } => format!("delete {path} {}", version.unwrap_or(-1)),
    };
    Ok(request.plan(&paths, &all)?.ops.iter().map(shown).collect())
}

#[test]
fn a_new_key_is_made_with_the_parents_that_are_missing() {
    let made = plan(vec![put("a/b/c", "v")], &[("/a", stat(0, 1, 0))]).unwrap();
    assert_eq!(made, ["create /a/b", "create /a/b/c", "set /a/b/c 1 bytes 0"]);
    // A parent is made once, and comes before what is below it.
    let both = plan(vec![put("a/c", "v"), put("a/b", "")], &[]).unwrap();
    let expected =
        ["create /a", "create /a/b", "set /a/b 0 bytes 0", "create /a/c", "set /a/c 1 bytes 0"];
    assert_eq!(both, expected);
}

#[test]
fn a_node_that_is_there_is_set_as_it_was_read() {
    let set = plan(vec![put("a", "v")], &[("/a", stat(9, 2, 5))]).unwrap();
    assert_eq!(set, ["set /a 1 bytes 5"]);
    let own = plan(vec![put_ephemeral("a")], &[("/a", ephemeral(OURS))]).unwrap();
    assert_eq!(own, ["set /a 1 bytes 3"]);
    // What it was made as it stays.
    let anew = ["set /a 0 bytes 3", "delete /a 4", "create ephemeral /a", "set /a 1 bytes 0"];
    for before in [ephemeral(OURS + 1), stat(1, 0, 3)] {
        assert_eq!(plan(vec![put_ephemeral("a")], &[("/a", before)]).unwrap(), anew);
    }
    let permanent = plan(vec![put("a", "v")], &[("/a", ephemeral(OURS))]).unwrap();
    assert_eq!(permanent, ["set /a 0 bytes 3", "delete /a 4", "create /a", "set /a 1 bytes 0"]);
}

#[test]
fn the_last_key_takes_its_parents_along() {
    let nodes = [("/a", stat(0, 1, 4)), ("/a/b", stat(0, 1, 0)), ("/a/b/c", stat(1, 0, 2))];
    let gone = plan(vec![delete("a/b/c")], &nodes).unwrap();
    assert_eq!(gone, ["set /a/b/c 0 bytes 2", "delete /a/b/c 3", "delete /a/b 0", "delete /a 4"]);
    // A parent that is a key stays, and so does one with others below it.
    let nodes = [("/a", stat(1, 1, 4)), ("/a/b", stat(0, 2, 0)), ("/a/b/c", stat(1, 0, 2))];
    let one = plan(vec![delete("a/b/c")], &nodes).unwrap();
    assert_eq!(one, ["set /a/b/c 0 bytes 2", "delete /a/b/c 3"]);
    let nodes = [("/a", stat(0, 2, 0)), ("/a/b", stat(1, 0, 1)), ("/a/c", stat(1, 0, 1))];
    let both = plan(vec![delete("a/b"), delete("a/c")], &nodes).unwrap();
    let expected = [
        "set /a/c 0 bytes 1",
        "delete /a/c 2",
        "set /a/b 0 bytes 1",
        "delete /a/b 2",
        "delete /a 0",
    ];
    assert_eq!(both, expected);
    let moved = plan(
        vec![delete("a/b"), put("a/c", "v")],
        &[("/a", stat(0, 1, 0)), ("/a/b", stat(1, 0, 1))],
    );
    let expected = ["create /a/c", "set /a/c 1 bytes 0", "set /a/b 0 bytes 1", "delete /a/b 2"];
    assert_eq!(moved.unwrap(), expected);
}

#[test]
fn a_key_with_keys_below_it_is_emptied() {
    let emptied = plan(vec![delete("a")], &[("/a", stat(1, 1, 4))]).unwrap();
    assert_eq!(emptied, ["set /a 0 bytes 4"]);
    let below = plan(vec![delete("a"), put("a/b", "v")], &[("/a", stat(1, 0, 4))]).unwrap();
    assert_eq!(below, ["create /a/b", "set /a/b 1 bytes 0", "set /a 0 bytes 4"]);
}

#[test]
fn what_must_be_absent_is_made_and_removed() {
    let absent = |name: &str| vec![(key(name), Condition::Absent)];
    let above = [("/a", stat(0, 1, 0))];
    let guarded = compared(absent("a/b/c"), Vec::new(), &above).unwrap();
    assert_eq!(guarded, ["create /a/b", "delete /a/b 0"]);
    let deleted = plan(vec![delete("a/b/c")], &above).unwrap();
    assert_eq!(deleted, ["create /a/b", "delete /a/b 0"]);
    // A node that is no key is looked at, and one that is made need not be.
    let parent = compared(absent("a"), Vec::new(), &[("/a", stat(0, 1, 2))]).unwrap();
    assert_eq!(parent, ["check /a Some(2)"]);
    let put = compared(absent("a/b"), vec![put("a/b", "v")], &above).unwrap();
    assert_eq!(put, ["create /a/b", "set /a/b 1 bytes 0"]);
}

#[test]
fn a_compare_that_does_not_hold_is_told() {
    let there = stat(1, 0, 3);
    let version = |counter| Condition::Version(Version::with_extra(ZK, 200, [100, counter]));
    let ended = |condition, stat: Option<Stat>| {
        let ended = compared(vec![(key("a"), condition)], Vec::new(), &[("/a", stat)]);
        ended.map_err(|error| error.kind())
    };
    assert_eq!(ended(Condition::Absent, there), Err(ErrorKind::KeyExists));
    assert_eq!(ended(Condition::Exists, None), Err(ErrorKind::KeyNotFound));
    assert_eq!(ended(version(3), stat(0, 1, 3)), Err(ErrorKind::KeyNotFound));
    assert_eq!(ended(version(2), there), Err(ErrorKind::KeyModified));
    assert_eq!(ended(version(3), there), Ok(vec!["check /a Some(3)".to_owned()]));
}

#[test]
fn what_zookeeper_cannot_have_is_refused() {
    let ended = |write, node: Option<Stat>| plan(vec![write], &[("/a", node)]).unwrap_err().kind();
    assert_eq!(ended(put("a/b", "v"), ephemeral(1)), ErrorKind::NotImplemented);
    assert_eq!(ended(put("a/b", "v"), stat(0, 0, 1)), ErrorKind::NotImplemented);
    assert_eq!(ended(put("a", ""), stat(1, 1, 1)), ErrorKind::NotImplemented);
    assert_eq!(ended(put_ephemeral("a"), stat(0, 1, 0)), ErrorKind::NotImplemented);
    let ttl = Lifetime::Ttl(std::time::Duration::from_secs(9));
    let write = TxnWrite::Put { key: key("a"), value: "v".into(), lifetime: ttl };
    assert_eq!(ended(write, None), ErrorKind::NotImplemented);
    // A parent that was only made takes children.
    assert!(plan(vec![put("a/b", "v")], &[("/a", stat(0, 0, 0))]).is_ok());
}
