use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use zookeeper_client as zk;
use zookeeper_client::{AddWatchMode, EventType};

use super::changes::{Changed, Changes, Scope};
use crate::error::{Call, Failure};
use crate::link::Link;

/// What the servers say of changes, up to the first break of the connection.
///
/// A task takes it from the client as it comes, since the client keeps whatever nobody takes. The
/// watch at the server ends with this.
#[derive(Debug)]
pub(super) struct Feed {
    /// The session that the watch is of.
    pub(super) session: i64,
    shared: Arc<Shared>,
    /// Asks the task whether it has taken all that there is.
    asks: watch::Sender<u64>,
}

#[derive(Debug)]
struct Shared {
    inner: Mutex<Inner>,
    news: Notify,
}

#[derive(Debug)]
struct Inner {
    changes: Changes,
    /// The last question of whether all was taken that has its answer.
    answered: u64,
    broken: bool,
}

impl Feed {
    /// Has the servers tell what changes.
    ///
    /// The watch is of the whole subtree even where one node is meant: a server before 3.10 knows
    /// one mode for a path in a session (ZOOKEEPER-4466), and children tell whether an empty node
    /// is a key.
    pub(super) async fn start(
        link: &Link,
        scope: &Scope,
        capacity: usize,
        call: &Call,
    ) -> Result<Self, Failure> {
        let adding = link.read(call, |client| async move {
            let session = client.session_id().0;
            let watcher = client.watch(scope.top(), AddWatchMode::PersistentRecursive).await?;
            Ok((session, watcher))
        });
        let (session, watcher) = adding.await?;
        let changes = Changes::new(scope.clone(), capacity);
        let inner = Mutex::new(Inner { changes, answered: 0, broken: false });
        let shared = Arc::new(Shared { inner, news: Notify::new() });
        let (asks, asked) = watch::channel(0);
        tokio::spawn(pump(watcher, shared.clone(), asked));
        Ok(Self { session, shared, asks })
    }

    /// Waits until there is something to take, or the connection broke.
    pub(super) async fn news(&self) {
        self.until(|inner| !inner.changes.is_empty()).await;
    }

    /// Waits until all is here that the client knew of when this was called. Whoever has read a
    /// state finds here what led to it: the servers send an event before the state that it made.
    pub(super) async fn settle(&self) {
        let mut asked = 0;
        self.asks.send_modify(|asks| {
            *asks += 1;
            asked = *asks;
        });
        self.until(|inner| inner.answered >= asked).await;
    }

    async fn until(&self, is_so: impl Fn(&Inner) -> bool + Send) {
        loop {
            let news = self.shared.news.notified();
            {
                let inner = self.shared.inner();
                if inner.broken || is_so(&inner) {
                    return;
                }
            }
            news.await;
        }
    }

    /// Whether the connection broke, so that events may be missing.
    pub(super) fn is_broken(&self) -> bool {
        self.shared.inner().broken
    }

    /// Sets how many nodes may have changed before the consumer lags behind.
    pub(super) fn allow(&self, capacity: usize) {
        self.shared.inner().changes.allow(capacity);
    }

    /// Takes what changed; none where the consumer lagged behind.
    pub(super) fn take(&self) -> Option<Changed> {
        self.shared.inner().changes.take()
    }

    /// Takes how many names no key could express.
    pub(super) fn take_foreign(&self) -> usize {
        self.shared.inner().changes.take_foreign()
    }
}

impl Shared {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes events as they come, until the connection breaks or nobody is interested.
async fn pump(
    mut watcher: zk::PersistentWatcher,
    shared: Arc<Shared>,
    mut asked: watch::Receiver<u64>,
) {
    loop {
        tokio::select! {
            // A question is answered when there is nothing more to take.
            biased;
            event = watcher.changed() => {
                let broken = event.event_type == EventType::Session;
                {
                    let mut inner = shared.inner();
                    match broken {
                        true => inner.broken = true,
                        false => inner.changes.note(event),
                    }
                }
                shared.news.notify_one();
                // The client does not set the watch again, and the watcher panics after the end of
                // the session.
                if broken {
                    return;
                }
            }
            question = asked.changed() => {
                if question.is_err() {
                    return;
                }
                shared.inner().answered = *asked.borrow_and_update();
                shared.news.notify_one();
            }
        }
    }
}
