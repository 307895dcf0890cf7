use std::time::Duration;

use libkv_core::{Backoff, Error, ErrorKind, Result};
use tokio::time::{Instant, sleep};

use crate::client::{Call, Client, Entry, Mode, TxnReply};
use crate::error::{CONSUL, Failure};
use crate::request::{Bound, Plan, Refused, Write};

/// Pauses while a key may not be bound: nobody tells when that is over.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Why nothing was written, or may have been.
#[derive(Debug)]
pub(crate) enum Unwritten {
    /// A session that a key was to be bound to is gone, and which one the server's words say. Nothing
    /// was written.
    SessionGone(String),
    Failed(Error),
}

/// Does writes together, where all is as `guards` says. Keys that turn out to be bound to another
/// session than they are to be take a second exchange, after a look at them. Returns the entries as
/// the server wrote them, in their order.
pub(crate) async fn commit(
    client: &Client,
    max_ops: usize,
    guards: impl Fn() -> Result<Plan>,
    writes: &mut [Write],
    call: &Call,
) -> Result<Vec<Entry>, Unwritten> {
    let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
    loop {
        let mut plan = guards().map_err(Unwritten::Failed)?;
        let telling = writes.iter().all(|write| write.value.is_none());
        for (at, write) in writes.iter().enumerate() {
            match at {
                0 if telling => plan.delete_telling(&write.name),
                _ => plan.write(at, write),
            }
        }
        let refused =
            match exchange(client, max_ops, &plan, call).await.map_err(Unwritten::Failed)? {
                Ok(entries) => return Ok(entries),
                Err(refused) => refused,
            };
        match refused {
            Refused::Failed(error) => return Err(Unwritten::Failed(error)),
            // Only of a plan that takes a lock, which none of these do.
            Refused::Taken | Refused::Stale => return Err(late(call, "a lock is held")),
            Refused::SessionGone(what) => return Err(Unwritten::SessionGone(what)),
            Refused::Bound(at) => {
                for at in at {
                    if let Some(write) = writes.get_mut(at) {
                        look(client, write, call).await.map_err(Unwritten::Failed)?;
                    }
                }
                // Whoever races for a key does it no more often than time allows.
                if Instant::now() >= call.deadline {
                    return Err(late(call, "others bind the key again and again"));
                }
            }
            Refused::Delayed => {
                let pause = backoff.next_jittered();
                if Instant::now() + pause >= call.deadline {
                    return Err(late(call, "a lock-delay of another session lasts"));
                }
                sleep(pause).await;
            }
        }
    }
}

/// Sends a plan. The inner error says that the server did nothing of it.
pub(crate) async fn exchange(
    client: &Client,
    max_ops: usize,
    plan: &Plan,
    call: &Call,
) -> Result<Result<Vec<Entry>, Refused>> {
    let ops = plan.ops();
    if ops.len() > max_ops {
        return Err(Error::new(ErrorKind::TooLarge, CONSUL, call.operation).with_detail(format!(
            "{} operations of the server's, which takes {max_ops}; a put takes up to three, and so \
             does a fence with what it guards",
            ops.len()
        )));
    }
    let write = ops.iter().any(crate::client::Op::writes);
    let reply = client.txn(ops, write, Mode::Consistent, call).await;
    match reply.map_err(|failure: Failure| failure.into_error(call, write))? {
        TxnReply::Done(entries) => Ok(Ok(entries)),
        TxnReply::Refused(refusals) => Ok(Err(plan.explain(&refusals, call.operation))),
    }
}

/// Looks how the key of a write is bound.
async fn look(client: &Client, write: &mut Write, call: &Call) -> Result<()> {
    let found = client.get(&write.name, Mode::Consistent, call).await;
    let found = found.map_err(|failure| failure.into_error(call, false))?.body;
    let owner = write.owner.as_deref();
    write.bound = found.and_then(|entry| Bound::of(entry, owner));
    Ok(())
}

fn late(call: &Call, detail: &str) -> Unwritten {
    let error = Error::new(ErrorKind::Timeout, CONSUL, call.operation);
    Unwritten::Failed(error.with_detail(format!("{detail}; nothing was written")))
}
