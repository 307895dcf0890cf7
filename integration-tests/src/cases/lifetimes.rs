//! Section 4: times to live and ephemeral keys.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use libkv_core::{
    ErrorKind, Event, EventStream, Expect, Key, Lifetime, LifetimeKind, Result, Store, StoreExt,
    TtlLimits, Txn, UpdateOptions, Version, WriteOptions,
};

use super::lists::{names, put_all};
use super::writes::refused;
use crate::{Fixture, Watcher, key};

/// The limits of a time to live. Where there are none, every form of it must be refused.
async fn limits_or_refusals(f: &Fixture) -> Option<TtlLimits> {
    let limits = f.store.capabilities().ttl;
    if limits.is_none() {
        for ttl in [Duration::from_secs(1), Duration::from_secs(3600)] {
            assert_every_form_refuses(f, ttl).await;
        }
    }
    limits
}

/// Each form of write refuses the time to live and changes nothing; gives what each said.
async fn assert_every_form_refuses(f: &Fixture, ttl: Duration) -> Vec<String> {
    put_all(f, &["here", "here/child"]).await;
    let before = f.other.list(Key::root()).await.expect("there are keys");
    let mut said = Vec::new();
    for name in ["here", "gone"] {
        for form in FORMS {
            let ended = put_as(&f.store, form, name, Lifetime::Ttl(ttl)).await;
            said.push(refused(ended, ErrorKind::NotImplemented, name).to_string());
        }
    }
    assert_eq!(f.other.list(Key::root()).await.expect("there are keys"), before);
    said
}

/// A time to live that is short and leaves room for a slow machine.
fn short(limits: &TtlLimits) -> Duration {
    Duration::from_millis(300).clamp(limits.min, limits.max)
}

#[derive(Debug, Clone, Copy)]
enum Form {
    Put,
    Conditional,
    Transaction,
    Update,
}

const FORMS: [Form; 4] = [Form::Put, Form::Conditional, Form::Transaction, Form::Update];

async fn put_as(
    store: &Arc<dyn Store>,
    form: Form,
    name: &str,
    lifetime: Lifetime,
) -> Result<Version> {
    let value = format!("{form:?}");
    match form {
        Form::Put => store.put_opts(&key(name), value.into(), lifetime.into()).await,
        Form::Conditional => {
            let expect = match store.get(name).await {
                Ok(pair) => Expect::Version(pair.version),
                Err(_) => Expect::Absent,
            };
            let opts = WriteOptions::from(expect).with_lifetime(lifetime);
            store.put_opts(&key(name), value.into(), opts).await
        }
        Form::Transaction => {
            let txn = Txn::new().put_with(name, value, lifetime)?;
            Ok(store.txn(txn).await?.versions.remove(0))
        }
        Form::Update => {
            let options = UpdateOptions::default().with_lifetime(lifetime);
            let pair = store.update(name, options, |_| value.clone()).await?;
            Ok(pair.expect("an update that puts").version)
        }
    }
}

/// A handle of its own, with an ephemeral key whose end shows that its session has ended.
async fn owner(f: &Fixture, sentinel: &str) -> (Arc<dyn Store>, Watcher) {
    let owner = f.another().await;
    let put = owner.put_opts(&key(sentinel), "1".into(), Lifetime::Ephemeral.into()).await;
    put.expect("an ephemeral put");
    let mut watch = f.follow(f.other.watch(sentinel).expect("a key"));
    assert_eq!(watch.put().await.lifetime, LifetimeKind::Ephemeral);
    watch.until_synced().await;
    (owner, watch)
}

