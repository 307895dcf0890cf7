//! Section 4: many writers at once, over both connections.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use libkv_core::{ErrorKind, Expect, Key, Result, Store, StoreExt, Txn, UpdateOptions, Version};
use tokio::sync::Barrier;

use crate::{Fixture, key};

const WRITERS: usize = 12;
const ROUNDS: usize = 5;

/// Runs `count` calls at once, by turns through one connection and the other.
pub(super) async fn race<T, C>(
    f: &Fixture,
    count: usize,
    call: impl Fn(Arc<dyn Store>, usize) -> C,
) -> Vec<T>
where
    T: Send + 'static,
    C: Future<Output = T> + Send + 'static,
{
    let start = Arc::new(Barrier::new(count));
    let calls = (0..count).map(|number| {
        let store = if number % 2 == 0 { f.store.clone() } else { f.other.clone() };
        let (start, call) = (start.clone(), call(store, number));
        tokio::spawn(async move {
            start.wait().await;
            call.await
        })
    });
    let mut ended = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        ended.push(call.await.expect("the call ends"));
    }
    ended
}

/// The one winner of a race and what it was given; all others were refused with one of `kinds`.
fn winner<T>(ended: Vec<Result<T>>, kinds: &[ErrorKind]) -> (usize, T) {
    let mut winners = Vec::new();
    for (number, ended) in ended.into_iter().enumerate() {
        match ended {
            Ok(given) => winners.push((number, given)),
            Err(error) => {
                assert!(kinds.contains(&error.kind()) && error.changed_nothing(), "{error}")
            }
        }
    }
    assert_eq!(winners.len(), 1, "one and only one wins");
    winners.remove(0)
}

async fn assert_is(f: &Fixture, name: &str, version: Version, value: &str) {
    let pair = f.other.get(name).await.expect("the key is there");
    assert_eq!((pair.version, &*pair.value), (version, value.as_bytes()), "{name}");
}

/// Of many who create one key, one does, and the others are told that it exists.
pub async fn one_of_many_creators_wins(f: &Fixture) {
    for round in 0..ROUNDS {
        let name = format!("d/{round}");
        let created = race(f, WRITERS, |store, writer| {
            let name = key(&name);
            async move {
                let value = writer.to_string().into();
                store.put_opts(&name, value, Expect::Absent.into()).await
            }
        });
        let (writer, version) = winner(created.await, &[ErrorKind::KeyExists]);
        assert_is(f, &name, version, &writer.to_string()).await;
    }
}

/// Of many who replace one state, one does, also where all write the value that is there already.
pub async fn one_of_many_replacers_wins(f: &Fixture) {
    for round in 0..ROUNDS {
        let same = round % 2 == 0;
        let before = f.store.put("a", "same").await.expect("a put");
        let value = move |writer: usize| match same {
            true => "same".to_owned(),
            false => writer.to_string(),
        };
        let replaced = race(f, WRITERS, |store, writer| async move {
            let expect = Expect::Version(before);
            store.put_opts(&key("a"), value(writer).into(), expect.into()).await
        });
        let (writer, version) = winner(replaced.await, &[ErrorKind::KeyModified]);
        assert_ne!(version, before);
        assert_is(f, "a", version, &value(writer)).await;
    }
}

/// Of many who delete one state, or one key, one does.
pub async fn one_of_many_deleters_wins(f: &Fixture) {
    for round in 0..ROUNDS {
        let version = f.store.put("a", "1").await.expect("a put");
        let expect = if round % 2 == 0 { Expect::Version(version) } else { Expect::Anything };
        let deleted = race(f, WRITERS, |store, _| async move {
            store.delete_opts(&key("a"), expect.into()).await
        });
        winner(deleted.await, &[ErrorKind::KeyNotFound]);
        assert!(!f.other.exists("a").await.expect("a read"));
    }
}

/// Of a put and a delete of the same state one happens, and what is there says which.
pub async fn a_put_and_a_delete_of_one_state_exclude_each_other(f: &Fixture) {
    for _ in 0..ROUNDS {
        let before = f.store.put("a", "old").await.expect("a put");
        let ended = race(f, WRITERS, |store, writer| async move {
            let expect = Expect::Version(before);
            if writer % 3 == 0 {
                return store.delete_opts(&key("a"), expect.into()).await.map(|()| None);
            }
            store.put_opts(&key("a"), "new".into(), expect.into()).await.map(Some)
        });
        let kinds = [ErrorKind::KeyModified, ErrorKind::KeyNotFound];
        let (_, put) = winner(ended.await, &kinds);
        match put {
            Some(version) => assert_is(f, "a", version, "new").await,
            None => assert!(!f.other.exists("a").await.expect("a read")),
        }
    }
}

