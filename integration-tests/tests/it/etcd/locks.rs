//! Our locks and those of `etcdctl lock`, which are those of Go's `concurrency.Mutex`.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use integration_tests::{Fixture, key, run};
use libkv_core::{ErrorKind, Event, Key, LockGuard, LockOptions, Store, StoreExt, Wait};

use super::Plain;
use super::etcdctl::{Etcdctl, taken};
use crate::harness::etcd;
use crate::servers::locks::{
    EACH, LONG, ROUNDS, assert_all_were_in, assert_busy, assert_lost, below_lock, contend, fenced,
    take, try_take,
};
use crate::servers::peers::name;

async fn etcdctl() -> Etcdctl<'static> {
    Etcdctl::of(etcd::shared().await.server())
}

fn below(f: &Fixture, key: &str) -> String {
    format!("{}/{key}/", f.root())
}

#[test]
fn a_node_is_what_etcdctl_makes() {
    run(Plain, "etcd::locks", |f| async move {
        let etcdctl = etcdctl().await;
        let options = LockOptions::default().with_ttl(Duration::from_secs(60));
        let lock = f.store.new_lock("ours", options).expect("a key");
        let guard = lock.lock().await.expect("the lock is free");
        let mut theirs = etcdctl.lock(&name(&f, "theirs"), 300).await;
        let told = taken(&mut theirs).await;
        for (lock, node) in [("ours", guard.fence().node()), ("theirs", &*told)] {
            let found = etcdctl.below(&name(&f, lock)).await;
            assert_eq!(found.len(), 1, "{found:?}");
            let stored = &found[0];
            let expected = format!("{}{:x}", below(&f, lock), stored.lease);
            assert_eq!((&*expected, stored.name.as_slice()), (node, expected.as_bytes()));
            assert!(stored.lease != 0 && stored.value.is_empty(), "{stored:?}");
            assert_eq!(stored.created, stored.changed);
            let (granted, keys) = etcdctl.lease(&format!("{:x}", stored.lease)).await;
            let expected = if lock == "ours" { 60 } else { 300 };
            assert_eq!((granted, keys), (expected, vec![stored.name.clone()]));
        }
        let stored = etcdctl.get(guard.fence().node()).await.expect("the lock is held");
        assert_eq!(guard.token().get(), stored.created);
        let lease = format!("{:x}", stored.lease);
        guard.unlock().await.expect("the lock is held");
        assert_eq!(etcdctl.below(&name(&f, "ours")).await, []);
        // The handle keeps the lease for its next lock, and ends it with itself.
        assert!(etcdctl.has_lease(&lease).await);
        f.store.close().await.expect("the server is told");
        assert!(!etcdctl.has_lease(&lease).await);
        theirs.interrupt().await;
    });
}

/// A lease is used again by the next lock of its handle and by nobody else meanwhile, and one that
/// is gone is replaced.
#[test]
fn the_next_lock_has_the_lease_of_one_that_was_given_back() {
    run(Plain, "etcd::locks", |f| async move {
        let etcdctl = etcdctl().await;
        let lock = f.store.new_lock("lock", LockOptions::default()).expect("a key");
        let other = f.store.new_lock("other", LockOptions::default()).expect("a key");
        let lease_of = async |guard: &LockGuard| {
            etcdctl.get(guard.fence().node()).await.expect("the lock is held").lease
        };
        let first = lock.lock().await.expect("the lock is free");
        let (lease, fence) = (lease_of(&first).await, first.fence());
        let beside = other.lock().await.expect("the lock is free");
        assert_ne!(lease_of(&beside).await, lease);
        first.unlock().await.expect("the lock is held");

        let second = lock.lock().await.expect("the lock is free");
        assert_eq!(lease_of(&second).await, lease);
        assert!(second.token() > fence.token());
        // The node has the name that it had, and the first guard's writes are refused all the same.
        let late = f.store.put_opts(&key("late"), "1".into(), fenced(&fence)).await;
        assert_eq!(late.expect_err("that lock was given back").kind(), ErrorKind::LockLost);
        let valid = f.store.put_opts(&key("valid"), "1".into(), fenced(&second.fence())).await;
        valid.expect("this lock is held");
        second.unlock().await.expect("the lock is held");

        etcdctl.run(&["lease", "revoke", &format!("{lease:x}")]).await;
        let third = lock.lock().await.expect("the lock is free");
        assert_ne!(lease_of(&third).await, lease);
        third.unlock().await.expect("the lock is held");
        beside.unlock().await.expect("the lock is held");
    });
}

