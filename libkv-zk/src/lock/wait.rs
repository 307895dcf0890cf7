//! Waiting for one's turn, and watching over what is held.

use std::time::Duration;

use libkv_core::{Backoff, Result, SessionState, Wait};
use tokio::time::{Instant, sleep, timeout_at};
use zookeeper_client as zk;

use super::spot::{Place, Spot};
use super::{busy, call_for};
use crate::error::ZK;
use crate::link::{Conn, state};

const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Until when a lock is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    Now,
    At(Instant),
    Never,
}

impl Limit {
    /// The end of a wait that began at some time.
    pub(super) fn of(wait: Wait, begun: Instant) -> Self {
        match wait {
            Wait::Never => Self::Now,
            Wait::AtMost(longest) => begun.checked_add(longest).map_or(Self::Never, Self::At),
            _ => Self::Never,
        }
    }

    /// Waits for something within the limit. What has happened already is in time.
    async fn bound<T>(self, happening: impl Future<Output = T>) -> Result<T> {
        let end = match self {
            Self::Now => Instant::now(),
            Self::At(end) => end,
            Self::Never => return Ok(happening.await),
        };
        timeout_at(end, happening).await.map_err(|_| busy())
    }
}

/// Who is in front.
enum Front {
    Nobody,
    /// Somebody, who is watched.
    Somebody(zk::OneshotWatcher),
    /// Somebody who has just left; others may have come or gone.
    Left,
}

impl Spot {
    /// Waits until nobody is in front, beginning with the `names` that were read, and returns those
    /// that there are then; none where the own node is gone.
    ///
    /// A server that does not answer is waited for too: the session's life has an end.
    pub(super) async fn turn(
        &self,
        conn: &Conn,
        place: &Place,
        mut names: Vec<String>,
        limit: Limit,
    ) -> Result<Option<Vec<String>>> {
        let mut front = self.front(place, &names).await?;
        loop {
            match front {
                Front::Nobody => return Ok(Some(names)),
                Front::Somebody(watcher) => limit.bound(watched(conn, watcher)).await?,
                Front::Left => {}
            }
            let looking = self.look_until_answered(place, limit);
            let found = match limit {
                // The one look that there is.
                Limit::Now => looking.await?,
                _ => limit.bound(looking).await??,
            };
            let Some(found) = found else { return Ok(None) };
            (names, front) = found;
        }
    }

    async fn look_until_answered(
        &self,
        place: &Place,
        limit: Limit,
    ) -> Result<Option<(Vec<String>, Front)>> {
        let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        loop {
            match self.look_again(place).await {
                Err(error) if error.is_transient() && limit != Limit::Now => {
                    let key = &place.path;
                    tracing::warn!(backend = %ZK, key, %error, "the lock waits for the server");
                    sleep(backoff.next_jittered()).await;
                }
                looked => return looked,
            }
        }
    }

    /// Reads who is in the queue, and who is in front; none where the own node is gone.
    async fn look_again(&self, place: &Place) -> Result<Option<(Vec<String>, Front)>> {
        let names = self.names(&call_for(&self.handle)).await?;
        if !names.contains(&place.name) {
            return Ok(None);
        }
        let front = self.front(place, &names).await?;
        Ok(Some((names, front)))
    }

    /// Looks who is in front, and watches the nearest only. Data may be named like a lock node.
    async fn front(&self, place: &Place, names: &[String]) -> Result<Front> {
        for name in place.in_front(names) {
            match self.watch(&self.site.child(name)).await? {
                (None, _) => return Ok(Front::Left),
                (Some(stat), watcher) if stat.ephemeral_owner != 0 => {
                    return Ok(Front::Somebody(watcher));
                }
                (Some(_), _) => {}
            }
        }
        Ok(Front::Nobody)
    }

    /// Looks at a node, and watches it from then on.
    async fn watch(&self, path: &str) -> Result<(Option<zk::Stat>, zk::OneshotWatcher)> {
        let call = call_for(&self.handle);
        let reading = self.handle.link.read(&call, |client| {
            let path = path.to_owned();
            async move { client.check_and_watch_stat(&path).await }
        });
        reading.await.map_err(|failure| failure.into_error(&call, false))
    }

    /// Watches the node of a lock that is held, and returns why it is not any more.
    pub(super) async fn watch_over(&self, conn: &Conn, place: &Place) -> &'static str {
        let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        loop {
            match self.watch(&place.path).await {
                Ok((Some(stat), watcher)) if stat.czxid == place.czxid => {
                    backoff.reset();
                    watched(conn, watcher).await;
                }
                Ok(_) => return "its node was deleted by others",
                Err(error) => {
                    let key = &place.path;
                    tracing::warn!(backend = %ZK, key, %error, "the lock's node cannot be read");
                    sleep(backoff.next_jittered()).await;
                }
            }
        }
    }
}

/// Waits until a watched node may have changed, which is also after each connection.
async fn watched(conn: &Conn, watcher: zk::OneshotWatcher) {
    let mut life = conn.life();
    let again = async {
        for wanted in [false, true] {
            let well = |life: &_| (state(life) == SessionState::Connected) == wanted;
            if life.wait_for(well).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        _ = watcher.changed() => {}
        () = again => {}
    }
}
