//! What a lane writes: its steps are numbered, so that its state after each is known.

use std::collections::BTreeMap;
use std::time::Duration;

use libkv_core::{Result, Store, StoreExt, Txn, Version, WriteOptions};

/// How many tasks write side by side, each below a key of its own.
pub(super) const LANES: usize = 6;
const LONG: Duration = Duration::from_secs(3600);
const KINDS: u64 = 6;
const BIG: usize = 40 << 10;

/// The keys and values below a lane.
pub(super) type State = BTreeMap<String, Vec<u8>>;

/// One step of a lane; returns the index where the store tells it.
pub(super) async fn take(store: &impl Store, lane: usize, step: u64) -> Result<Option<u64>> {
    let key = |name: String| format!("lane/{lane}/{name}");
    let index = |version: Version| Some(version.last_index());
    Ok(match step % KINDS {
        0 => index(store.put(key(slot(step)), number(step)).await?),
        1 => {
            let mut txn = Txn::new();
            for name in ["a", "b", "c"] {
                txn = txn.put(key(format!("same/{name}")), number(step))?;
            }
            txn = txn.put(key(format!("only/{step}")), number(step))?;
            if step > KINDS {
                txn = txn.delete(key(format!("only/{}", step - KINDS)))?;
            }
            Some(store.txn(txn).await?.index)
        }
        2 => {
            store.delete(key(slot(step - 2))).await?;
            None
        }
        3 => {
            let mut txn = Txn::new();
            for leaf in 0..10 {
                txn = txn.put(key(format!("tree/{leaf}")), number(step))?;
            }
            Some(store.txn(txn).await?.index)
        }
        4 => {
            let lasting = WriteOptions::default().with_ttl(LONG);
            let name = libkv_core::Key::new(&key(format!("big/{}", step % 5)))?;
            index(store.put_opts(&name, big(step).into(), lasting).await?)
        }
        _ => {
            store.delete_tree(key("tree".to_owned())).await?;
            None
        }
    })
}

/// What is below a lane after its first `steps` steps.
pub(super) fn state_after(steps: u64) -> State {
    let mut state = State::new();
    // Nothing older shows: each kind overwrites or removes what it did within so many.
    for step in steps.saturating_sub(60 * KINDS)..steps {
        match step % KINDS {
            0 => drop(state.insert(slot(step), number(step))),
            1 => {
                for name in ["a", "b", "c"] {
                    state.insert(format!("same/{name}"), number(step));
                }
                state.retain(|name, _| !name.starts_with("only/"));
                state.insert(format!("only/{step}"), number(step));
            }
            2 => drop(state.remove(&slot(step - 2))),
            3 => state.extend((0..10).map(|leaf| (format!("tree/{leaf}"), number(step)))),
            4 => drop(state.insert(format!("big/{}", step % 5), big(step))),
            _ => state.retain(|name, _| !name.starts_with("tree/")),
        }
    }
    state
}

fn slot(step: u64) -> String {
    format!("slot/{}", step % 8)
}

fn number(step: u64) -> Vec<u8> {
    step.to_string().into_bytes()
}

/// A value over many pages, which is wrong wherever a part of it is another's.
fn big(step: u64) -> Vec<u8> {
    number(step).into_iter().chain([b' ']).cycle().take(BIG).collect()
}