/// Every form of put states the lifetime anew, whatever it was and whoever stated it before.
pub async fn every_put_states_the_lifetime_anew(f: &Fixture) {
    let (owner, mut sentinel) = owner(f, "sentinel").await;
    let mut lifetimes = vec![
        ("permanent", Lifetime::Permanent, LifetimeKind::Permanent),
        ("ephemeral", Lifetime::Ephemeral, LifetimeKind::Ephemeral),
    ];
    if let Some(limits) = limits_or_refusals(f).await {
        let hour = Duration::from_secs(3600).clamp(limits.min, limits.max);
        lifetimes.push(("ttl", Lifetime::Ttl(hour), LifetimeKind::Ttl));
    }
    let mut kept = Vec::new();
    for form in FORMS {
        for (before, old, _) in &lifetimes {
            for (after, new, kind) in &lifetimes {
                for (who, writer) in [("same", &owner), ("other", &f.store)] {
                    let name = format!("d/{form:?}/{before}/{after}/{who}");
                    put_as(&owner, Form::Put, &name, *old).await.expect("a put");
                    let version = put_as(writer, form, &name, *new).await.expect("a put");
                    let pair = f.other.get(&name).await.expect("the key is there");
                    assert_eq!((pair.version, pair.lifetime), (version, *kind), "{name}");
                    if *kind != LifetimeKind::Ephemeral || who == "other" {
                        kept.push(pair);
                    }
                }
            }
        }
    }
    owner.close().await.expect("a close");
    sentinel.delete().await;
    kept.sort_by(|one, other| one.key.cmp(&other.key));
    let left = f.other.list("d").await.expect("there are keys");
    assert_eq!(left, kept, "an ephemeral key goes with the handle that put it last, and no other");
}

/// A key whose time limit was taken away, by a put or with the key, outlives it.
pub async fn a_plain_put_outlives_the_old_time_limit(f: &Fixture) {
    let Some(limits) = limits_or_refusals(f).await else {
        return;
    };
    let ttl = short(&limits);
    let mut kept = Vec::new();
    for form in FORMS {
        let name = format!("d/{form:?}");
        put_as(&f.store, form, &name, Lifetime::Ttl(ttl)).await.expect("a put");
        put_as(&f.other, form, &name, Lifetime::Permanent).await.expect("a put");
        kept.push(name);
    }
    for (name, lifetime) in [("d/a", Lifetime::Permanent), ("d/b", Lifetime::Ephemeral)] {
        put_as(&f.store, Form::Put, name, Lifetime::Ttl(ttl)).await.expect("a put");
        f.store.delete_tree(name).await.expect("a tree");
        put_as(&f.store, Form::Put, name, lifetime).await.expect("a put");
        kept.push(name.to_owned());
    }
    put_as(&f.store, Form::Put, "d/bound", Lifetime::Ttl(ttl)).await.expect("a put");
    put_as(&f.other, Form::Put, "d/bound", Lifetime::Ephemeral).await.expect("a put");
    kept.push("d/bound".to_owned());
    let before = f.other.list("d").await.expect("there are keys");
    let last_put = tokio::time::Instant::now();
    let mut control = f.other.watch("control").expect("a key");
    put_as(&f.store, Form::Put, "control", Lifetime::Ttl(ttl)).await.expect("a put");
    told_end(&mut control, limits.bound(ttl) + f.patience()).await;
    // By then a limit that is still in force would have ended its key.
    tokio::time::sleep_until(last_put + limits.bound(ttl)).await;
    kept.sort_unstable();
    let left = f.other.list("d").await.expect("there are keys");
    assert_eq!(names(&left), kept);
    assert_eq!(left, before);
}

/// Waits for the end of a watched key and gives the moment in which it was told.
async fn told_end(events: &mut EventStream, longest: Duration) -> Instant {
    let end = async {
        loop {
            let event = events.next().await.expect("the watch goes on");
            if let Event::Delete { .. } = event.expect("the watch is healthy") {
                return Instant::now();
            }
        }
    };
    let ended = tokio::time::timeout(longest, end).await;
    ended.unwrap_or_else(|_| panic!("the key is still there after {longest:?}"))
}

/// A key with a time to live is there at least so long, and is gone by the bound.
pub async fn a_key_ends_between_its_time_and_the_bound(f: &Fixture) {
    let Some(limits) = limits_or_refusals(f).await else {
        return;
    };
    let ttl = short(&limits);
    let odd = (ttl + ttl / 3 + Duration::from_nanos(1)).min(limits.max);
    let puts = [
        ("d/min", Form::Put, limits.min),
        ("d/short", Form::Put, ttl),
        ("d/odd", Form::Put, odd),
        ("d/txn", Form::Transaction, odd),
        ("d/update", Form::Update, odd),
        ("d/conditional", Form::Conditional, odd),
    ];
    join_all(puts.map(async |(name, form, ttl)| {
        let mut watch = f.other.watch(name).expect("a key");
        let first = watch.next().await.expect("something is told");
        assert!(matches!(first, Ok(Event::Synced { .. })), "{first:?}");
        let sent = Instant::now();
        put_as(&f.store, form, name, Lifetime::Ttl(ttl)).await.expect("a put");
        let ended = told_end(&mut watch, limits.bound(ttl) + f.patience()).await;
        assert!(ended >= sent + ttl, "{name} is gone {:?} too early", sent + ttl - ended);
        refused(f.other.get(name).await, ErrorKind::KeyNotFound, name);
        f.store.atomic_put(name, "1", None).await.expect("what has ended can be made again");
    }))
    .await;
}