#[test]
fn ours_waits_for_etcdctl_and_gets_it_afterwards() {
    run(Plain, "etcd::locks", |f| async move {
        let etcdctl = etcdctl().await;
        for crashes in [false, true] {
            // A crash leaves the node to its lease.
            let ttl = if crashes { 2 } else { 300 };
            let mut theirs = etcdctl.lock(&name(&f, "lock"), ttl).await;
            let node = taken(&mut theirs).await;
            assert_busy(try_take(&*f.store, "lock").await);
            let short = LockOptions::default().with_wait(Wait::AtMost(Duration::from_millis(300)));
            let bounded = f.other.new_lock("lock", short).expect("a key");
            assert_busy(bounded.lock().await);
            let ours = tokio::spawn({
                let store = f.store.clone();
                async move { take(&*store, "lock").await }
            });
            etcdctl.wait_for(2, &below(&f, "lock")).await;
            assert!(!ours.is_finished());
            if crashes {
                assert_ne!(theirs.crash().await, 0);
            } else {
                theirs.interrupt().await;
            }
            let guard = f.soon("the lock", ours).await.expect("no panic").expect("it is free");
            assert_eq!(etcdctl.get(&node).await, None, "two hold it");
            guard.unlock().await.expect("the lock is held");
        }
    });
}

#[test]
fn etcdctl_waits_for_ours_and_gets_it_afterwards() {
    run(Plain, "etcd::locks", |f| async move {
        let etcdctl = etcdctl().await;
        let value = LockOptions::default().with_ttl(LONG).with_value("the holder");
        for options in [LockOptions::default().with_ttl(LONG), value] {
            let lock = f.store.new_lock("lock", options).expect("a key");
            let guard = f.soon("the lock", lock.lock()).await.expect("the lock is free");
            let mut theirs = etcdctl.lock(&name(&f, "lock"), 300).await;
            etcdctl.wait_for(2, &below(&f, "lock")).await;
            assert_eq!(theirs.line().now_or_never(), None, "two hold it");
            let node = guard.fence().node().to_owned();
            assert!(etcdctl.get(&node).await.is_some() && guard.is_held());
            assert_eq!(theirs.line().now_or_never(), None, "two hold it");
            guard.unlock().await.expect("the lock is held");
            let told = taken(&mut theirs).await;
            let left = etcdctl.below(&name(&f, "lock")).await;
            let left: Vec<_> = left.iter().map(|stored| &stored.name[..]).collect();
            assert_eq!(left, [told.as_bytes()]);
            assert_busy(try_take(&*f.store, "lock").await);
            theirs.interrupt().await;
        }
    });
}

#[test]
fn theirs_and_ours_are_served_in_the_order_of_their_nodes() {
    run(Plain, "etcd::locks", |f| async move {
        let (etcdctl, nodes) = (etcdctl().await, below(&f, "lock"));
        let wait = |store: &std::sync::Arc<dyn Store>| {
            let store = store.clone();
            tokio::spawn(async move { take(&*store, "lock").await })
        };
        let mut first = etcdctl.lock(&name(&f, "lock"), 300).await;
        let mut order = vec![taken(&mut first).await];
        let second = wait(&f.store);
        etcdctl.wait_for(2, &nodes).await;
        let mut third = etcdctl.lock(&name(&f, "lock"), 300).await;
        etcdctl.wait_for(3, &nodes).await;
        let fourth = wait(&f.other);
        let mut queue = etcdctl.wait_for(4, &nodes).await;
        queue.sort_by_key(|stored| stored.created);

        first.interrupt().await;
        let second = f.soon("our lock", second).await.expect("no panic").expect("it is free");
        assert_eq!((third.line().now_or_never(), fourth.is_finished()), (None, false));
        order.push(second.fence().node().to_owned());
        second.unlock().await.expect("the lock is held");
        order.push(taken(&mut third).await);
        assert!(!fourth.is_finished());
        third.interrupt().await;
        let fourth = f.soon("our lock", fourth).await.expect("no panic").expect("it is free");
        order.push(fourth.fence().node().to_owned());
        assert_eq!(fourth.token().get(), queue[3].created);
        let queue: Vec<_> = queue.iter().map(|node| String::from_utf8_lossy(&node.name)).collect();
        assert_eq!(queue, order);
        fourth.unlock().await.expect("the lock is held");
    });
}

