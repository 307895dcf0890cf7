//! Locks that are cut off while they are taken or given back leave nothing behind.

use std::sync::Arc;
use std::time::Duration;

use libkv_core::{Config, ErrorKind, LockOptions, Store, StoreExt};

use super::super::{Backend, until};
use super::{NEVER, Truth};
use crate::harness::proxy::{Direction, Proxy};

/// No lock goes by itself as long as the test runs.
fn options() -> LockOptions {
    LockOptions::default().with_ttl(Duration::from_secs(600)).with_value("holder")
}

/// A handle whose connections are there. It is kept, since its end would tidy up.
async fn connect<B: Backend>(proxy: &Proxy, handles: &mut Vec<Arc<dyn Store>>) -> Arc<dyn Store> {
    let store = B::open(&proxy.addr(), Config::default()).await.unwrap();
    let guard = store.new_lock("warm", options()).unwrap().lock().await.unwrap();
    guard.unlock().await.unwrap();
    handles.push(store.clone());
    store
}

async fn assert_gone(truth: &impl Truth, name: &str) {
    until("the lock leaves nothing behind", async || truth.is_empty(name).await).await;
}

pub(crate) async fn a_lock_that_is_cut_while_it_is_taken_is_held_or_leaves_nothing<B: Backend>(
    proxy: &Proxy,
    truth: &impl Truth,
) {
    let mut handles = Vec::new();
    let (mut held, mut failed) = (0, Vec::new());
    for direction in Direction::BOTH {
        let store = connect::<B>(proxy, &mut handles).await;
        let before = proxy.bytes(direction);
        let guard = store.new_lock("measured", options()).unwrap().lock().await.unwrap();
        let length = proxy.bytes(direction) - before;
        guard.unlock().await.unwrap();
        for bytes in (1..length + length / 4).step_by(usize::try_from(length / 40).unwrap().max(1))
        {
            let name = format!("taken/{direction:?}/{bytes}");
            let store = connect::<B>(proxy, &mut handles).await;
            let lock = store.new_lock(&*name, options()).unwrap();
            proxy.cut_after(direction, bytes);
            let taken = lock.lock().await;
            proxy.cut_after(direction, NEVER);
            match taken {
                Ok(guard) => {
                    truth.assert_held(&name, &guard).await;
                    assert!(guard.is_held(), "{name}");
                    guard.unlock().await.unwrap();
                    assert!(truth.is_empty(&name).await, "{name}");
                    held += 1;
                }
                Err(error) => {
                    let kinds = [ErrorKind::Timeout, ErrorKind::NotReachable];
                    assert!(kinds.contains(&error.kind()), "{name}: {error}");
                    failed.push(name);
                }
            }
        }
    }
    for name in &failed {
        assert_gone(truth, name).await;
    }
    println!("{held} locks were held, {} not", failed.len());
    assert!(held > 10 && failed.len() > 10);
}

pub(crate) async fn a_lock_that_is_cut_while_it_is_given_back_is_given_back<B: Backend>(
    proxy: &Proxy,
    truth: &impl Truth,
) {
    let mut handles = Vec::new();
    let (mut given, mut failed) = (0, Vec::new());
    for direction in Direction::BOTH {
        let store = connect::<B>(proxy, &mut handles).await;
        let guard = store.new_lock("measured", options()).unwrap().lock().await.unwrap();
        let before = proxy.bytes(direction);
        guard.unlock().await.unwrap();
        let length = proxy.bytes(direction) - before;
        // What a holder hears of its lock may have been on its way then, or is now.
        for bytes in (1..2 * length).step_by(usize::try_from(length / 40).unwrap().max(1)) {
            let name = format!("given/{direction:?}/{bytes}");
            let store = connect::<B>(proxy, &mut handles).await;
            let guard = store.new_lock(&*name, options()).unwrap().lock().await.unwrap();
            proxy.cut_after(direction, bytes);
            let left = guard.unlock().await;
            proxy.cut_after(direction, NEVER);
            match left {
                Ok(()) => {
                    assert!(truth.is_empty(&name).await, "{name}");
                    given += 1;
                }
                // It was not lost, whatever became of the answer.
                Err(error) => {
                    assert_ne!(error.kind(), ErrorKind::LockLost, "{name}: {error}");
                    failed.push(name);
                }
            }
        }
    }
    for name in &failed {
        assert_gone(truth, name).await;
    }
    println!("{given} locks were given back at once, {} later", failed.len());
    assert!(given > 5 && failed.len() > 10);
}
