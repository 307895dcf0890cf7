//! Section 9: opening a store.

use libkv_core::{ErrorKind, Lifetime, Store, StoreExt};

use crate::{Fixture, key};

/// A further connection is a session of its own on the same data.
pub async fn a_further_connection_is_a_session_of_its_own(f: &Fixture) {
    let (first, second) = (f.another().await, f.another().await);
    for (store, name) in [(&first, "by/first"), (&second, "by/second")] {
        let put = store.put_opts(&key(name), "1".into(), Lifetime::Ephemeral.into()).await;
        put.expect("an ephemeral put");
    }
    for store in [&first, &second, &f.store] {
        assert_eq!(store.list("by").await.expect("the data is the same").len(), 2);
    }
    let mut watch = f.follow(second.watch("by/first").expect("a key"));
    watch.until_synced().await;
    first.close().await.expect("a close");
    watch.delete().await;
    let error = first.get("by/second").await.expect_err("this handle is closed");
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    assert!(second.exists("by/second").await.expect("the other is open"));
    second.close().await.expect("a close");
}