/// Whoever is in makes a key that must not be there, and deletes it on the way out.
#[test]
fn of_many_contenders_of_both_kinds_one_holds() {
    let script = r#"
        root=$0; export root
        for round in $(seq "$1"); do
            etcdctl lock --ttl=300 -- "$root/lock" sh -c '
                printf "create(\"%s/owner\") = \"0\"\n\nput %s/owner theirs\n\nput %s/overlap theirs\n\n" \
                    "$root" "$root" "$root" | etcdctl txn &&
                etcdctl put "$root/rounds/${ETCD_LOCK_KEY##*/}" theirs && etcdctl del "$root/owner"
            ' || exit 1
        done"#;
    run(Plain, "etcd::locks", move |f| async move {
        let server = etcd::shared().await.server();
        let (root, rounds) = (f.root().to_string(), ROUNDS.to_string());
        let command = ["sh", "-c", script, &root, &rounds];
        let theirs = join_all((0..EACH).map(|_| server.exec(&command)));
        let (theirs, ()) = futures_util::join!(theirs, contend(&f));
        theirs.iter().for_each(|output| drop(output.text()));
        assert!(!f.store.exists("overlap").await.expect("a read"), "two were in");
        assert_all_were_in(&f).await;
        assert_eq!(etcdctl().await.below(&below(&f, "lock")).await, []);
    });
}

/// Each way in which `etcdctl` can take a lock away is a loss at once, long before the lease ends.
#[test]
fn what_etcdctl_does_to_a_node_is_a_loss_at_once() {
    run(Plain, "etcd::locks", |f| async move {
        let etcdctl = etcdctl().await;
        for way in ["del", "del --prefix", "lease revoke", "put", "txn"] {
            let lock = format!("lock {way}");
            let options = LockOptions::default().with_ttl(LONG).with_value("the holder");
            let taking = f.store.new_lock(&lock, options).expect("a key");
            let guard = taking.lock().await.expect("the lock is free");
            let node = guard.fence().node().to_owned();
            let stored = etcdctl.get(&node).await.expect("the lock is held");
            match way {
                "del" => drop(etcdctl.delete(&node).await),
                "lease revoke" => {
                    let lease = format!("{:x}", stored.lease);
                    etcdctl.run(&["lease", "revoke", &lease]).await;
                }
                "put" => drop(etcdctl.put(&node, b"theirs").await),
                "txn" => {
                    let txn = format!("\nput \"{node}\" theirs\n\n\n");
                    etcdctl.server.exec_with(&["etcdctl", "txn"], txn).await.text();
                }
                _ => drop(etcdctl.run(&["del", "--prefix", &below(&f, &lock)]).await),
            }
            // What others wrote is theirs.
            let after = assert_lost(&f, way, guard, &lock).await;
            after.unlock().await.expect("the lock is held");
            let left = etcdctl.get(&node).await.map(|stored| (stored.value, stored.lease));
            let overwritten = matches!(way, "put" | "txn");
            assert_eq!(left, overwritten.then(|| (b"theirs".to_vec(), 0)), "{way}");
        }
    });
}

