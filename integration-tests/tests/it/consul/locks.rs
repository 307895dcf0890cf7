//! Our locks and those of `consul lock`, which are those of the Go client's `Lock`.

use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::join_all;
use integration_tests::{Fixture, key, run};
use libkv_core::{ErrorKind, LockOptions, Store, StoreExt, Wait};

use super::Plain;
use super::cli::{Cli, LOCK_FLAG, taken};
use crate::harness::consul;
use crate::servers::locks::{
    EACH, LONG, ROUNDS, assert_all_were_in, assert_busy, assert_lost, below_lock, contend, fenced,
    take, try_take,
};
use crate::servers::peers::name;

/// What marks the key of a semaphore: the Go client's `SemaphoreFlagValue`.
const SEMAPHORE_FLAG: u64 = 0xe0f6_9a2b_aa41_4de0;
/// The next holder has a lock that was given back within this.
const HAND_OVER: Duration = Duration::from_secs(1);

async fn cli() -> Cli<'static> {
    Cli::of(consul::shared().await.server())
}

/// The name of the lock on a key.
fn node(f: &Fixture, key: &str) -> String {
    format!("{}/{key}/.lock", f.root())
}

#[test]
fn a_node_is_what_consul_makes() {
    run(Plain, "consul::locks", |f| async move {
        let cli = cli().await;
        let options = LockOptions::default().with_ttl(Duration::from_secs(60));
        let lock = f.store.new_lock("ours", options).expect("a key");
        let guard = lock.lock().await.expect("the lock is free");
        let mut theirs = cli.lock(&name(&f, "theirs")).await;
        taken(&mut theirs).await;
        let mut sessions = Vec::new();
        for lock in ["ours", "theirs"] {
            let below = cli.below(&name(&f, lock)).await;
            let [stored] = &below[..] else { panic!("{below:?}") };
            assert_eq!((&stored.name, stored.flags), (&node(&f, lock), LOCK_FLAG));
            assert_eq!((&stored.value[..], stored.created), (&b""[..], stored.changed));
            let id = stored.session.as_ref().expect("a session");
            sessions.push(cli.session(id).await.expect("it is there"));
        }
        let ours = cli.stored(&node(&f, "ours")).await.expect("the lock is held");
        assert_eq!(guard.token().get(), ours.changed);
        let session = &sessions[0];
        assert_eq!((&*session.name, &*session.ttl), ("libkv lock", "60000ms"));
        assert_eq!((&session.checks[..], session.lock_delay), (&[][..], Duration::ZERO));
        guard.unlock().await.expect("the lock is held");
        assert_eq!(cli.below(&name(&f, "ours")).await, []);
        // The handle keeps the session for its next lock, and ends it with itself.
        assert!(cli.session(&session.id).await.is_some());
        f.store.close().await.expect("the server is told");
        assert_eq!(cli.session(&session.id).await, None);
        theirs.interrupt().await;
    });
}

#[test]
fn ours_waits_for_consul_and_gets_it_afterwards() {
    run(Plain, "consul::locks", |f| async move {
        let cli = cli().await;
        for _ in 0..3 {
            let mut theirs = cli.lock(&name(&f, "lock")).await;
            taken(&mut theirs).await;
            let before = cli.stored(&node(&f, "lock")).await.expect("the lock is held");
            assert_busy(try_take(&*f.store, "lock").await);
            let short = LockOptions::default().with_wait(Wait::AtMost(Duration::from_millis(300)));
            assert_busy(f.other.new_lock("lock", short).expect("a key").lock().await);
            let waiting = async {
                let guard = take(&*f.store, "lock").await.expect("it becomes free");
                (guard, Instant::now())
            };
            let ending = async {
                // It has long begun to wait by then.
                assert_busy(try_take(&*f.other, "lock").await);
                theirs.interrupt().await;
                Instant::now()
            };
            let both = async { futures_util::join!(waiting, ending) };
            let ((guard, got), ended) = f.soon("the lock", both).await;
            let took = got.saturating_duration_since(ended);
            assert!(took < HAND_OVER, "{took:?}");
            let now = cli.stored(&node(&f, "lock")).await.expect("the lock is held");
            assert!(now.session != before.session && now.flags == LOCK_FLAG, "{now:?}");
            assert!(guard.token().get() > before.changed);
            guard.unlock().await.expect("the lock is held");
        }
    });
}

