//! How much a server is asked, and how much it answers.

use bytes::Bytes;
use libkv_core::{Store, StoreExt};

use crate::harness::proxy::{Direction, Proxy};

/// Whether a key is there costs as much for a large value as for none.
pub(crate) async fn exists_moves_no_value(store: &dyn Store, proxy: &Proxy) {
    const LARGE: usize = 300 << 10;
    const SMALL: u64 = 4 << 10;
    store.put("large", Bytes::from(vec![0x5a; LARGE])).await.unwrap();
    // Whatever is on its way has come once the next answer is there.
    store.get("absent").await.unwrap_err();
    let before = proxy.bytes(Direction::ToClient);
    assert!(store.exists("large").await.unwrap());
    store.get("absent").await.unwrap_err();
    let moved = proxy.bytes(Direction::ToClient) - before;
    assert!(moved < SMALL, "exists moved {moved} bytes");

    let before = proxy.bytes(Direction::ToClient);
    assert_eq!(store.get("large").await.unwrap().value.len(), LARGE);
    store.get("absent").await.unwrap_err();
    let moved = proxy.bytes(Direction::ToClient) - before;
    assert!(moved >= LARGE as u64, "get moved {moved} bytes only");
}
