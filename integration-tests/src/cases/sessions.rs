//! Section 8 of the contract: the handle's session, its state, and what is told about both.

use std::pin::pin;

use libkv_core::{
    ErrorKind, Event, Lifetime, LifetimeKind, SessionState, Store, StoreExt, WatchOptions,
    WatchTarget, WriteOptions,
};

use super::locks::{long_lived, poll_once, take};
use crate::{Fixture, key, lines_about};

async fn put_ephemeral(store: &dyn Store, name: &str) {
    let opts = WriteOptions::from(Lifetime::Ephemeral);
    store.put_opts(&key(name), "1".into(), opts).await.expect("an ephemeral put");
}

/// The state is `Idle` until the first ephemeral key opens the session, and `Connected` from then
/// on; whoever waits for that is told.
pub async fn the_session_opens_with_the_first_ephemeral_key(f: &Fixture) {
    let store = f.another().await;
    let mut state = store.state();
    let mut waiting = store.state();
    assert_eq!(state.get(), SessionState::Idle);
    store.put("a", "1").await.expect("a put");
    store.get("a").await.expect("a is there");
    assert_eq!(state.get(), SessionState::Idle, "nothing ephemeral was put");
    let told = tokio::spawn(async move { waiting.wait_for(SessionState::Connected).await });
    put_ephemeral(&store, "b").await;
    assert_eq!(f.soon("a change", state.changed()).await, Some(SessionState::Connected));
    assert!(f.soon("the state", told).await.expect("the task ends well"));
    assert_eq!(store.state().get(), SessionState::Connected);
    put_ephemeral(&store, "c").await;
    assert_eq!(state.get(), SessionState::Connected);
    assert_eq!(f.other.state().get(), SessionState::Idle, "the session is another handle's");
    store.close().await.expect("a close");
}

/// An ephemeral put that ends after the close of its handle, and whatever became of it, does not
/// make the handle look connected.
pub async fn a_closed_handle_is_not_connected(f: &Fixture) {
    for _ in 0..50 {
        let store = f.another().await;
        let (opts, name) = (WriteOptions::from(Lifetime::Ephemeral), key("mine"));
        let mut put = pin!(store.put_opts(&name, "1".into(), opts));
        let ended = poll_once(put.as_mut()).await;
        store.close().await.expect("a close");
        let ended = match ended {
            Some(ended) => ended,
            None => put.await,
        };
        if let Err(error) = ended {
            assert!(
                matches!(error.kind(), ErrorKind::Closed | ErrorKind::OutcomeUnknown),
                "{error}"
            );
        }
        assert_ne!(store.state().get(), SessionState::Connected);
        assert!(!f.other.exists("mine").await.expect("a read"));
    }
}

/// All ephemeral keys of a handle and its clones live and end together, and those of another
/// handle do not.
pub async fn one_session_owns_the_ephemeral_keys_of_a_handle(f: &Fixture) {
    let store = f.another().await;
    let mut watch = f.follow(f.store.watch_tree("d").expect("a directory"));
    watch.until_synced().await;
    put_ephemeral(&store, "d/a").await;
    put_ephemeral(&store.clone(), "d/b").await;
    put_ephemeral(&f.other, "d/others").await;
    store.put("d/permanent", "1").await.expect("a put");
    watch.until(|state| state.len() == 4).await;
    let ephemeral = |name: &str| watch.state[&key(name)].lifetime == LifetimeKind::Ephemeral;
    assert!(ephemeral("d/a") && ephemeral("d/b") && ephemeral("d/others"));
    store.close().await.expect("a close");
    let mut gone = [watch.delete().await.0, watch.delete().await.0];
    gone.sort();
    assert_eq!(gone, [key("d/a"), key("d/b")]);
    f.other.put("d/zz", "1").await.expect("a put");
    assert_eq!(watch.put().await.key, key("d/zz"));
    assert!(f.store.exists("d/others").await.expect("a read"));
}

/// A lost lock is an event with backend and key, and nothing that is logged about the lock holds
/// its value.
pub async fn a_lost_lock_is_logged_without_its_value(f: &Fixture) {
    let (name, secret) = (random("lock"), random("secret"));
    let options = long_lived(f).with_value(secret.clone());
    let guard = take(&f.store, &name, options).await.expect("the lock is free");
    f.other.delete_tree(&name).await.expect("a tree");
    f.soon("the loss", guard.lost()).await;
    assert_told(f, &name, "lost");
    drop(guard);
    assert_eq!(lines_about(&secret), [""; 0]);
}

/// A resync is an event with backend and key, and nothing that is logged about the watch holds a
/// value.
pub async fn a_resync_is_logged_without_values(f: &Fixture) {
    let (dir, secret) = (random("dir"), random("secret"));
    let opts = WatchOptions::default().with_buffer(1);
    let mut watch = f.follow(f.store.watch_opts(&WatchTarget::Tree(key(&dir)), opts));
    watch.until_synced().await;
    for step in 0..200 {
        let value = secret.clone();
        f.other.put(format!("{dir}/{step}"), value).await.expect("a put");
    }
    f.other.put(format!("{dir}/zz"), "1").await.expect("a put");
    let last = key(&format!("{dir}/zz"));
    let mut resynced = false;
    while !watch.state.contains_key(&last) {
        resynced |= matches!(watch.next().await, Event::Resync { .. });
    }
    // A store that folds changes may come through without a resync.
    assert!(resynced || !f.store.capabilities().watches_every_version);
    if resynced {
        assert_told(f, &dir, "resync");
    } else {
        assert_eq!(lines_about(&dir).iter().find(|line| line.contains("resync")), None);
    }
    assert_eq!(lines_about(&secret), [""; 0]);
}

fn random(what: &str) -> String {
    format!("{what}-{:016x}", fastrand::u64(..))
}

/// One of the lines about the key has the word for what happened, and the backend.
fn assert_told(f: &Fixture, name: &str, what: &str) {
    let lines = lines_about(name);
    let backend = format!("backend={}", f.store.backend());
    let told = |line: &&String| line.contains(what) && line.contains(&backend);
    let line = lines.iter().find(told);
    let line = line.unwrap_or_else(|| panic!("{what} of {name} is not told: {lines:?}"));
    assert!(line.contains(&format!("key={name}")), "{line}");
}