#[test]
fn consul_waits_for_ours_and_gets_it_afterwards() {
    run(Plain, "consul::locks", |f| async move {
        let cli = cli().await;
        let value = LockOptions::default().with_ttl(LONG).with_value("the holder");
        for options in [LockOptions::default().with_ttl(LONG), value] {
            let lock = f.store.new_lock("lock", options).expect("a key");
            let guard = f.soon("the lock", lock.lock()).await.expect("the lock is free");
            let waiters = waiters(&cli, &name(&f, "lock")).await;
            let mut theirs = cli.lock(&name(&f, "lock")).await;
            f.soon("a waiter", async {
                while self::waiters(&cli, &name(&f, "lock")).await <= waiters {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            })
            .await;
            assert_eq!(theirs.line().now_or_never(), None, "two hold it");
            assert!(guard.is_held());
            let held = cli.stored(&node(&f, "lock")).await.expect("the lock is held");
            assert_eq!(held.changed, guard.token().get());
            guard.unlock().await.expect("the lock is held");
            let begun = Instant::now();
            taken(&mut theirs).await;
            assert!(begun.elapsed() < HAND_OVER, "{:?}", begun.elapsed());
            assert_busy(try_take(&*f.store, "lock").await);
            theirs.interrupt().await;
        }
    });
}

/// How many sessions of `consul lock` there are for a lock.
async fn waiters(cli: &Cli<'_>, lock: &str) -> usize {
    let named = format!("at '{lock}'");
    cli.sessions().await.iter().filter(|session| session.name.ends_with(&named)).count()
}

/// Whoever is in makes a key that must not be there, and deletes it on the way out.
#[test]
fn of_many_contenders_of_both_kinds_one_holds() {
    let script = r#"
        root=$0; export root
        for round in $(seq "$1"); do
            consul lock -child-exit-code "$root/lock" '
                ! consul kv get "$root/owner" && consul kv put "$root/owner" theirs &&
                consul kv put "$root/rounds/$(cat /proc/sys/kernel/random/uuid)" theirs &&
                [ "$(consul kv get "$root/owner")" = theirs ] && consul kv delete "$root/owner"
            ' || exit 1
        done"#;
    run(Plain, "consul::locks", move |f| async move {
        let server = consul::shared().await.server();
        let (root, rounds) = (f.root().to_string(), ROUNDS.to_string());
        let command = ["sh", "-c", script, &root, &rounds];
        let theirs = join_all((0..EACH).map(|_| server.exec(&command)));
        let (theirs, ()) = futures_util::join!(theirs, contend(&f));
        theirs.iter().for_each(|output| drop(output.text()));
        assert_all_were_in(&f).await;
        assert_eq!(cli().await.below(&name(&f, "lock")).await, []);
    });
}

/// Each way in which others can take a lock away is a loss at once, long before its session ends.
/// The next token is larger, also where the lock's key was made anew.
#[test]
fn what_consul_does_to_a_node_is_a_loss_at_once() {
    run(Plain, "consul::locks", |f| async move {
        let cli = cli().await;
        for way in ["put", "set", "delete", "delete below", "release", "destroy"] {
            let lock = format!("lock {way}");
            let options = LockOptions::default().with_ttl(LONG).with_value("the holder");
            let taking = f.store.new_lock(&lock, options).expect("a key");
            let guard = taking.lock().await.expect("the lock is free");
            let (node, name) = (node(&f, &lock), name(&f, &lock));
            let stored = cli.stored(&node).await.expect("the lock is held");
            let session = stored.session.expect("a session");
            match way {
                "put" => cli.put(&node, b"theirs").await,
                "set" => cli.set(&node, b"theirs").await,
                "delete" => cli.delete(&node).await,
                "delete below" => cli.delete_below(&format!("{name}/")).await,
                "release" => cli.release(&node.replace(' ', "%20"), &session).await,
                _ => cli.destroy(&session).await,
            }
            let after = assert_lost(&f, way, guard, &lock).await;
            assert!(after.is_held(), "{way}");
            after.unlock().await.expect("the lock is held");
            assert_eq!(cli.below(&name).await, [], "{way}: something is left");
        }
    });
}

/// A lock does not meet one further down, of whichever kind that is.
#[test]
fn locks_of_a_key_and_of_one_below_it_do_not_meet() {
    run(Plain, "consul::locks", |f| async move {
        let cli = cli().await;
        let mut theirs = cli.lock(&name(&f, "lock/theirs")).await;
        taken(&mut theirs).await;
        let inner = try_take(&*f.other, "lock/ours").await.expect("nobody has this lock");
        let outer = try_take(&*f.store, "lock").await.expect("nobody has this lock");
        assert_busy(try_take(&*f.other, "lock").await);
        assert_busy(try_take(&*f.store, "lock/ours").await);
        assert_busy(try_take(&*f.store, "lock/theirs").await);
        let mut deep = cli.lock(&name(&f, "lock/deep")).await;
        taken(&mut deep).await;
        for guard in [outer, inner] {
            let valid = f.store.put_opts(&key("valid"), "1".into(), fenced(&guard.fence())).await;
            valid.expect("this lock is held");
            guard.unlock().await.expect("the lock is held");
        }
        deep.interrupt().await;
        theirs.interrupt().await;
    });
}

/// Only `.lock` with the flag is a lock. All else is data: it is shown, and nobody waits for it. A
/// key that stands where the lock would be lets nobody have that, and is left alone.
#[test]
fn data_below_a_lock_is_shown_and_is_no_contender() {
    run(Plain, "consul::locks", |f| async move {
        let cli = cli().await;
        let listed = async || below_lock(&f.store.list("lock").await.expect("a listing"));
        let flag = |flags: u64| format!("-flags={flags}");
        for last in [".lock/x", ".locks", "x.lock", "lock"] {
            cli.put_with(&[&flag(LOCK_FLAG)], &name(&f, &format!("lock/{last}")), b"1").await;
        }
        let data = [".lock/x", ".locks", "lock", "x.lock"];
        assert_eq!(listed().await, data);
        let guard = try_take(&*f.store, "lock").await.expect("all of it is data");
        assert_eq!(listed().await, data);
        guard.unlock().await.expect("the lock is held");

        for flags in [0, 1, SEMAPHORE_FLAG] {
            cli.put_with(&[&flag(flags)], &node(&f, "lock"), b"data").await;
            let stored = cli.stored(&node(&f, "lock")).await;
            assert_eq!(listed().await, [&[".lock"], &data[..]].concat());
            assert_eq!(f.store.get("lock/.lock").await.expect("it is data").value, "data");
            for attempt in [try_take(&*f.store, "lock").await, take(&*f.store, "lock").await] {
                let error = attempt.expect_err("data is in its place");
                assert_eq!(error.kind(), ErrorKind::Other, "{error}");
                assert!(error.to_string().contains("is data of others"), "{error}");
                assert!(!error.is_transient(), "{error}");
            }
            assert_eq!(cli.stored(&node(&f, "lock")).await, stored);
        }
        f.store.delete("lock/.lock").await.expect("it is data");

        // One that was left behind: hidden from everybody, and free.
        let mut watch = f.follow(f.store.watch_tree("lock").expect("a directory"));
        watch.until_synced().await;
        cli.put_with(&[&flag(LOCK_FLAG)], &node(&f, "lock"), b"").await;
        assert_eq!(listed().await, data);
        assert!(!f.store.exists("lock/.lock").await.expect("a read"));
        for gone in [f.store.get("lock/.lock").await.map(drop), f.store.delete("lock/.lock").await]
        {
            let error = gone.expect_err("a lock is no key");
            assert_eq!(error.kind(), ErrorKind::KeyNotFound, "{error}");
        }
        let guard = take(&*f.other, "lock").await.expect("nobody holds it");
        assert_busy(try_take(&*f.store, "lock").await);
        guard.unlock().await.expect("the lock is held");
        f.store.put("lock/last", "1").await.expect("a put");
        assert_eq!(watch.put().await.key, key("lock/last"), "nothing was told of the lock");
    });
}