/// A key with a time to live that is put again lives its whole time from then on.
pub async fn a_put_again_starts_the_time_anew(f: &Fixture) {
    let Some(limits) = limits_or_refusals(f).await else {
        return;
    };
    let ttl = short(&limits);
    join_all(FORMS.map(async |form| {
        let name = format!("d/{form:?}");
        let mut watch = f.other.watch(&name).expect("a key");
        put_as(&f.store, form, &name, Lifetime::Ttl(ttl)).await.expect("a put");
        tokio::time::sleep(ttl / 2).await;
        let sent = Instant::now();
        let again = put_as(&f.other, form, &name, Lifetime::Ttl(ttl)).await.expect("a put");
        let end = tokio::time::Instant::now() + limits.bound(ttl) + f.patience();
        let mut is_told = false;
        loop {
            let event = tokio::time::timeout_at(end, watch.next()).await;
            let event = event.expect("the key is gone by its bound").expect("the watch goes on");
            match event.expect("the watch is healthy") {
                Event::Put(pair) => is_told |= pair.version == again,
                Event::Delete { .. } if Instant::now() >= sent + ttl => break,
                // A slow machine may have let the first time to live end before the second put.
                Event::Delete { .. } => assert!(!is_told, "{name} is gone too early"),
                _ => {}
            }
        }
        assert!(!f.other.exists(&name).await.expect("a read"), "{name}");
    }))
    .await;
}

/// A time to live outside the limits is refused in every form of write, with the limits.
pub async fn a_time_outside_the_limits_is_refused(f: &Fixture) {
    let Some(limits) = limits_or_refusals(f).await else {
        return;
    };
    let nano = Duration::from_nanos(1);
    let outside =
        [Some(Duration::ZERO), limits.min.checked_sub(nano), limits.max.checked_add(nano)];
    for ttl in outside.into_iter().flatten().filter(|ttl| *ttl < limits.min || *ttl > limits.max) {
        for said in assert_every_form_refuses(f, ttl).await {
            let [min, max] = [limits.min, limits.max].map(|limit| format!("{limit:?}"));
            assert!(said.contains(&min) && said.contains(&max), "{said}");
        }
    }
    for ttl in [limits.min, limits.max] {
        let put = put_as(&f.store, Form::Put, "edge", Lifetime::Ttl(ttl)).await;
        put.expect("the limits are within the limits");
    }
}

/// An ephemeral key goes with the session of the handle that put it last, and with no other.
pub async fn an_ephemeral_key_lives_as_long_as_its_session(f: &Fixture) {
    let (first, mut first_sentinel) = owner(f, "sentinel/1").await;
    let (second, mut second_sentinel) = owner(f, "sentinel/2").await;
    let bind = async |store: &Arc<dyn Store>, form, name| {
        put_as(store, form, name, Lifetime::Ephemeral).await.expect("an ephemeral put");
    };
    for (form, name) in FORMS.into_iter().zip(["d/a", "d/b/c", "d/d", "d/e"]) {
        bind(&first, form, name).await;
    }
    bind(&second, Form::Put, "d/second").await;
    for name in ["d/taken", "d/freed", "d/remade"] {
        bind(&first, Form::Put, name).await;
    }
    bind(&second, Form::Put, "d/taken").await;
    f.other.put("d/freed", "1").await.expect("a put");
    f.other.delete("d/remade").await.expect("the key is there");
    f.other.put("d/remade", "1").await.expect("a put");
    let before = f.other.list("d").await.expect("there are keys");
    assert_eq!(before.len(), 8, "{before:?}");

    first.close().await.expect("a close");
    first_sentinel.delete().await;
    let left = f.other.list("d").await.expect("there are keys");
    assert_eq!(names(&left), ["d/freed", "d/remade", "d/second", "d/taken"]);
    assert!(left.iter().all(|pair| before.contains(pair)), "{left:?}");
    second.close().await.expect("a close");
    second_sentinel.delete().await;
    let left = f.other.list("d").await.expect("there are keys");
    assert_eq!(names(&left), ["d/freed", "d/remade"]);
}
