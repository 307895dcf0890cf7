use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use etcd_client::{GetOptions, WatchResponse};
use libkv_core::Backoff;
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, sleep};

use super::stream::{Broken, History, Stream, answered, ended, write};
use super::{Order, Request, Watch};
use crate::cluster::{Call, Cluster, Way};
use crate::endpoint::{Connection, Lane};
use crate::error::{ETCD, Fault, Verdict, judge, judge_reason};
use crate::mailbox::Note;

const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often to ask whether watches from a past revision are level. The server looks after them
/// every 100 ms (`watchStreamInterval` in its `mvcc/watchable_store.go`).
const LEVEL_EVERY: Duration = Duration::from_millis(25);
/// An answer may have been on its way when a watch began; the second was not.
const ANSWERS: u32 = 2;
/// How long a stream without watches is kept for the next one.
const LINGER: Duration = Duration::from_secs(10);

/// The task that owns the stream.
pub(super) struct Task {
    cluster: Arc<Cluster>,
    orders: mpsc::UnboundedReceiver<Order>,
    watches: HashMap<i64, Watch>,
    /// The watches whose consumers want to know when a revision is reached.
    levels: HashMap<i64, Level>,
    history: History,
    backoff: Backoff,
}

/// A revision that is to be reached, and how often the server has said that it was.
struct Level {
    revision: i64,
    answers: u32,
}

impl Task {
    /// Starts the task. It ends with the last of those who can send it orders.
    pub(super) fn start(
        cluster: Arc<Cluster>,
        newest: Arc<AtomicI64>,
    ) -> mpsc::UnboundedSender<Order> {
        let (sender, orders) = mpsc::unbounded_channel();
        let (watches, levels) = (HashMap::new(), HashMap::new());
        let (history, backoff) = (History::new(newest), Backoff::new(PAUSE, LONGEST_PAUSE));
        tokio::spawn(Self { cluster, orders, watches, levels, history, backoff }.run());
        sender
    }

    async fn run(mut self) {
        loop {
            while self.watches.is_empty() {
                match self.orders.recv().await {
                    None | Some(Order::End) => return self.finish(),
                    Some(order) => drop(self.note(order)),
                }
            }
            let broken = match self.open().await {
                Ok(stream) => self.serve(stream).await,
                Err(broken) => broken,
            };
            let pause = match broken {
                Broken::End => return self.finish(),
                Broken::Over => continue,
                Broken::Renewed => {
                    let (endpoint, watches) = (self.cluster.address(), self.watches.len());
                    tracing::info!(backend = %ETCD, endpoint, watches, "the watches have a new token");
                    Backoff::new(PAUSE, PAUSE).next_jittered()
                }
                Broken::Lost(fault) => self.report(fault),
            };
            if !self.wait(pause).await {
                return self.finish();
            }
        }
    }

    /// Ends all watches, also those that were asked for in this moment.
    fn finish(mut self) {
        self.orders.close();
        while let Ok(order) = self.orders.try_recv() {
            drop(self.note(order));
        }
        self.watches.values().for_each(|watch| watch.mailbox.say(Note::Closed));
    }

    /// Takes an order. Returns what the server must be told; nothing else changes.
    fn note(&mut self, order: Order) -> Option<Request> {
        match order {
            Order::Open(id, watch) => {
                let request = watch.request(id);
                self.watches.insert(id, watch);
                Some(request)
            }
            Order::Level(id, revision) => {
                self.levels.insert(id, Level { revision, answers: 0 });
                None
            }
            Order::Cancel(id) => {
                self.levels.remove(&id);
                self.watches.remove(&id).map(|_| Request::Cancel(id))
            }
            Order::End => None,
        }
    }

