//! Talking to the servers: what is repeated, and what is known afterwards.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join;
use libkv_core::{Consistency, Result};
use tokio::time::{Instant, sleep, timeout_at};
use zookeeper_client as zk;
use zookeeper_client::{MultiWriteError, MultiWriteResult};

use crate::error::{Call, Failure};
use crate::link::{Conn, Link};

/// A connection that broke is soon there again, or another.
const PAUSE: Duration = Duration::from_millis(10);

impl Link {
    /// Reads, again and again where the connection breaks. What `read` asks for is sent together.
    pub(crate) async fn read<T, F>(
        &self,
        call: &Call,
        read: impl Fn(zk::Client) -> F + Send + Sync,
    ) -> Result<T, Failure>
    where
        T: Send,
        F: Future<Output = Result<T, zk::Error>> + Send,
    {
        loop {
            let (_, client) = self.ready(call).await.map_err(Failure::Unsent)?;
            let answer = timeout_at(call.deadline, read(client)).await;
            match answer.map_err(|_| Failure::Late)?.map_err(Failure::of) {
                Err(Failure::Lost(error)) => {
                    if Instant::now() + PAUSE >= call.deadline {
                        return Err(Failure::Lost(error));
                    }
                    sleep(PAUSE).await;
                }
                answer => return answer,
            }
        }
    }

    /// Reads what was acknowledged before, unless it may be older. Both are on their way together.
    pub(crate) async fn read_at<T, F>(
        &self,
        consistency: Consistency,
        call: &Call,
        read: impl Fn(zk::Client) -> F + Send + Sync,
    ) -> Result<T, Failure>
    where
        T: Send,
        F: Future<Output = Result<T, zk::Error>> + Send,
    {
        if consistency == Consistency::Local {
            return self.read(call, read).await;
        }
        self.read(call, |client| {
            let read = &read;
            async move {
                // Each call sends what it asks for, so that the server syncs before it reads.
                let syncing = client.sync("/");
                let reading = read(client.clone());
                Ok(try_join(syncing, reading).await?.1)
            }
        })
        .await
    }

    /// Writes, once. The connection is the one that it went by.
    pub(crate) async fn write<T, F>(
        &self,
        call: &Call,
        write: impl FnOnce(Arc<Conn>, zk::Client) -> F + Send,
    ) -> Result<T, Failure>
    where
        T: Send,
        F: Future<Output = Result<T, zk::Error>> + Send,
    {
        let (conn, client) = self.ready(call).await.map_err(Failure::Unsent)?;
        let answer = timeout_at(call.deadline, write(conn, client)).await;
        answer.map_err(|_| Failure::Late)?.map_err(Failure::of)
    }

    /// Does several operations together or not at all, once. The inner error is of the first that
    /// was refused, with its place.
    pub(crate) async fn multi(
        &self,
        call: &Call,
        fill: impl FnOnce(&Conn, &mut zk::MultiWriter<'_>) -> Result<(), zk::Error> + Send,
    ) -> Result<Result<Vec<MultiWriteResult>, (usize, zk::Error)>, Failure> {
        let (conn, client) = self.ready(call).await.map_err(Failure::Unsent)?;
        let mut writer = client.new_multi_writer();
        fill(&conn, &mut writer).map_err(Failure::of)?;
        let answer = timeout_at(call.deadline, writer.commit()).await;
        match answer.map_err(|_| Failure::Late)? {
            Ok(results) => Ok(Ok(results)),
            Err(MultiWriteError::OperationFailed { index, source }) => Ok(Err((index, source))),
            Err(MultiWriteError::RequestFailed { source }) => Err(Failure::of(source)),
        }
    }
}
