//! A pointer to a store is a store: every method goes on to what it points at.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use crate::{
    BackendName, Capabilities, DeleteOptions, DeleteTreeOptions, EventStream, GetOptions, Key,
    KvPair, ListOptions, LockOptions, LockSession, PairStream, Result, StateWatch, Store, Txn,
    TxnOutcome, Version, WatchOptions, WatchTarget, WriteOptions,
};

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

    fn get_opts<'a, 'k, 'f>(&'a self, key: &'k Key, opts: GetOptions) -> Pending<'f, Result<KvPair>>
    where
        'a: 'f,
        'k: 'f,
        Self: 'f,
    {
        (**self).get_opts(key, opts)
    }

    fn put_opts<'a, 'k, 'f>(
        &'a self,
        key: &'k Key,
        value: Bytes,
        opts: WriteOptions,
    ) -> Pending<'f, Result<Version>>
    where
        'a: 'f,
        'k: 'f,
        Self: 'f,
    {
        (**self).put_opts(key, value, opts)
    }

    fn delete_opts<'a, 'k, 'f>(
        &'a self,
        key: &'k Key,
        opts: DeleteOptions,
    ) -> Pending<'f, Result<()>>
    where
        'a: 'f,
        'k: 'f,
        Self: 'f,
    {
        (**self).delete_opts(key, opts)
    }

    fn delete_tree_opts<'a, 'k, 'f>(
        &'a self,
        dir: &'k Key,
        opts: DeleteTreeOptions,
    ) -> Pending<'f, Result<()>>
    where
        'a: 'f,
        'k: 'f,
        Self: 'f,
    {
        (**self).delete_tree_opts(dir, opts)
    }

    fn txn<'a, 'f>(&'a self, txn: Txn) -> Pending<'f, Result<TxnOutcome>>
    where
        'a: 'f,
        Self: 'f,
    {
        (**self).txn(txn)
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

    fn close<'a, 'f>(&'a self) -> Pending<'f, Result<()>>
    where
        'a: 'f,
        Self: 'f,
    {
        (**self).close()
    }
}

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

    fn get_opts<'a, 'k, 'f>(&'a self, key: &'k Key, opts: GetOptions) -> Pending<'f, Result<KvPair>>
    where
        'a: 'f,
        'k: 'f,
        Self: 'f,
    {
        (**self).get_opts(key, opts)
    }

    fn put_opts<'a, 'k, 'f>(
        &'a self,
        key: &'k Key,
        value: Bytes,
        opts: WriteOptions,
    ) -> Pending<'f, Result<Version>>
    where
        'a: 'f,
        'k: 'f,
        Self: 'f,
    {
        (**self).put_opts(key, value, opts)
    }

    fn delete_opts<'a, 'k, 'f>(
        &'a self,
        key: &'k Key,
        opts: DeleteOptions,
    ) -> Pending<'f, Result<()>>
    where
        'a: 'f,
        'k: 'f,
        Self: 'f,
    {
        (**self).delete_opts(key, opts)
    }

    fn delete_tree_opts<'a, 'k, 'f>(
        &'a self,
        dir: &'k Key,
        opts: DeleteTreeOptions,
    ) -> Pending<'f, Result<()>>
    where
        'a: 'f,
        'k: 'f,
        Self: 'f,
    {
        (**self).delete_tree_opts(dir, opts)
    }

    fn txn<'a, 'f>(&'a self, txn: Txn) -> Pending<'f, Result<TxnOutcome>>
    where
        'a: 'f,
        Self: 'f,
    {
        (**self).txn(txn)
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

    fn close<'a, 'f>(&'a self) -> Pending<'f, Result<()>>
    where
        'a: 'f,
        Self: 'f,
    {
        (**self).close()
    }
}

/// What a method of the store that is pointed at returns. It goes on as it is: a method that awaited
/// it would put each call into a second box.
type Pending<'f, T> = Pin<Box<dyn Future<Output = T> + Send + 'f>>;
