use std::fmt::{Debug, Display};
use std::future::Future;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    BackendName, Capabilities, Change, DeleteOptions, DeleteTreeOptions, Error, ErrorKind,
    EventStream, Expect, GetOptions, IntoKey, Key, KvPair, LifetimeKind, ListOptions,
    ListingStream, Lock, LockOptions, LockSession, PairStream, Result, StateWatch, Txn, TxnOutcome,
    UpdateOptions, Version, WatchOptions, WatchTarget, WriteOptions, follow, update,
};

/// What a backend implements. Users call [`StoreExt`], which every store has.
///
/// The normal handle is `Arc<dyn Store>`. Clones are one handle, closed together. `Display` gives
/// the store's address without secrets. Errors and guarantees are those of the project's
/// `CONTRACT.md`, the same for every backend.
///
/// There are no default bodies: a wrapper forwards every method, and `#[deny(
/// clippy::missing_trait_methods)]` on its impl makes the compiler check that.
#[async_trait]
pub trait Store: Debug + Display + Send + Sync + 'static {
    /// The backend's name, which its versions and errors carry.
    fn backend(&self) -> BackendName;

    /// What this store can do.
    fn capabilities(&self) -> Capabilities;

    /// The state of this handle's session, to look at or to wait for.
    fn state(&self) -> StateWatch;

    /// Reads one key.
    ///
    /// # Errors
    ///
    /// `KeyNotFound` when it does not exist.
    ///
    /// # Cancel safety
    ///
    /// Safe: a read leaves nothing behind.
    async fn get_opts(&self, key: &Key, opts: GetOptions) -> Result<KvPair>;

    /// Writes one key and returns the version of this very write.
    ///
    /// # Errors
    ///
    /// `KeyExists`, `KeyModified`, `KeyNotFound` where the expectation fails; `LockLost` where the
    /// fence does; `TooLarge`, `NotImplemented` before anything is sent; `OutcomeUnknown` where the
    /// write may have happened.
    ///
    /// # Cancel safety
    ///
    /// A write whose future was dropped may or may not have happened.
    async fn put_opts(&self, key: &Key, value: Bytes, opts: WriteOptions) -> Result<Version>;

    /// Deletes one key; keys below it stay.
    ///
    /// # Errors
    ///
    /// `KeyNotFound` when it does not exist, `KeyModified` when it has another version; otherwise
    /// as [`put_opts`](Self::put_opts).
    ///
    /// # Cancel safety
    ///
    /// As [`put_opts`](Self::put_opts).
    async fn delete_opts(&self, key: &Key, opts: DeleteOptions) -> Result<()>;

    /// Deletes a key and everything below it, lock nodes too; nothing there is fine.
    ///
    /// # Errors
    ///
    /// `OutcomeUnknown` when it stopped part-way; calling it again is harmless.
    ///
    /// # Cancel safety
    ///
    /// A part of the tree may be gone; calling it again is harmless.
    async fn delete_tree_opts(&self, dir: &Key, opts: DeleteTreeOptions) -> Result<()>;

    /// Compares and writes over several keys, all or nothing.
    ///
    /// # Errors
    ///
    /// `KeyExists`, `KeyNotFound` or `KeyModified` with the key of the compare that failed,
    /// `LockLost` where a fence did; otherwise as [`put_opts`](Self::put_opts).
    ///
    /// # Cancel safety
    ///
    /// As [`put_opts`](Self::put_opts).
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome>;

    /// Lists the stored keys below a directory, in ascending order. Starting is part of the stream.
    fn list_opts(&self, dir: &Key, opts: ListOptions) -> PairStream;

    /// Watches a key or a tree. Starting is part of the stream.
    fn watch_opts(&self, target: &WatchTarget, opts: WatchOptions) -> EventStream;

    /// Makes the session of one attempt at a lock. [`StoreExt::new_lock`] turns it into a [`Lock`].
    ///
    /// # Errors
    ///
    /// `InvalidKey` for the root, `NotImplemented` for an option that cannot be honoured.
    fn lock_session(&self, key: &Key, opts: &LockOptions) -> Result<Box<dyn LockSession>>;

    /// Closes this handle and its clones: releases locks, removes the handle's ephemeral keys, ends
    /// watches. Later calls give `Closed`. Closing again is fine.
    ///
    /// # Errors
    ///
    /// When the server could not be told; what the handle owned then ends with its time to live.
    ///
    /// # Cancel safety
    ///
    /// The handle is closed at the first poll; what the server must be told goes on in the
    /// background.
    async fn close(&self) -> Result<()>;
}

