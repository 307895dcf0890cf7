use std::sync::Arc;
use std::time::{Duration, Instant};

use libkv::{EventStream, Key, Lifetime, LockOptions, Result, Store, StoreExt, WriteOptions};

use crate::Failure;
use crate::show::{Pair, Show, event_about, refusal};

const TTL: Duration = Duration::from_millis(300);

/// Two tasks want one lock, and what the lock protects is written with its fence.
pub(crate) async fn hand_over_a_lock(
    show: &mut Show,
    store: &dyn Store,
    second: &Arc<dyn Store>,
    own: &Key,
) -> Result<(), Failure> {
    show.step("Lock: one holder at a time; a write with its fence happens only while it is held.")?;
    let (name, ledger) = (own.join("leader")?, own.join("ledger")?);
    let a = store.new_lock(&name, LockOptions::default())?.lock().await?;
    show.line(format_args!("A holds {name} with token {}", a.token()))?;

    let lock = second.new_lock(&name, LockOptions::default())?;
    show.line(format_args!("B tries: {}; B waits", refusal(lock.try_lock().await)?))?;
    let b = tokio::spawn(async move { lock.lock().await });

    let fence = a.fence();
    let fenced = WriteOptions::default().with_fence(fence.clone());
    let version = store.put_opts(&ledger, "from A".into(), fenced).await?;
    show.line(format_args!("A writes {ledger} with its fence: accepted, version {version}"))?;

    a.unlock().await?;
    let b = b.await??;
    show.line(format_args!("A unlocks; B holds {name} with token {}", b.token()))?;

    let late = WriteOptions::default().with_fence(fence);
    let late = store.put_opts(&ledger, "late, from A".into(), late).await;
    show.line(format_args!("A's late write: {}", refusal(late)?))?;
    let pair = store.get(&ledger).await?;
    show.line(format_args!("{ledger} still reads {:?}", String::from_utf8_lossy(&pair.value)))?;
    b.unlock().await?;
    Ok(())
}

/// A key that ends on its own.
pub(crate) async fn outlive_a_ttl(
    show: &mut Show,
    store: &dyn Store,
    events: &mut EventStream,
    key: &Key,
) -> Result<(), Failure> {
    show.step(
        "Time to live: a key that is not put again goes on its own, and the watch tells it.",
    )?;
    let begun = Instant::now();
    store.put_opts(key, "gone soon".into(), Lifetime::Ttl(TTL).into()).await?;
    show.event(&event_about(events, key).await?)?;
    let gone = event_about(events, key).await?;
    let after = begun.elapsed().as_millis();
    show.event(&gone)?;
    show.line(format_args!("asked for {} ms, gone after {after} ms", TTL.as_millis()))?;
    Ok(())
}

/// A key that lives as long as the handle that put it.
pub(crate) async fn end_a_session(
    show: &mut Show,
    store: &dyn Store,
    second: &dyn Store,
    events: &mut EventStream,
    key: &Key,
) -> Result<(), Failure> {
    show.step(
        "Ephemeral: a key of a second handle, seen by the first, goes when that one closes.",
    )?;
    second.put_opts(key, "here".into(), Lifetime::Ephemeral.into()).await?;
    let pair = store.get(key).await?;
    show.line(format_args!("the first reads: {}, {:?}", Pair(&pair), pair.lifetime))?;
    show.event(&event_about(events, key).await?)?;
    second.close().await?;
    show.event(&event_about(events, key).await?)?;
    show.line(format_args!("the second, after close: {}", refusal(second.get(key).await)?))?;
    Ok(())
}