/// A lock does not meet one further down, of whichever kind that is.
#[test]
fn locks_of_a_key_and_of_one_below_it_do_not_meet() {
    run(Plain, "etcd::locks", |f| async move {
        let etcdctl = etcdctl().await;
        let mut theirs = etcdctl.lock(&name(&f, "lock/theirs"), 300).await;
        taken(&mut theirs).await;
        let inner = try_take(&*f.other, "lock/ours").await.expect("nobody has this lock");
        let outer = try_take(&*f.store, "lock").await.expect("nobody has this lock");
        assert_busy(try_take(&*f.other, "lock").await);
        assert_busy(try_take(&*f.store, "lock/ours").await);
        assert_busy(try_take(&*f.store, "lock/theirs").await);
        // Theirs further down does not see the one above it.
        let mut deep = etcdctl.lock(&name(&f, "lock/deep"), 300).await;
        taken(&mut deep).await;
        outer.unlock().await.expect("the lock is held");
        inner.unlock().await.expect("the lock is held");
        deep.interrupt().await;
        theirs.interrupt().await;
    });
}

/// Only a name whose last segment is its own lease is a node. Everything else below a lock's key is
/// data: it is shown, and nobody waits for it.
#[test]
fn data_below_a_lock_is_shown_and_is_no_contender() {
    run(Plain, "etcd::locks", |f| async move {
        let etcdctl = etcdctl().await;
        let (lease, other) = (etcdctl.grant(300).await, etcdctl.grant(300).await);
        let named = |last: &str| format!("{}{last}", below(&f, "lock"));
        let bind = format!("--lease={lease}");
        // A permanent key with a lease's number, one of another lease, and close misses.
        etcdctl.put(&named("data"), b"1").await;
        etcdctl.put(&named("694d0000000000ff"), b"1").await;
        let (upper, zero) = (lease.to_uppercase(), format!("0{lease}"));
        let bound = [&*other, &upper, &zero, "data bound", "694d"];
        for last in bound {
            etcdctl.run(&["put", &bind, "--", &named(last), "1"]).await;
        }
        let mut expected: Vec<_> = ["data", "694d0000000000ff"].into_iter().chain(bound).collect();
        expected.sort();
        let listed =
            async |store: &dyn Store| below_lock(&store.list("lock").await.expect("a listing"));
        assert_eq!(listed(&*f.store).await, expected);
        let guard = try_take(&*f.store, "lock").await.expect("all of it is data");
        assert_eq!(listed(&*f.other).await, expected);
        guard.unlock().await.expect("the lock is held");

        // The real one: hidden from everybody, and in the way of every lock.
        let mut watch = f.follow(f.store.watch_tree("lock").expect("a directory"));
        watch.until_synced().await;
        etcdctl.run(&["put", &bind, "--", &named(&lease), ""]).await;
        assert_busy(try_take(&*f.store, "lock").await);
        assert_eq!(listed(&*f.store).await, expected);
        let node = format!("lock/{lease}");
        assert!(!f.store.exists(&node).await.expect("a read"));
        let error = f.store.get(&node).await.expect_err("a node is no key");
        assert_eq!(error.kind(), ErrorKind::KeyNotFound, "{error}");
        let error = f.store.delete(&node).await.expect_err("a node is no key");
        assert_eq!(error.kind(), ErrorKind::KeyNotFound, "{error}");
        let waiting = tokio::spawn({
            let store = f.other.clone();
            async move { take(&*store, "lock").await }
        });
        etcdctl.wait_for(expected.len() + 2, &below(&f, "lock")).await;
        assert!(!waiting.is_finished());
        etcdctl.run(&["lease", "revoke", &lease]).await;
        let guard = f.soon("the lock", waiting).await.expect("no panic").expect("it is free");
        guard.unlock().await.expect("the lock is held");
        // The lease took its data along, which is told; of the nodes nothing is.
        let mut told: Vec<String> = Vec::new();
        while told.len() < bound.len() {
            match watch.next().await {
                Event::Delete { key, .. } => told.push(key.as_str().replacen("lock/", "", 1)),
                other => panic!("nothing but deletions was due: {other:?}"),
            }
        }
        told.sort();
        let mut bound: Vec<_> = bound.to_vec();
        bound.sort_unstable();
        assert_eq!(told, bound);
        f.store.put("lock/last", "1").await.expect("a put");
        assert_eq!(watch.put().await.key, Key::new("lock/last").expect("a key"));
    });
}
