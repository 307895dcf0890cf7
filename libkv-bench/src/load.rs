//! The work that both sides are given.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::lab::Done;
use crate::sides::{Name, Side};

const VALUE_BYTES: usize = 256;
/// How many keys are put at once where a store is filled.
const FILLED_AT_ONCE: usize = 8192;

/// The keys of a store, in order.
pub(crate) fn names(keys: usize) -> Done<Arc<[Name]>> {
    (0..keys).map(Name::new).collect()
}

/// Some of the keys of a store, spread over all of them.
pub(crate) fn some_names(keys: usize, most: usize) -> Done<Arc<[Name]>> {
    (0..keys).step_by(keys.div_ceil(most).max(1)).map(Name::new).collect()
}

/// A value that shares its bytes with no other.
pub(crate) fn value(number: usize) -> Bytes {
    vec![number.to_le_bytes()[0]; VALUE_BYTES].into()
}

/// Puts each key once.
pub(crate) async fn fill<S: Side>(side: S, names: Arc<[Name]>) -> Done {
    for (chunk, part) in names.chunks(FILLED_AT_ONCE).enumerate() {
        let pairs = part.iter().enumerate().map(|(at, name)| (name.clone(), value(chunk + at)));
        side.fill(&pairs.collect::<Vec<_>>()).await?;
    }
    Ok(())
}

/// Gets keys at random and returns the seconds that one took.
pub(crate) async fn gets<S: Side>(
    side: S,
    names: Arc<[Name]>,
    tasks: usize,
    ops: usize,
) -> Done<f64> {
    spread(tasks, ops, |mut random, ops| {
        let (side, names) = (side.clone(), names.clone());
        async move {
            for _ in 0..ops {
                std::hint::black_box(side.get(&names[random.usize(..names.len())]).await?);
            }
            Ok(())
        }
    })
    .await
}

/// Overwrites keys at random and returns the seconds that one took.
pub(crate) async fn puts<S: Side>(
    side: S,
    names: Arc<[Name]>,
    tasks: usize,
    ops: usize,
) -> Done<f64> {
    let values: Arc<[Bytes]> = (0..16).map(value).collect();
    spread(tasks, ops, |mut random, ops| {
        let (side, names, values) = (side.clone(), names.clone(), values.clone());
        async move {
            for op in 0..ops {
                let name = &names[random.usize(..names.len())];
                side.put(name, values[op % values.len()].clone()).await?;
            }
            Ok(())
        }
    })
    .await
}

/// Gets and overwrites keys at random and returns how many calls failed.
pub(crate) async fn lost<S: Side>(
    side: S,
    names: Arc<[Name]>,
    tasks: usize,
    ops: usize,
) -> Done<usize> {
    let lost = Arc::new(AtomicUsize::new(0));
    spread(tasks, ops, |mut random, ops| {
        let (side, names, lost) = (side.clone(), names.clone(), lost.clone());
        async move {
            for op in 0..ops {
                let name = &names[random.usize(..names.len())];
                let done = match op % 2 {
                    0 => side.get(name).await.map(drop),
                    _ => side.put(name, value(op)).await,
                };
                lost.fetch_add(usize::from(done.is_err()), Ordering::Relaxed);
            }
            Ok(())
        }
    })
    .await?;
    Ok(lost.load(Ordering::Relaxed))
}

/// Divides `ops` operations among tasks that run at once; each has random numbers of its own, the
/// same every time.
async fn spread<F: Future<Output = Done> + Send + 'static>(
    tasks: usize,
    ops: usize,
    work: impl Fn(fastrand::Rng, usize) -> F,
) -> Done<f64> {
    let share = ops / tasks;
    let start = Instant::now();
    let mut running = JoinSet::new();
    for task in 0..tasks as u64 {
        running.spawn(work(fastrand::Rng::with_seed(task), share));
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    Ok(start.elapsed().as_secs_f64() / (share * tasks) as f64)
}

/// Lists everything and returns the seconds that it took.
pub(crate) async fn list<S: Side>(side: S, keys: usize) -> Done<f64> {
    let start = Instant::now();
    let listed = side.list().await?;
    let took = start.elapsed().as_secs_f64();
    if listed == keys { Ok(took) } else { Err(format!("listed {listed} of {keys} keys").into()) }
}

/// Reads everything one after the other and returns the seconds that it took.
pub(crate) async fn walk<S: Side>(side: S, keys: usize) -> Done<f64> {
    let start = Instant::now();
    let walked = side.walk().await?;
    let took = start.elapsed().as_secs_f64();
    if walked == keys { Ok(took) } else { Err(format!("read {walked} of {keys} keys").into()) }
}

/// Overwrites keys at random, so many in one commit, and returns the seconds that one took.
pub(crate) async fn batches<S: Side>(
    side: S,
    names: Arc<[Name]>,
    size: usize,
    ops: usize,
) -> Done<f64> {
    let mut random = fastrand::Rng::with_seed(0);
    let start = Instant::now();
    for op in 0..ops / size {
        let pairs = (0..size).map(|_| (names[random.usize(..names.len())].clone(), value(op)));
        side.fill(&pairs.collect::<Vec<_>>()).await?;
    }
    Ok(start.elapsed().as_secs_f64() / ops as f64)
}
