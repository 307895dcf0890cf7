use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use etcd_client::{Client, LockOptions as ClientLock};
use libkv_core::{Lock, LockOptions, StoreExt};
use tokio::task::JoinSet;

use super::SAME_TIME;
use super::server::{SETTLED, Server};
use super::sides::{Bare, ours};
use crate::lab::{Done, Lab, Sample};
use crate::sides::Ours;
use crate::table::{Aim, Unit};

/// Of one turn; a round has 500.
const ALONE: usize = 100;
const CONTENDERS: usize = 8;
const CONTENDED: usize = 200;
/// What our own locks have by themselves.
const TTL_SECONDS: i64 = 15;
/// The transaction that takes the lock and the one that gives it back.
const FEWEST_ALONE: f64 = 2.0;
/// Beside these, a look once the server watches who is in front, and one when they have gone.
const FEWEST_CONTENDED: f64 = 4.0;
/// What is done once and not for each lock, such as the grant of the lease that the first one has.
const BEGINNING: Aim = Aim::Ratio(1.02);
const HAND_OVER: Aim = Aim::Ours(2e-3);

pub(crate) fn measure(lab: &mut Lab, server: &Server) -> Done {
    if !lab.wants_some_of("lock") && !lab.wants_some_of("calls of a lock") {
        return Ok(());
    }
    let address = server.address.clone();
    // Handles of their own, as programs on several machines have.
    let (ours, bare) = lab.run(async move {
        let (mut locks, mut clients) = (Vec::new(), Vec::new());
        for _ in 0..CONTENDERS {
            locks.push(OurLock::new(ours(&address, "").await?)?);
            clients.push(ServersLock(Bare::connect(&address, "").await?.client));
        }
        Ok((locks, clients))
    })?;
    lab.compare(
        "lock and release, alone (server's lock call)",
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
        |_| Ok(FEWEST_ALONE),
    )?;
    lab.compare(
        "lock and release, 8 contenders (server's call)",
        Unit::Seconds,
        HAND_OVER,
        |lab| turn(lab, ours.clone(), CONTENDED),
        |lab| turn(lab, bare.clone(), CONTENDED),
    )?;
    lab.compare(
        "calls of a lock, 8 contenders (minimum)",
        Unit::Count,
        BEGINNING,
        |lab| calls(lab, server, ours.clone(), CONTENDED),
        |_| Ok(FEWEST_CONTENDED),
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
fn calls(lab: &Lab, server: &Server, locks: Vec<OurLock>, number: usize) -> Done<f64> {
    let before = server.calls()?.answered;
    lab.run(rounds(locks, number))?;
    Ok((server.calls()?.answered - before) / number as f64)
}

/// A lock that can be taken and given back.
trait Locked: Clone + Send + Sync + 'static {
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

/// The server's own lock call, with a lease each.
#[derive(Clone)]
struct ServersLock(Client);

impl Locked for ServersLock {
    async fn round(&self, inside: impl Future<Output = Done> + Send) -> Done {
        let (mut leases, mut locks) = (self.0.lease_client(), self.0.lock_client());
        let lease = leases.grant(TTL_SECONDS, None).await?.id();
        let lock = locks.lock("locked-bare", Some(ClientLock::new().with_lease(lease))).await?;
        inside.await?;
        locks.unlock(lock.key()).await?;
        leases.revoke(lease).await?;
        Ok(())
    }
}
