use std::time::Instant;

use etcd_client::{WatchOptions, WatchStream};
use libkv_core::{Event, EventStream, StoreExt};
use tokio::sync::mpsc;

use super::SAME_TIME;
use super::server::Server;
use super::sides::{Bare, ours};
use crate::lab::{Done, Lab, Sample};
use crate::load;
use crate::sides::{Name, Ours, Side};
use crate::table::{Unit, median};

/// Of one turn; a round has 1,000.
const PUTS: usize = 200;

pub(crate) fn measure(lab: &mut Lab, server: &Server) -> Done {
    if !lab.wants_some_of("watch") {
        return Ok(());
    }
    let address = server.address.clone();
    let (ours, bare) = lab.run(async move {
        let (ours, bare) = (ours(&address, "").await?, Bare::connect(&address, "").await?);
        ours.put(&Name::new(0)?, load::value(0)).await?;
        Ok((ours, bare))
    })?;
    lab.compare(
        "watch, put by the same task (etcd-client)",
        Unit::Seconds,
        SAME_TIME,
        |lab| Sample::with_cpu(PUTS, || lab.run(by_same(ours.clone()))),
        |lab| Sample::with_cpu(PUTS, || lab.run(by_same(bare.clone()))),
    )?;
    lab.compare(
        "watch, put by another task (etcd-client)",
        Unit::Seconds,
        SAME_TIME,
        |lab| Sample::with_cpu(PUTS, || lab.run(by_another(ours.clone()))),
        |lab| Sample::with_cpu(PUTS, || lab.run(by_another(bare.clone()))),
    )
}

/// The median of the seconds from the call of a put to its event, each waited for before the next.
async fn by_same<S: Watched>(side: S) -> Done<f64> {
    let name = Name::new(0)?;
    let mut watch = side.watch(&name).await?;
    let mut took = Vec::with_capacity(PUTS);
    for put in 0..PUTS {
        let called = Instant::now();
        side.put(&name, load::value(put)).await?;
        watch.next().await?;
        took.push(called.elapsed().as_secs_f64());
    }
    Ok(median(&took))
}

/// The same, while another task puts one after the other and waits for no event.
async fn by_another<S: Watched>(side: S) -> Done<f64> {
    let name = Name::new(0)?;
    let mut watch = side.watch(&name).await?;
    let (tell, mut called) = mpsc::unbounded_channel();
    let writer = tokio::spawn(async move {
        for put in 0..PUTS {
            // Who watches has gone where this fails, and says why.
            let _ = tell.send(Instant::now());
            side.put(&name, load::value(put)).await?;
        }
        Done::Ok(())
    });
    let mut took = Vec::with_capacity(PUTS);
    for _ in 0..PUTS {
        watch.next().await?;
        let called = called.recv().await.ok_or("the writer is gone")?;
        took.push(called.elapsed().as_secs_f64());
    }
    writer.await??;
    Ok(median(&took))
}

/// A side that tells of its puts.
pub(super) trait Watched: Side {
    type Watch: Watching;

    /// Begins a watch, which is ready for the next put.
    fn watch(&self, name: &Name) -> impl Future<Output = Done<Self::Watch>> + Send;
}

pub(super) trait Watching: Send + 'static {
    /// Waits for the next put.
    fn next(&mut self) -> impl Future<Output = Done> + Send;
}

impl Watched for Ours {
    type Watch = EventStream;

    async fn watch(&self, name: &Name) -> Done<EventStream> {
        let mut events = self.0.watch(name.key())?;
        while !matches!(events.next().await.ok_or("the watch ended")??, Event::Synced { .. }) {}
        Ok(events)
    }
}

impl Watching for EventStream {
    async fn next(&mut self) -> Done {
        match self.next().await.ok_or("the watch ended")?? {
            Event::Put(_) => Ok(()),
            event => Err(format!("{event:?} was not to come").into()),
        }
    }
}

impl Watched for Bare {
    type Watch = BareWatch;

    async fn watch(&self, name: &Name) -> Done<BareWatch> {
        let mut client = self.client.watch_client();
        let mut stream = client.watch(name.text(), Some(WatchOptions::new())).await?;
        let created = stream.message().await?.is_some_and(|message| message.created());
        if created { Ok(BareWatch { stream, left: 0 }) } else { Err("no watch".into()) }
    }
}

/// A stream of the client, with the events of its last message that were not taken yet.
pub(super) struct BareWatch {
    stream: WatchStream,
    left: usize,
}

impl Watching for BareWatch {
    async fn next(&mut self) -> Done {
        while self.left == 0 {
            let message = self.stream.message().await?.ok_or("the watch ended")?;
            self.left = std::hint::black_box(&message).events().len();
        }
        self.left -= 1;
        Ok(())
    }
}