/// What a user calls: the ancestor's verbs, each a short form over [`Store`].
///
/// Every method that takes a key takes text too and gives `InvalidKey` for text that is none.
pub trait StoreExt: Store {
    /// Writes a permanent key, making parents as needed, and returns the version of this write.
    ///
    /// # Errors
    ///
    /// As [`Store::put_opts`].
    ///
    /// # Cancel safety
    ///
    /// A write whose future was dropped may or may not have happened.
    fn put(
        &self,
        key: impl IntoKey + Send,
        value: impl Into<Bytes> + Send,
    ) -> impl Future<Output = Result<Version>> + Send;

    /// Reads a key.
    ///
    /// # Errors
    ///
    /// `KeyNotFound` when it does not exist.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    fn get(&self, key: impl IntoKey + Send) -> impl Future<Output = Result<KvPair>> + Send;

    /// Deletes a key; keys below it stay.
    ///
    /// # Errors
    ///
    /// `KeyNotFound` when it does not exist; otherwise as [`Store::delete_opts`].
    ///
    /// # Cancel safety
    ///
    /// A delete whose future was dropped may or may not have happened.
    fn delete(&self, key: impl IntoKey + Send) -> impl Future<Output = Result<()>> + Send;

    /// Whether a key exists, without moving its value. The root always does.
    ///
    /// # Errors
    ///
    /// Any trouble is an error and never `false`.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    fn exists(&self, key: impl IntoKey + Send) -> impl Future<Output = Result<bool>> + Send;

    /// Watches a key, which need not exist: its present state, `Synced`, then every change.
    ///
    /// # Errors
    ///
    /// `InvalidKey` at once; everything else is told by the stream.
    fn watch(&self, key: impl IntoKey) -> Result<EventStream>;

    /// Watches everything below a directory, which need not exist.
    ///
    /// # Errors
    ///
    /// As [`watch`](Self::watch).
    fn watch_tree(&self, dir: impl IntoKey) -> Result<EventStream>;

    /// Gives the whole sorted listing of a directory, at first and after each change.
    ///
    /// # Errors
    ///
    /// As [`watch`](Self::watch).
    fn watch_lists(&self, dir: impl IntoKey) -> Result<ListingStream>;

    /// Calls `callback` with the whole sorted listing of a directory, at first and after each
    /// change. Returns when the watch ends.
    ///
    /// # Errors
    ///
    /// What ended the watch.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the watch.
    fn on_change(
        &self,
        dir: impl IntoKey + Send,
        callback: impl FnMut(&[KvPair]) + Send,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Makes a lock on a key. Nothing is locked yet.
    ///
    /// # Errors
    ///
    /// `InvalidKey`, and `NotImplemented` for an option that this backend cannot honour.
    fn new_lock(&self, key: impl IntoKey, options: LockOptions) -> Result<Lock>;

    /// Lists the stored keys below a directory, in ascending order.
    ///
    /// # Errors
    ///
    /// `KeyNotFound` when nothing is there and the directory is no key either.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    fn list(&self, dir: impl IntoKey + Send) -> impl Future<Output = Result<Vec<KvPair>>> + Send;

    /// Deletes a key and everything below it.
    ///
    /// # Errors
    ///
    /// As [`Store::delete_tree_opts`].
    ///
    /// # Cancel safety
    ///
    /// A part of the tree may be gone; calling it again is harmless.
    fn delete_tree(&self, dir: impl IntoKey + Send) -> impl Future<Output = Result<()>> + Send;

    /// Writes a permanent key if it still is as in `previous`, or if it is absent where `previous`
    /// is `None`. Returns the new pair.
    ///
    /// # Errors
    ///
    /// `KeyExists`, `KeyModified` or `KeyNotFound` when it is not; otherwise as
    /// [`Store::put_opts`].
    ///
    /// # Cancel safety
    ///
    /// As [`put`](Self::put).
    fn atomic_put<'a>(
        &self,
        key: impl IntoKey + Send,
        value: impl Into<Bytes> + Send,
        previous: impl Into<Option<&'a KvPair>> + Send,
    ) -> impl Future<Output = Result<KvPair>> + Send;

    /// Deletes a key if it still is as in `previous`.
    ///
    /// # Errors
    ///
    /// `PreviousNotSpecified` for `None`; `KeyModified` or `KeyNotFound` when it is not.
    ///
    /// # Cancel safety
    ///
    /// As [`delete`](Self::delete).
    fn atomic_delete<'a>(
        &self,
        previous: impl Into<Option<&'a KvPair>> + Send,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Reads a key, applies `change`, writes the result back if nobody wrote meanwhile, and tries
    /// again if somebody did. Returns the pair as it is then; `None` where the key is absent.
    ///
    /// `change` may be called several times, with `None` where the key is absent.
    ///
    /// # Errors
    ///
    /// `KeyModified` when the tries are used up; `OutcomeUnknown` at once.
    ///
    /// # Cancel safety
    ///
    /// The write may or may not have happened.
    fn update<C: Into<Change>>(
        &self,
        key: impl IntoKey + Send,
        options: UpdateOptions,
        change: impl FnMut(Option<&KvPair>) -> C + Send,
    ) -> impl Future<Output = Result<Option<KvPair>>> + Send;
}