/// Of many transactions that need one state, one happens, and it does as a whole.
pub async fn one_of_many_transactions_wins(f: &Fixture) {
    for round in 0..ROUNDS {
        let before = f.store.put("a", "same").await.expect("a put");
        let committed = race(f, WRITERS, |store, writer| async move {
            let txn = Txn::new()
                .require_version("a", before)?
                .require_absent(format!("won/{round}"))?
                .put("a", "same")?
                .put(format!("won/{round}"), writer.to_string())?
                .put(format!("by/{round}/{writer}"), "1")?;
            store.txn(txn).await
        });
        let kinds = [ErrorKind::KeyModified, ErrorKind::KeyExists];
        let (writer, outcome) = winner(committed.await, &kinds);
        assert_is(f, "a", outcome.versions[0], "same").await;
        assert_is(f, &format!("won/{round}"), outcome.versions[1], &writer.to_string()).await;
        let by = f.other.list(format!("by/{round}")).await.expect("the winner signed");
        assert_eq!(by.len(), 1, "{by:?}");
        assert_eq!(by[0].key, key(&format!("by/{round}/{writer}")));
    }
}

/// Increments of one counter all count, whoever makes them.
pub async fn concurrent_updates_all_count(f: &Fixture) {
    const INCREMENTS: usize = 8;
    let counted = race(f, WRITERS / 2, |store, _| async move {
        let options = UpdateOptions::default().with_tries(10_000);
        for _ in 0..INCREMENTS {
            let done = store.update("counter", options.clone(), |pair| {
                let count = pair.map_or(0, |pair| number(&pair.value));
                (count + 1).to_string()
            });
            done.await?;
        }
        Ok::<_, libkv_core::Error>(())
    });
    for ended in counted.await {
        ended.expect("there are tries enough");
    }
    let pair = f.other.get("counter").await.expect("the counter is there");
    assert_eq!(number(&pair.value), INCREMENTS * (WRITERS / 2));
}

/// Transfers between keys keep the sum, at every moment that a listing of one point in time shows.
pub async fn transfers_keep_the_sum(f: &Fixture) {
    const ACCOUNTS: usize = 4;
    const SUM: usize = 100 * ACCOUNTS;
    for account in 0..ACCOUNTS {
        f.store.put(format!("account/{account}"), "100").await.expect("a put");
    }
    let atomic = f.store.capabilities().atomic_list;
    let moved = race(f, 4, |store, writer| async move {
        let mut moved = 0;
        while moved < 5 {
            let pairs = store.list("account").await?;
            let sum: usize = pairs.iter().map(|pair| number(&pair.value)).sum();
            assert!(!atomic || sum == SUM, "a listing shows the sum {sum}");
            let (from, to) = (&pairs[writer], &pairs[(writer + 1 + moved % 3) % ACCOUNTS]);
            let (less, more) = (number(&from.value) - 1, number(&to.value) + 1);
            let txn = Txn::new()
                .require_version(&from.key, from.version)?
                .require_version(&to.key, to.version)?
                .put(&from.key, less.to_string())?
                .put(&to.key, more.to_string())?;
            match store.txn(txn).await {
                Ok(_) => moved += 1,
                Err(error) if error.kind() == ErrorKind::KeyModified => {
                    let known = error.key() == Some(&from.key) || error.key() == Some(&to.key);
                    assert!(known, "{error}");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    });
    for ended in moved.await {
        ended.expect("every transfer happens in the end");
    }
    let pairs = f.other.list(Key::root()).await.expect("there are keys");
    let sum: usize = pairs.iter().map(|pair| number(&pair.value)).sum();
    assert_eq!(sum, SUM, "{:?}", pairs.iter().map(|pair| &pair.value).collect::<Vec<_>>());
}

fn number(value: &Bytes) -> usize {
    let text = std::str::from_utf8(value).expect("a number is text");
    text.parse().expect("a number has digits")
}
