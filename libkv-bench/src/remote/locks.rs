use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use libkv_core::{Lock, LockOptions, StoreExt};
use tokio::task::JoinSet;

use super::server::{SETTLED, Server};
use super::{Bare, SAME_TIME, Subject, both};
use crate::lab::{Done, Lab, Sample};
use crate::sides::Ours;
use crate::table::{Aim, Unit};

/// Of one turn; a round has 500.
const ALONE: usize = 100;
const CONTENDERS: usize = 8;
const CONTENDED: usize = 200;
/// What is done once and not for each lock, such as the grant of the lease that the first one has.
const BEGINNING: Aim = Aim::Ratio(1.02);
const HAND_OVER: Aim = Aim::Ours(2e-3);

pub(super) fn measure<S: Subject>(lab: &mut Lab, server: &Server) -> Done {
    if !lab.wants_some_of("lock") && !lab.wants_some_of("calls of a lock") {
        return Ok(());
    }
    let address = server.address.clone();
    // Handles of their own, as programs on several machines have.
    let (ours, bare) = lab.run(async move {
        let (mut locks, mut clients) = (Vec::new(), Vec::new());
        for _ in 0..CONTENDERS {
            let (ours, bare) = both::<S>(&address, "").await?;
            locks.push(OurLock::new(ours)?);
            clients.push(bare.lock());
        }
        Ok((locks, clients))
    })?;
    let (alone, contended) = S::LOCK_CALLS;
    lab.compare(
        &format!("lock and release, alone ({})", S::LOCKING),
        Unit::Seconds,
        SAME_TIME,
        |lab| turn(lab, ours[..1].to_vec(), ALONE),
        |lab| turn(lab, bare[..1].to_vec(), ALONE),
    )?;
    lab.compare(
        "calls of a lock and its release, alone (minimum)",
        Unit::Count,
        BEGINNING,
        |lab| calls(lab, server, ours[..1].to_vec(), ALONE),
        |_| Ok(alone),
    )?;
    lab.compare(
        &format!("lock and release, 8 contenders ({})", S::LOCKING),
        Unit::Seconds,
        HAND_OVER,
        |lab| turn(lab, ours.clone(), CONTENDED),
        |lab| turn(lab, bare.clone(), CONTENDED),
    )?;
    let beside = if contended.is_some() { "minimum" } else { S::LOCKING };
    lab.compare(
        &format!("calls of a lock, 8 contenders ({beside})"),
        Unit::Count,
        BEGINNING,
        |lab| calls(lab, server, ours.clone(), CONTENDED),
        |lab| contended.map_or_else(|| calls(lab, server, bare.clone(), CONTENDED), Ok),
    )
}

/// Takes a turn. What it leaves to be done in the background belongs to its own processor's time,
/// and not to the next turn.
fn turn<L: Locked>(lab: &Lab, locks: Vec<L>, number: usize) -> Done<Sample> {
    Sample::with_cpu(number, || {
        let took = lab.run(rounds(locks, number))?;
        std::thread::sleep(SETTLED);
        Ok(took)
    })
}

/// How many calls a round takes.
fn calls<L: Locked>(lab: &Lab, server: &Server, locks: Vec<L>, number: usize) -> Done<f64> {
    let before = server.calls()?.answered;
    lab.run(rounds(locks, number))?;
    Ok((server.calls()?.answered - before) / number as f64)
}

/// A lock that can be taken and given back.
pub(crate) trait Locked: Clone + Send + Sync + 'static {
    /// Takes it, does something, and gives it back.
    fn round(&self, inside: impl Future<Output = Done> + Send)
    -> impl Future<Output = Done> + Send;
}

/// Divides rounds among contenders, and returns the seconds that one took.
async fn rounds<L: Locked>(locks: Vec<L>, number: usize) -> Done<f64> {
    let (share, held) = (number / locks.len(), Arc::new(AtomicBool::new(false)));
    let begun = Instant::now();
    let mut running = JoinSet::new();
    for lock in locks {
        let held = held.clone();
        running.spawn(async move {
            for _ in 0..share {
                lock.round(alone(&held)).await?;
            }
            Done::Ok(())
        });
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    Ok(begun.elapsed().as_secs_f64() / number as f64)
}

/// What must not happen twice at once.
async fn alone(held: &AtomicBool) -> Done {
    if held.swap(true, Ordering::SeqCst) {
        return Err("two held one lock".into());
    }
    tokio::task::yield_now().await;
    held.store(false, Ordering::SeqCst);
    Ok(())
}

#[derive(Debug, Clone)]
struct OurLock(Arc<Lock>);

impl OurLock {
    fn new(side: Ours) -> Done<Self> {
        Ok(Self(Arc::new(side.0.new_lock("locked", LockOptions::default())?)))
    }
}

impl Locked for OurLock {
    async fn round(&self, inside: impl Future<Output = Done> + Send) -> Done {
        let guard = self.0.lock().await?;
        inside.await?;
        Ok(guard.unlock().await?)
    }
}