impl<S: Store + ?Sized> StoreExt for S {
    async fn put(
        &self,
        key: impl IntoKey + Send,
        value: impl Into<Bytes> + Send,
    ) -> Result<Version> {
        self.put_opts(&parse(self, key, "put")?, value.into(), WriteOptions::default()).await
    }

    async fn get(&self, key: impl IntoKey + Send) -> Result<KvPair> {
        self.get_opts(&parse(self, key, "get")?, GetOptions::default()).await
    }

    async fn delete(&self, key: impl IntoKey + Send) -> Result<()> {
        self.delete_opts(&parse(self, key, "delete")?, DeleteOptions::default()).await
    }

    async fn exists(&self, key: impl IntoKey + Send) -> Result<bool> {
        let key = parse(self, key, "exists")?;
        if key.is_root() {
            return Ok(true);
        }
        match self.get_opts(&key, GetOptions::default().with_keys_only()).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::KeyNotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn watch(&self, key: impl IntoKey) -> Result<EventStream> {
        let target = WatchTarget::Key(parse(self, key, "watch")?);
        Ok(self.watch_opts(&target, WatchOptions::default()))
    }

    fn watch_tree(&self, dir: impl IntoKey) -> Result<EventStream> {
        let target = WatchTarget::Tree(parse(self, dir, "watch")?);
        Ok(self.watch_opts(&target, WatchOptions::default()))
    }

    fn watch_lists(&self, dir: impl IntoKey) -> Result<ListingStream> {
        Ok(ListingStream::new(self.watch_tree(dir)?))
    }

    async fn on_change(
        &self,
        dir: impl IntoKey + Send,
        callback: impl FnMut(&[KvPair]) + Send,
    ) -> Result<()> {
        follow::on_change(self.watch_lists(dir)?, callback).await
    }

    fn new_lock(&self, key: impl IntoKey, options: LockOptions) -> Result<Lock> {
        let key = parse(self, key, "lock")?;
        let session = self.lock_session(&key, &options)?;
        Ok(Lock::new(self.backend(), key, options.wait, session))
    }

    async fn list(&self, dir: impl IntoKey + Send) -> Result<Vec<KvPair>> {
        self.list_opts(&parse(self, dir, "list")?, ListOptions::default()).collect_pairs().await
    }

    async fn delete_tree(&self, dir: impl IntoKey + Send) -> Result<()> {
        let dir = parse(self, dir, "delete_tree")?;
        self.delete_tree_opts(&dir, DeleteTreeOptions::default()).await
    }

    async fn atomic_put<'a>(
        &self,
        key: impl IntoKey + Send,
        value: impl Into<Bytes> + Send,
        previous: impl Into<Option<&'a KvPair>> + Send,
    ) -> Result<KvPair> {
        let key = parse(self, key, "atomic_put")?;
        let expect = previous.into().map_or(Ok(Expect::Absent), |pair| same_key(self, &key, pair));
        let value = value.into();
        let version = self.put_opts(&key, value.clone(), expect?.into()).await?;
        Ok(KvPair::new(key, value, version, LifetimeKind::Permanent))
    }

    async fn atomic_delete<'a>(
        &self,
        previous: impl Into<Option<&'a KvPair>> + Send,
    ) -> Result<()> {
        let previous = previous.into().ok_or_else(|| {
            Error::new(ErrorKind::PreviousNotSpecified, self.backend(), "atomic_delete")
        })?;
        self.delete_opts(&previous.key, Expect::Version(previous.version).into()).await
    }

    async fn update<C: Into<Change>>(
        &self,
        key: impl IntoKey + Send,
        options: UpdateOptions,
        change: impl FnMut(Option<&KvPair>) -> C + Send,
    ) -> Result<Option<KvPair>> {
        update::update(self, &parse(self, key, "update")?, options, change).await
    }
}

fn parse<S: Store + ?Sized>(store: &S, key: impl IntoKey, operation: &'static str) -> Result<Key> {
    key.into_key().map_err(|error| error.in_operation(store.backend(), operation))
}

/// The version of one key says nothing about another.
fn same_key<S: Store + ?Sized>(store: &S, key: &Key, previous: &KvPair) -> Result<Expect> {
    if *key == previous.key {
        return Ok(Expect::Version(previous.version));
    }
    Err(Error::new(ErrorKind::InvalidVersion, store.backend(), "atomic_put")
        .with_key(key)
        .with_detail(format!("the previous pair is of the key {}", previous.key)))
}
