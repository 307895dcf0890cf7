//! A pointer to a store is a store: every method goes on to what it points at.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    BackendName, Capabilities, DeleteOptions, DeleteTreeOptions, EventStream, GetOptions, Key,
    KvPair, ListOptions, LockOptions, LockSession, PairStream, Result, StateWatch, Store, Txn,
    TxnOutcome, Version, WatchOptions, WatchTarget, WriteOptions,
};

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: Store + ?Sized> Store for Arc<S> {
    fn backend(&self) -> BackendName {
        (**self).backend()
    }

    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }

    fn state(&self) -> StateWatch {
        (**self).state()
    }

    async fn get_opts(&self, key: &Key, opts: GetOptions) -> Result<KvPair> {
        (**self).get_opts(key, opts).await
    }

    async fn put_opts(&self, key: &Key, value: Bytes, opts: WriteOptions) -> Result<Version> {
        (**self).put_opts(key, value, opts).await
    }

    async fn delete_opts(&self, key: &Key, opts: DeleteOptions) -> Result<()> {
        (**self).delete_opts(key, opts).await
    }

    async fn delete_tree_opts(&self, dir: &Key, opts: DeleteTreeOptions) -> Result<()> {
        (**self).delete_tree_opts(dir, opts).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome> {
        (**self).txn(txn).await
    }

    fn list_opts(&self, dir: &Key, opts: ListOptions) -> PairStream {
        (**self).list_opts(dir, opts)
    }

    fn watch_opts(&self, target: &WatchTarget, opts: WatchOptions) -> EventStream {
        (**self).watch_opts(target, opts)
    }

    fn lock_session(&self, key: &Key, opts: &LockOptions) -> Result<Box<dyn LockSession>> {
        (**self).lock_session(key, opts)
    }

    async fn close(&self) -> Result<()> {
        (**self).close().await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: Store + ?Sized> Store for Box<S> {
    fn backend(&self) -> BackendName {
        (**self).backend()
    }

    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }

    fn state(&self) -> StateWatch {
        (**self).state()
    }

    async fn get_opts(&self, key: &Key, opts: GetOptions) -> Result<KvPair> {
        (**self).get_opts(key, opts).await
    }

    async fn put_opts(&self, key: &Key, value: Bytes, opts: WriteOptions) -> Result<Version> {
        (**self).put_opts(key, value, opts).await
    }

    async fn delete_opts(&self, key: &Key, opts: DeleteOptions) -> Result<()> {
        (**self).delete_opts(key, opts).await
    }

    async fn delete_tree_opts(&self, dir: &Key, opts: DeleteTreeOptions) -> Result<()> {
        (**self).delete_tree_opts(dir, opts).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome> {
        (**self).txn(txn).await
    }

    fn list_opts(&self, dir: &Key, opts: ListOptions) -> PairStream {
        (**self).list_opts(dir, opts)
    }

    fn watch_opts(&self, target: &WatchTarget, opts: WatchOptions) -> EventStream {
        (**self).watch_opts(target, opts)
    }

    fn lock_session(&self, key: &Key, opts: &LockOptions) -> Result<Box<dyn LockSession>> {
        (**self).lock_session(key, opts)
    }

    async fn close(&self) -> Result<()> {
        (**self).close().await
    }
}
