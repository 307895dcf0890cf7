use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use libkv::{Event, EventStream, Key, KvPair, Result, Store, StoreExt, Txn, UpdateOptions};

use crate::Failure;
use crate::show::{Pair, Show, count, event_about, refusal};

/// How often each of two tasks adds one to a counter.
const ADDITIONS: usize = 100;
/// How long both think over the first state they read, so that they meet.
const THOUGHT: Duration = Duration::from_millis(20);

/// Begins to watch everything.
pub(crate) async fn begin_watch(
    show: &mut Show,
    store: &dyn Store,
) -> Result<EventStream, Failure> {
    show.step("Watch: first the present state, then Synced, then each change as it happens.")?;
    let mut events = store.watch_tree(Key::root())?;
    let mut puts = 0;
    while let Some(event) = events.next().await {
        match event? {
            Event::Put(_) => puts += 1,
            Event::Synced { index } => {
                show.line(format_args!(
                    "watch: {}, then synced at index {index}",
                    count(puts, "put")
                ))?;
                return Ok(events);
            }
            other => show.event(&other)?,
        }
    }
    Err("the watch ended".into())
}

/// Two tasks change one key that both have read.
pub(crate) async fn compare_and_set(
    show: &mut Show,
    store: &Arc<dyn Store>,
    events: &mut EventStream,
    read: &KvPair,
) -> Result<(), Failure> {
    show.step("Compare-and-set: two tasks read one state of a key and both write; one wins.")?;
    show.line(format_args!("both read: {}", Pair(read)))?;
    let write = |value: &'static str| {
        let (store, read) = (store.clone(), read.clone());
        tokio::spawn(async move { store.atomic_put(&read.key, value, &read).await })
    };
    let (a, b) = tokio::try_join!(write("from task A"), write("from task B"))?;
    let (won, lost) = if a.is_ok() { (a, b) } else { (b, a) };
    show.line(format_args!("one wrote: {}", Pair(&won?)))?;
    show.line(format_args!("the other: {}", refusal(lost)?))?;
    show.event(&event_about(events, &read.key).await?)?;
    Ok(())
}

/// Two tasks change one key again and again, and each change counts.
pub(crate) async fn update(
    show: &mut Show,
    store: &Arc<dyn Store>,
    events: &mut EventStream,
    key: &Key,
) -> Result<(), Failure> {
    show.step("Update: read, change, write back; again where somebody else was quicker.")?;
    let calls = Arc::new(AtomicUsize::new(0));
    let add = || {
        let (store, key, calls) = (store.clone(), key.clone(), calls.clone());
        tokio::spawn(async move {
            for _ in 0..ADDITIONS {
                let add_one = |old: Option<&KvPair>| {
                    if calls.fetch_add(1, Ordering::Relaxed) < 2 {
                        std::thread::sleep(THOUGHT);
                    }
                    (number(old) + 1).to_string()
                };
                store.update(&key, UpdateOptions::default(), add_one).await?;
            }
            Ok::<_, libkv::Error>(())
        })
    };
    let (a, b) = tokio::try_join!(add(), add())?;
    a.and(b)?;
    let total = number(Some(&store.get(key).await?));
    let again = calls.load(Ordering::Relaxed) - 2 * ADDITIONS;
    show.line(format_args!("two tasks added 1 to {key}, {ADDITIONS} times each: it is {total}"))?;
    show.line(format_args!("{} met a newer version and was made again", count(again, "write")))?;
    let mut told = 1;
    while !matches!(event_about(events, key).await?, Event::Put(pair) if number(Some(&pair)) == total)
    {
        told += 1;
    }
    show.line(format_args!("watch: {} of {key}, the last one {total}", count(told, "put")))?;
    Ok(())
}

/// The counter's value; 0 where there is none.
fn number(pair: Option<&KvPair>) -> usize {
    let text = pair.and_then(|pair| std::str::from_utf8(&pair.value).ok());
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Several keys, all or nothing.
pub(crate) async fn transact(
    show: &mut Show,
    store: &dyn Store,
    before: &KvPair,
    own: &Key,
) -> Result<(), Failure> {
    show.step("Transaction: several keys together, or nothing and the name of the key to blame.")?;
    let now = store.get(&before.key).await?;
    let (a, b) = (own.join("a")?, own.join("b")?);
    for version in [before.version, now.version] {
        show.line(format_args!("put {a} and {b}, if {} is at version {version}:", now.key))?;
        let txn = Txn::new().require_version(&now.key, version)?.put(&a, "1")?.put(&b, "2")?;
        match store.txn(txn).await {
            Ok(done) => show.line(format_args!("  done at index {}", done.index))?,
            Err(refused) => show.line(format_args!("  {refused}"))?,
        }
        let there = (store.exists(&a).await?, store.exists(&b).await?);
        show.line(format_args!("  {a} exists: {}, {b} exists: {}", there.0, there.1))?;
    }
    Ok(())
}

/// One key goes.
pub(crate) async fn delete(
    show: &mut Show,
    store: &dyn Store,
    events: &mut EventStream,
    key: &Key,
) -> Result<(), Failure> {
    show.step("Delete: the watch tells it; reading the key, or deleting it again, is refused.")?;
    store.delete(key).await?;
    show.event(&event_about(events, key).await?)?;
    show.line(refusal(store.get(key).await)?)?;
    show.line(refusal(store.delete(key).await)?)?;
    Ok(())
}