    /// Waits before the next try, and takes orders meanwhile; false if it is over.
    async fn wait(&mut self, pause: Duration) -> bool {
        let pause = sleep(pause);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => return true,
                order = self.orders.recv() => match order {
                    None | Some(Order::End) => return false,
                    Some(order) => drop(self.note(order)),
                },
            }
        }
    }

    /// Tells of trouble, and says how long to wait. Watches that cannot be healed end here.
    fn report(&mut self, fault: Fault) -> Duration {
        let watches = self.watches.len();
        let final_word = fault.verdict == Verdict::Refused || fault.is_lasting();
        let error = fault.into_error("watch", &self.cluster.address(), false);
        tracing::warn!(backend = %ETCD, %error, watches, "the stream of watches broke");
        if final_word {
            let ended = self.watches.drain();
            ended.for_each(|(_, watch)| watch.mailbox.say(Note::Failed(error.clone())));
        }
        self.backoff.next_jittered()
    }

    /// Opens a stream with one of the watches.
    async fn open(&mut self) -> Result<Stream, Broken> {
        let first = self.watches.iter().next().map(|(id, watch)| watch.request(*id));
        let Some(Request::Watch(id, key, options)) = first else {
            return Err(Broken::Over);
        };
        let cluster = self.cluster.clone();
        let deadline = Instant::now() + cluster.operation_timeout;
        let call = Call { operation: "watch", lane: Lane::Watches, way: Way::Read, deadline };
        let opening = cluster.call(&call, |at: Connection| {
            let (key, options) = (key.clone(), options.clone());
            async move { Ok((at.watch().watch(key, Some(options)).await?, at)) }
        });
        tokio::pin!(opening);
        loop {
            tokio::select! {
                opened = &mut opening => {
                    let (messages, connection) =
                        opened.map_err(|failure| Broken::Lost(failure.fault))?;
                    let (opened, asked) = (Instant::now(), VecDeque::from([id]));
                    return Ok(Stream { connection, opened, messages, asked });
                }
                order = self.orders.recv() => match order {
                    None | Some(Order::End) => return Err(Broken::End),
                    Some(order) => drop(self.note(order)),
                },
            }
        }
    }

    /// Serves a stream until it breaks.
    async fn serve(&mut self, stream: Stream) -> Broken {
        let Stream { connection, opened, messages, mut asked } = stream;
        let (sender, mut messages) = messages.split();
        let (requests, outbox) = mpsc::unbounded_channel();
        // A part of this future and not of the loop below: the server stops taking requests while
        // it cannot send, and must be read from then.
        let writing = write(sender, outbox);
        tokio::pin!(writing);
        let first = asked.front().copied();
        for (id, watch) in self.watches.iter().filter(|(id, _)| Some(**id) != first) {
            asked.push_back(*id);
            let _ = requests.send(watch.request(*id));
        }
        if let Some(gone) = first.filter(|id| !self.watches.contains_key(id)) {
            let _ = requests.send(Request::Cancel(gone));
        }
        let (mut fresh, mut served) = (true, false);
        let mut level = interval(LEVEL_EVERY);
        level.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut idle_since = Instant::now();
        let broken = loop {
            let idle = self.watches.is_empty();
            let leveling = !self.levels.is_empty();
            tokio::select! {
                message = messages.message() => match message {
                    Ok(Some(message)) => {
                        if std::mem::take(&mut fresh)
                            && let Err(broken) = self.check_history(&message).await
                        {
                            break broken;
                        }
                        self.history.note(&message);
                        served |= !message.canceled();
                        match self.hear(message, &mut asked) {
                            Ok(reply) => reply.map_or((), |reply| drop(requests.send(reply))),
                            Err(broken) => break broken,
                        }
                    }
                    Ok(None) => break Broken::Lost(ended()),
                    Err(error) => break Broken::Lost(judge(error)),
                },
                order = self.orders.recv() => match order {
                    None | Some(Order::End) => break Broken::End,
                    Some(order) => {
                        if let Some(request) = self.note(order) {
                            if let Request::Watch(id, ..) = &request {
                                asked.push_back(*id);
                            }
                            idle_since = Instant::now();
                            let _ = requests.send(request);
                        }
                    }
                },
                error = &mut writing => break Broken::Lost(judge(error)),
                _ = level.tick(), if leveling => drop(requests.send(Request::Progress)),
                () = sleep(LINGER.saturating_sub(idle_since.elapsed())), if idle => {
                    break Broken::Over;
                }
            }
        };
        if opened.elapsed() > LONGEST_PAUSE {
            self.backoff.reset();
        }
        match broken {
            // A token may live for less than the longest pause, and so is used at once. Where it is of
            // no use either, the login comes with the next connection, after the pause.
            Broken::Lost(fault) if fault.verdict == Verdict::Token && served => {
                let deadline = Instant::now() + self.cluster.operation_timeout;
                let lane = Lane::Watches;
                if self.cluster.renew_token(lane, &connection, opened, deadline).await {
                    Broken::Renewed
                } else {
                    Broken::Lost(fault)
                }
            }
            Broken::Lost(fault) => {
                self.cluster.give_up(Lane::Watches, &connection);
                Broken::Lost(fault)
            }
            broken => broken,
        }
    }

    /// Takes the server's word to whom it belongs. Returns what the server must be told.
    fn hear(
        &mut self,
        message: WatchResponse,
        asked: &mut VecDeque<i64>,
    ) -> Result<Option<Request>, Broken> {
        let revision = message.header().map_or(0, |header| header.revision());
        let id = if message.created() { answered(&message, asked) } else { message.watch_id() };
        if message.canceled() {
            return self.cancelled(id, &message);
        }
        if message.created() {
            if let Some(watch) = self.watches.get_mut(&id) {
                watch.next.get_or_insert(revision + 1);
                if !std::mem::replace(&mut watch.opened, true) {
                    watch.mailbox.say(Note::Opened { revision });
                }
            }
        } else if message.events().is_empty() {
            self.level_at(revision);
        } else if let Some(watch) = self.watches.get_mut(&id) {
            // One that nobody wants any more may still be told of by what was on its way.
            watch.tell(message);
        }
        Ok(None)
    }

    /// The server says that all watches of the stream have been told of all up to a revision.
    fn level_at(&mut self, revision: i64) {
        let watches = &self.watches;
        self.levels.retain(|id, level| {
            let Some(watch) = watches.get(id) else {
                return false;
            };
            level.answers += u32::from(watch.opened && revision >= level.revision);
            let reached = level.answers >= ANSWERS;
            if reached {
                watch.mailbox.say(Note::Level);
            }
            !reached
        });
    }

    /// The server has ended a watch, or never begun it.
    fn cancelled(&mut self, id: i64, message: &WatchResponse) -> Result<Option<Request>, Broken> {
        if !self.watches.contains_key(&id) {
            return Ok(None);
        }
        if message.compact_revision() > 0 {
            if let Some(watch) = self.watches.remove(&id) {
                watch.mailbox.say(Note::Compacted);
            }
            // The server counts it until it is told (`cancelWatcher` in its `watchable_store.go`).
            return Ok(Some(Request::Cancel(id)));
        }
        let fault = judge_reason(message.cancel_reason());
        if fault.verdict != Verdict::Refused {
            return Err(Broken::Lost(fault));
        }
        if let Some(watch) = self.watches.remove(&id) {
            let error = fault.into_error("watch", &self.cluster.address(), false);
            watch.mailbox.say(Note::Failed(error));
        }
        Ok(None)
    }

    /// Looks at the first message of a stream for a history that went back, as after restoring a
    /// backup. All watches are told then, and the stream is over.
    async fn check_history(&mut self, message: &WatchResponse) -> Result<(), Broken> {
        let Some(header) = message.header() else {
            return Ok(());
        };
        let other = self.history.cluster.is_some_and(|id| id != header.cluster_id());
        // A member that lags behind the others shows an older revision too.
        let older = header.revision() < self.history.newest();
        let rewound = other || older && self.is_older_everywhere().await.map_err(Broken::Lost)?;
        if !rewound {
            return Ok(());
        }
        self.history.begin(header.cluster_id(), header.revision());
        self.watches.retain(|_, watch| {
            let known = watch.opened;
            if known {
                watch.mailbox.say(Note::Rewound);
            }
            !known
        });
        Err(Broken::Over)
    }

    /// Asks the cluster's quorum for its revision.
    async fn is_older_everywhere(&self) -> Result<bool, Fault> {
        let Some(span) = self.watches.values().next().map(|watch| watch.span.clone()) else {
            return Ok(false);
        };
        let deadline = Instant::now() + self.cluster.operation_timeout;
        let call = Call { operation: "watch", lane: Lane::Calls, way: Way::Read, deadline };
        let asking = self.cluster.call(&call, |at: Connection| {
            let key = span.from.clone();
            async move { at.kv().get(key, Some(GetOptions::new().with_keys_only())).await }
        });
        let answer = asking.await.map_err(|failure| failure.fault)?;
        let revision = answer.header().map_or(0, |header| header.revision());
        Ok(revision < self.history.newest())
    }
}
