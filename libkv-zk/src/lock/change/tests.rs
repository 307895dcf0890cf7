use super::super::spot::Above;
use super::*;

const K: &str = "/root/d/lock";
const THEIRS: &str = "_c_0f8fad5b-d9cb-469f-a165-70867728950e-lock-0000000009";
const OLD_MARK: &str = "_c_0f8fad5b-d9cb-469f-a165-70867728950e-value";
/// The transaction that wrote the value.
const WRITTEN: i64 = 50;

fn stat(data_length: i32, version: i32, num_children: i32) -> Stat {
    Stat {
        czxid: 1,
        mzxid: WRITTEN,
        pzxid: 60,
        ctime: 0,
        mtime: 0,
        version,
        cversion: 0,
        aversion: 0,
        ephemeral_owner: 0,
        data_length,
        num_children,
    }
}

fn mark(name: &str, czxid: i64) -> (String, Stat) {
    (name.to_owned(), Stat { czxid, ..stat(0, 0, 0) })
}

/// The key's node with these children, below a parent with data and one that was only made.
fn scene(node: Stat, names: &[&str], marks: &[(String, Stat)]) -> Scene {
    let names = names.iter().map(|name| (*name).to_owned());
    let names: Vec<_> = names.chain(marks.iter().map(|(name, _)| name.clone())).collect();
    let above = [("/root/d", true, stat(0, 3, 1)), ("/root", false, stat(0, 0, 1))];
    let above =
        above.map(|(path, inside, stat)| Above { path: path.to_owned(), inside, stat: Some(stat) });
    Scene { node: Some((node, names)), above: above.into(), marks: marks.to_vec() }
}

fn site() -> (Site, Place, String) {
    let site = Site::new(K.to_owned());
    let name = format!("{}0000000007", site.node_prefix());
    let place = Place { path: site.child(&name), name: name.clone(), sequence: 7, czxid: 40 };
    (site, place, name)
}

fn delete(path: impl Into<String>, version: Option<i32>) -> Op {
    Op::Delete { path: path.into(), version }
}

fn below(name: &str) -> String {
    format!("{K}/{name}")
}

fn empty(version: i32) -> Op {
    Op::Set { path: K.into(), value: Bytes::new(), version: Some(version) }
}

#[test]
fn a_value_is_written_with_a_mark_in_place_of_older_ones() {
    let (site, place, _) = site();
    let value = Bytes::from("v");
    let check = Op::Check { path: place.path.clone(), version: None };
    let set = Op::Set { path: K.into(), value: value.clone(), version: None };
    let own = site.mark_name();
    let create = Op::Create { path: below(&own), value: Bytes::new(), ephemeral: false };
    let first = taking(&site, &place, None, &[], Some(&value));
    assert_eq!(first, [check.clone(), set.clone(), create.clone()]);
    let node = stat(4, 2, 2);
    let old = [mark(OLD_MARK, WRITTEN)];
    let next = taking(&site, &place, Some(&node), &old, Some(&value));
    assert_eq!(next, [check, delete(below(OLD_MARK), Some(0)), set, create]);
    let again = taking(&site, &place, Some(&node), &[mark(&own, 48)], Some(&value));
    assert_eq!(again, [], "it was written, and others wrote since");
}

#[test]
fn what_a_crashed_holder_left_is_removed_and_nothing_else() {
    let (site, place, _) = site();
    let node = stat(4, 2, 2);
    let left = taking(&site, &place, Some(&node), &[mark(OLD_MARK, WRITTEN)], None);
    assert_eq!(left, [Op::Check { path: place.path.clone(), version: None }, empty(2)]);
    assert_eq!(taking(&site, &place, Some(&node), &[mark(OLD_MARK, 49)], None), []);
    assert_eq!(taking(&site, &place, Some(&node), &[], None), []);
}

#[test]
fn what_is_left_empty_goes_with_the_lock() {
    let (site, place, name) = site();
    let all = [delete(&place.path, None), delete(K, Some(0)), delete("/root/d", Some(3))];
    let alone = scene(stat(0, 0, 1), &[&name], &[]);
    assert_eq!(leaving(&site, &alone, true, true), all);
    assert_eq!(leaving(&site, &alone, true, false), all[..1]);
    let valued = scene(stat(4, 2, 2), &[&name], &[mark(&site.mark_name(), WRITTEN)]);
    let own_mark = delete(below(&site.mark_name()), Some(0));
    assert_eq!(
        leaving(&site, &valued, true, true),
        [&all[0], &own_mark, &delete(K, Some(2)), &all[2]].map(Clone::clone)
    );
    // A dropped attempt may have made the parents only.
    assert_eq!(leaving(&site, &scene(stat(0, 0, 0), &[], &[]), false, true), all[1..]);
    let above = Scene { node: None, ..alone };
    assert_eq!(leaving(&site, &above, false, true), []);
}

#[test]
fn data_of_others_stays() {
    let (site, place, name) = site();
    let node = [delete(&place.path, None)];
    let theirs = scene(stat(4, 2, 1), &[&name], &[]);
    assert_eq!(leaving(&site, &theirs, true, true), node);
    let overwritten = scene(stat(4, 2, 2), &[&name], &[mark(&site.mark_name(), 49)]);
    let own_mark = delete(below(&site.mark_name()), Some(0));
    assert_eq!(leaving(&site, &overwritten, true, true), [&node[0], &own_mark].map(Clone::clone));
    let child = scene(stat(0, 0, 2), &[&name, "child"], &[]);
    assert_eq!(leaving(&site, &child, true, true), node);
    let value = scene(stat(0, 1, 0), &[], &[]);
    assert_eq!(leaving(&site, &value, false, true), [], "an empty value");
}

#[test]
fn a_mark_stays_beside_waiters_only_and_that_of_another_holder_too() {
    let (site, place, name) = site();
    let own = mark(&site.mark_name(), WRITTEN);
    let node = delete(&place.path, None);
    let waiter = scene(stat(4, 2, 3), &[&name, THEIRS], std::slice::from_ref(&own));
    assert_eq!(leaving(&site, &waiter, true, true), [node.clone(), empty(2)]);
    let child = scene(stat(4, 2, 4), &[&name, THEIRS, "child"], std::slice::from_ref(&own));
    assert_eq!(
        leaving(&site, &child, true, true),
        [node.clone(), empty(2), delete(below(&own.0), Some(0))]
    );
    // The value is of the holder, and this is an attempt that was dropped, or a lock that was lost.
    let held = scene(stat(4, 2, 3), &[&name, THEIRS], &[mark(OLD_MARK, WRITTEN)]);
    assert_eq!(leaving(&site, &held, false, true), [node]);
    let lost = scene(stat(4, 2, 2), &[THEIRS], &[mark(OLD_MARK, WRITTEN)]);
    assert_eq!(leaving(&site, &lost, true, true), []);
}
