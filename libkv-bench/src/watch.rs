//! How long an event takes from the start of the put to the watcher, beside a store without
//! watches whose writer tells a channel.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use libkv_core::WatchTarget;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinSet;

use crate::lab::{Done, Lab};
use crate::load;
use crate::sides::{Bare, Map, Name, Ours, Side};
use crate::table::{Aim, Unit, median};
use crate::watched::{Watched, Watching, first_byte};
use crate::{file, memory};

const EVENTS: usize = 100;
/// Long enough for everybody to have gone to sleep.
const PAUSE: Duration = Duration::from_millis(1);
const AT_ONE: Aim = Aim::Ours(50e-6);

pub(crate) fn measure(lab: &mut Lab, dir: &Path) -> Done {
    if !lab.wants_some_of("watch") {
        return Ok(());
    }
    let ours = memory::open(lab)?;
    let map = Told::new(Map::default());
    let one = Run { watchers: 1, by_task: true, from: From::Call };
    let all = Run { watchers: 1000, ..one };
    compare(lab, "watch memory, one watcher (channel)", AT_ONE, one, &ours, &map)?;
    let outside = Run { by_task: false, ..one };
    let name = "watch memory, one watcher, put by another thread";
    compare(lab, name, AT_ONE, outside, &ours, &map)?;
    let name = "watch memory, last of 1,000 watchers";
    compare(lab, name, Aim::Nothing, all, &ours, &map)?;

    let ours = file::open(lab, &dir.join("watched-ours"))?;
    let bare = Told::new(Bare::open(&dir.join("watched-bare"))?);
    let after = Run { from: From::Answer, ..one };
    let name = "watch file, one watcher, after the put's answer";
    compare(lab, name, AT_ONE, after, &ours, &bare)?;
    let name = "watch file, one watcher, commit included";
    compare(lab, name, Aim::Nothing, one, &ours, &bare)?;
    let name = "watch file, last of 1,000, commit included";
    compare(lab, name, Aim::Nothing, all, &ours, &bare)?;
    lab.run(async move { Ok(ours.0.close().await?) })
}

fn compare(
    lab: &mut Lab,
    name: &str,
    aim: Aim,
    run: Run,
    ours: &Ours,
    beside: &impl Watched,
) -> Done {
    let (ours, beside) = (|lab: &Lab| run.measure(lab, ours), |lab: &Lab| run.measure(lab, beside));
    lab.compare(name, Unit::Seconds, aim, ours, beside)
}

/// One measurement.
#[derive(Debug, Clone, Copy)]
struct Run {
    watchers: usize,
    /// Whether the writer is a task beside the watchers, or a thread of its own.
    by_task: bool,
    from: From,
}

/// When an event's time begins.
#[derive(Debug, Clone, Copy)]
enum From {
    /// When the put is called.
    Call,
    /// When the put has returned; an event that is there by then took no time.
    Answer,
}

impl Run {
    /// The median of the seconds until the last watcher has an event.
    fn measure(self, lab: &Lab, side: &impl Watched) -> Done<f64> {
        let (name, (arrived, mut last)) = (Name::new(0)?, mpsc::unbounded_channel());
        let (mut tasks, count) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
        for _ in 0..self.watchers {
            let (side, target) = (side.clone(), WatchTarget::Key(name.key().clone()));
            let (arrived, count) = (arrived.clone(), count.clone());
            let mut watch = lab.run(async move { side.watch(&target).await })?;
            let task = async move {
                while watch.next().await.is_ok() {
                    let nth = count.fetch_add(1, Ordering::Relaxed) + 1;
                    if nth % self.watchers == 0 {
                        let _ = arrived.send(Instant::now());
                    }
                }
            };
            tasks.spawn_on(task, lab.handle());
        }
        let side = side.clone();
        let writer = async move {
            let mut took = Vec::with_capacity(EVENTS);
            for event in 0..EVENTS {
                tokio::time::sleep(PAUSE).await;
                let called = Instant::now();
                side.put(&name, load::value(event)).await?;
                let answered = Instant::now();
                let begun = match self.from {
                    From::Call => called,
                    From::Answer => answered,
                };
                let at = last.recv().await.ok_or("the watchers are gone")?;
                took.push(at.saturating_duration_since(begun).as_secs_f64());
            }
            Ok(median(&took))
        };
        if self.by_task { lab.run(writer) } else { lab.run_outside(writer) }
    }
}

/// A side that knows no watches, whose writer sends what it put to a channel.
#[derive(Debug, Clone)]
struct Told<S> {
    side: S,
    channel: broadcast::Sender<Bytes>,
}

impl<S> Told<S> {
    fn new(side: S) -> Self {
        Self { side, channel: broadcast::Sender::new(1024) }
    }
}

impl<S: Side> Side for Told<S> {
    async fn get(&self, name: &Name) -> Done<Bytes> {
        self.side.get(name).await
    }

    async fn put(&self, name: &Name, value: Bytes) -> Done {
        self.side.put(name, value.clone()).await?;
        // Without a watcher there is nobody to tell.
        let _ = self.channel.send(value);
        Ok(())
    }

    async fn fill(&self, pairs: &[(Name, Bytes)]) -> Done {
        self.side.fill(pairs).await
    }

    async fn list(&self) -> Done<usize> {
        self.side.list().await
    }

    async fn walk(&self) -> Done<usize> {
        self.side.walk().await
    }
}

impl<S: Side> Watched for Told<S> {
    type Watch = broadcast::Receiver<Bytes>;

    async fn watch(&self, _: &WatchTarget) -> Done<Self::Watch> {
        Ok(self.channel.subscribe())
    }
}

impl Watching for broadcast::Receiver<Bytes> {
    async fn next(&mut self) -> Done<u8> {
        first_byte(&self.recv().await?)
    }
}
