//! Keys that Consul gives to nobody for a while, because their last session did not end in an
//! orderly way.

use std::time::{Duration, Instant};

use integration_tests::{Fixture, run};
use libkv_core::{
    ErrorKind, Lifetime, LockOptions, Store, StoreExt, Txn, Version, Wait, WriteOptions,
};

use super::Plain;
use super::cli::{Cli, taken};
use crate::harness::consul;
use crate::servers::locks::{assert_busy, take, try_take};
use crate::servers::peers::name;

/// What a session has that asks for nothing else, as that of `consul lock`.
const DEFAULT: Duration = Duration::from_secs(15);
/// The server's clock may be a little behind where it counts from.
const SLACK: Duration = Duration::from_millis(500);

async fn cli() -> Cli<'static> {
    Cli::of(consul::shared().await.server())
}

#[test]
fn a_waiter_waits_out_the_delay_of_a_session_that_others_ended() {
    run(Plain, "consul::delays", |f| async move {
        let cli = cli().await;
        let mut theirs = cli.lock(&name(&f, "lock")).await;
        taken(&mut theirs).await;
        let node = format!("{}/.lock", name(&f, "lock"));
        let held = cli.stored(&node).await.expect("the lock is held");
        let waiter = tokio::spawn({
            let store = f.store.clone();
            async move { take(&*store, "lock").await.map(|guard| (guard, Instant::now())) }
        });
        let begun = Instant::now();
        cli.destroy(held.session.as_ref().expect("a session")).await;
        // Nobody has it, and nobody may; who has lost it may have deleted the key.
        let released = cli.stored(&node).await;
        assert!(released.is_none_or(|released| released.session.is_none()));
        assert_busy(try_take(&*f.other, "lock").await);
        let short = LockOptions::default().with_wait(Wait::AtMost(Duration::from_secs(1)));
        assert_busy(f.other.new_lock("lock", short).expect("a key").lock().await);
        assert!(!waiter.is_finished());
        let (guard, got) = f.soon("the lock", waiter).await.expect("no panic").expect("it is free");
        let waited = got.duration_since(begun);
        assert!(waited > DEFAULT - SLACK, "{waited:?}");
        assert!(guard.token().get() > held.changed);
        guard.unlock().await.expect("the lock is held");
        theirs.interrupt().await;
    });
}

/// Has a key that was bound to a session of others, which has just ended.
async fn delay(f: &Fixture, key: &str, lock_delay: &str, behavior: &str) -> Instant {
    let cli = cli().await;
    let session = cli.new_session(lock_delay, behavior).await;
    cli.acquire(&name(f, key), b"theirs", &session).await;
    let begun = Instant::now();
    cli.destroy(&session).await;
    begun
}

/// Puts a key that is bound, within a time.
async fn put(f: &Fixture, key: &str, how: How, within: Duration) -> libkv_core::Result<Version> {
    let deadline = Instant::now() + within;
    let key = integration_tests::key(key);
    let lifetime = match how {
        How::Ttl => Lifetime::Ttl(Duration::from_secs(600)),
        How::Ephemeral | How::Txn => Lifetime::Ephemeral,
    };
    if how == How::Txn {
        let txn = Txn::new().put_with(&key, "ours", lifetime)?.put("beside", "ours")?;
        return f.store.txn(txn.with_deadline(deadline)).await.map(|done| done.versions[0]);
    }
    let options = WriteOptions::from(lifetime).with_deadline(deadline);
    f.store.put_opts(&key, "ours".into(), options).await
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Ttl,
    Ephemeral,
    Txn,
}

#[test]
fn a_put_that_binds_a_key_waits_out_a_delay_within_its_time() {
    const SHORT: Duration = Duration::from_secs(2);
    run(Plain, "consul::delays", |f| async move {
        let (f, behaviors) = (&*f, ["release", "delete"]);
        let hows = [How::Ttl, How::Ephemeral, How::Txn];
        let cases = hows.iter().flat_map(|how| behaviors.map(|behavior| (*how, behavior)));
        let putting = cases.map(|(how, behavior)| async move {
            let key = format!("{how:?}/{behavior}");
            let begun = delay(f, &key, "2s", behavior).await;
            let version = put(f, &key, how, Duration::from_secs(20)).await;
            let waited = begun.elapsed();
            let version = version.unwrap_or_else(|error| panic!("{key}: {error}"));
            assert!(waited > SHORT - SLACK, "{key}: {waited:?}");
            let stored = cli().await.stored(&name(f, &key)).await.expect("it was put");
            assert_eq!((&*stored.value, stored.changed), (&b"ours"[..], version.last_index()));
            assert!(stored.session.is_some(), "{key}");
        });
        futures_util::future::join_all(putting).await;
    });
}

#[test]
fn a_put_that_has_no_time_for_a_delay_is_a_timeout_and_changes_nothing() {
    run(Plain, "consul::delays", |f| async move {
        let (cli, limit) = (cli().await, Duration::from_secs(1));
        for behavior in ["release", "delete"] {
            delay(&f, behavior, "15s", behavior).await;
            let before = cli.below(&name(&f, "")).await;
            for how in [How::Ttl, How::Ephemeral, How::Txn] {
                let begun = Instant::now();
                let error = put(&f, behavior, how, limit).await.expect_err("it may not be bound");
                let took = begun.elapsed();
                assert_eq!(error.kind(), ErrorKind::Timeout, "{how:?}: {error}");
                assert!(error.changed_nothing() && error.is_transient(), "{how:?}: {error}");
                assert!(took < limit + SLACK, "{how:?}: {took:?}");
            }
            assert_eq!(cli.below(&name(&f, "")).await, before);
            // Whoever does not bind it need not wait.
            let begun = Instant::now();
            f.store.put(behavior, "free").await.expect("a put");
            assert!(begun.elapsed() < DEFAULT / 2, "{:?}", begun.elapsed());
            assert_eq!(f.store.get(behavior).await.expect("it was put").value, "free");
            f.store.delete(behavior).await.expect("it is there");
        }
    });
}
