use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use etcd_client::{
    Error as ClientError, GetOptions, WatchOptions, WatchRequestSender, WatchResponse, WatchStream,
};
use libkv_core::{Backoff, Error, ErrorKind};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, sleep};

use crate::cluster::{Call, Cluster, Way};
use crate::endpoint::{Connection, Lane};
use crate::error::{ETCD, Fault, Verdict, judge, judge_reason};
use crate::mailbox::{Mailbox, Note};
use crate::names::Span;

const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often to ask whether watches from a past revision are level. The server looks after them
/// every 100 ms (`watchStreamInterval` in its `mvcc/watchable_store.go`).
const LEVEL_EVERY: Duration = Duration::from_millis(25);
/// How long a stream without watches is kept for the next one.
const LINGER: Duration = Duration::from_secs(10);

/// All watches of a handle on one stream, so that thousands cost as much as one.
#[derive(Debug)]
pub(crate) struct Hub {
    orders: mpsc::UnboundedSender<Order>,
    last_id: AtomicI64,
}

/// One watch of the hub. Dropping it cancels the watch, at the server too.
#[derive(Debug)]
pub(crate) struct Subscription {
    id: i64,
    mailbox: Arc<Mailbox>,
    orders: mpsc::UnboundedSender<Order>,
}

#[derive(Debug)]
enum Order {
    Open(i64, Watch),
    Level(i64, i64),
    Cancel(i64),
    End,
}

/// A watch as the task knows it.
#[derive(Debug)]
struct Watch {
    span: Span,
    /// The revision to go on from; none before the server has begun to watch "now".
    next: Option<i64>,
    opened: bool,
    mailbox: Arc<Mailbox>,
}

impl Hub {
    /// Starts the task. It ends with the last of the hub and its subscriptions.
    pub(crate) fn start(cluster: Arc<Cluster>) -> Self {
        let (orders, receiver) = mpsc::unbounded_channel();
        let task = Task {
            cluster,
            orders: receiver,
            watches: HashMap::new(),
            levels: HashMap::new(),
            history: History::default(),
            backoff: Backoff::new(PAUSE, LONGEST_PAUSE),
        };
        tokio::spawn(task.run());
        Self { orders, last_id: AtomicI64::new(0) }
    }

    /// Watches `span` from the revision `start` on, or from now. `buffer` is how many changes may
    /// wait.
    pub(crate) fn open(&self, span: Span, start: Option<i64>, buffer: usize) -> Subscription {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let mailbox = Arc::new(Mailbox::new(buffer));
        let watch = Watch { span, next: start, opened: false, mailbox: mailbox.clone() };
        if self.orders.send(Order::Open(id, watch)).is_err() {
            mailbox.say(Note::Closed);
        }
        Subscription { id, mailbox, orders: self.orders.clone() }
    }

    /// Ends all watches.
    pub(crate) fn end(&self) {
        let _ = self.orders.send(Order::End);
    }
}

impl Subscription {
    /// The next note.
    pub(crate) async fn next(&mut self) -> Note {
        poll_fn(|cx| self.mailbox.poll(cx)).await
    }

    /// Asks for a [`Note::Level`] once all changes up to `revision` have been said.
    pub(crate) fn ask_level(&self, revision: i64) {
        let _ = self.orders.send(Order::Level(self.id, revision));
    }

    /// Takes changes again after a [`Note::Lagged`].
    pub(crate) fn listen_again(&self) {
        self.mailbox.listen_again();
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // The task may have ended, and with it the watch.
        let _ = self.orders.send(Order::Cancel(self.id));
    }
}

/// The task that owns the stream.
struct Task {
    cluster: Arc<Cluster>,
    orders: mpsc::UnboundedReceiver<Order>,
    watches: HashMap<i64, Watch>,
    /// The watches whose consumers want to know when a revision is reached.
    levels: HashMap<i64, i64>,
    history: History,
    backoff: Backoff,
}

/// What is known of the server's history.
#[derive(Debug, Default)]
struct History {
    cluster: Option<u64>,
    revision: i64,
}

/// An open stream.
struct Stream {
    connection: Connection,
    member: usize,
    messages: WatchStream,
    /// The watches that the server has been asked for and has not answered, in that order: it
    /// names none where it refuses.
    asked: VecDeque<i64>,
}

/// What is sent on a stream.
enum Request {
    Watch(i64, Vec<u8>, WatchOptions),
    Cancel(i64),
    Progress,
}

/// Why a stream is given up.
enum Broken {
    /// Its connection or its member failed.
    Lost(Fault),
    /// Nobody watches, or all that is left must be asked for anew.
    Over,
    /// The handle is closed, or nobody is there to watch any more.
    End,
}

impl Task {
    async fn run(mut self) {
        loop {
            while self.watches.is_empty() {
                match self.orders.recv().await {
                    None | Some(Order::End) => return,
                    Some(order) => drop(self.note(order)),
                }
            }
            let broken = match self.open().await {
                Ok(stream) => self.serve(stream).await,
                Err(broken) => broken,
            };
            let pause = match broken {
                Broken::End => {
                    self.watches.values().for_each(|watch| watch.mailbox.say(Note::Closed));
                    return;
                }
                Broken::Over => continue,
                Broken::Lost(fault) => self.report(fault),
            };
            if !self.wait(pause).await {
                self.watches.values().for_each(|watch| watch.mailbox.say(Note::Closed));
                return;
            }
        }
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
                self.levels.insert(id, revision);
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
                    let (member, asked) = (cluster.current(), VecDeque::from([id]));
                    return Ok(Stream { connection, member, messages, asked });
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
        let Stream { connection, member, messages, mut asked } = stream;
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
        let (mut fresh, opened) = (true, Instant::now());
        let mut level = interval(LEVEL_EVERY);
        level.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut idle_since = Instant::now();
        let broken = loop {
            let idle = self.watches.is_empty();
            let leveling = !self.levels.is_empty();
            tokio::select! {
                message = messages.message() => match message {
                    Ok(Some(message)) => {
                        if std::mem::take(&mut fresh) && self.is_rewound(&message).await {
                            break Broken::Over;
                        }
                        self.history.note(&message);
                        if let Err(broken) = self.hear(message, &mut asked) {
                            break broken;
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
        if let Broken::Lost(fault) = &broken {
            self.leave(fault, &connection, member).await;
        }
        broken
    }

    /// Gives up what broke: a token, or a connection with its member.
    async fn leave(&self, fault: &Fault, connection: &Connection, member: usize) {
        if fault.verdict == Verdict::Token && connection.log_in().await.is_ok() {
            return;
        }
        self.cluster.member(member).forget(Lane::Watches, connection);
        self.cluster.leave(member);
    }

    /// Takes the server's word to whom it belongs.
    fn hear(&mut self, message: WatchResponse, asked: &mut VecDeque<i64>) -> Result<(), Broken> {
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
            return Ok(());
        }
        if message.events().is_empty() {
            self.level_at(revision);
            return Ok(());
        }
        // A watch that nobody wants any more may still be told of by what was on its way.
        if let Some(watch) = self.watches.get_mut(&id) {
            watch.tell(message);
        }
        Ok(())
    }

    /// The server says that all watches of the stream have been told of all up to a revision.
    fn level_at(&mut self, revision: i64) {
        let watches = &self.watches;
        self.levels.retain(|id, wanted| match watches.get(id) {
            Some(watch) if watch.opened && revision >= *wanted => {
                watch.mailbox.say(Note::Level { revision });
                false
            }
            watch => watch.is_some(),
        });
    }

    /// The server has ended a watch, or never begun it.
    fn cancelled(&mut self, id: i64, message: &WatchResponse) -> Result<(), Broken> {
        if !self.watches.contains_key(&id) {
            return Ok(());
        }
        if message.compact_revision() > 0 {
            if let Some(watch) = self.watches.remove(&id) {
                watch.mailbox.say(Note::Compacted);
            }
            return Ok(());
        }
        let fault = judge_reason(message.cancel_reason());
        if fault.verdict != Verdict::Refused {
            return Err(Broken::Lost(fault));
        }
        if let Some(watch) = self.watches.remove(&id) {
            let error = fault.into_error("watch", &self.cluster.address(), false);
            watch.mailbox.say(Note::Failed(error));
        }
        Ok(())
    }

    /// Whether the first message of a stream shows that the history went back, as after restoring a
    /// backup. All watches are told then.
    async fn is_rewound(&mut self, message: &WatchResponse) -> bool {
        let Some(header) = message.header() else {
            return false;
        };
        let other = self.history.cluster.is_some_and(|id| id != header.cluster_id());
        // A member that lags behind the others shows an older revision too.
        let older = header.revision() < self.history.revision;
        let rewound = other || (older && self.is_older_everywhere().await);
        if !rewound {
            return false;
        }
        self.history = History { cluster: Some(header.cluster_id()), revision: header.revision() };
        self.watches.retain(|_, watch| {
            let known = watch.next.is_some();
            if known {
                watch.mailbox.say(Note::Rewound);
            }
            !known
        });
        true
    }

    /// Asks the cluster's quorum for its revision.
    async fn is_older_everywhere(&self) -> bool {
        let Some(span) = self.watches.values().next().map(|watch| watch.span.clone()) else {
            return false;
        };
        let deadline = Instant::now() + self.cluster.operation_timeout;
        let call = Call { operation: "watch", lane: Lane::Calls, way: Way::Read, deadline };
        let asking = self.cluster.call(&call, |at: Connection| {
            let key = span.from.clone();
            async move { at.kv().get(key, Some(GetOptions::new().with_keys_only())).await }
        });
        let answer = asking.await.ok();
        let revision = answer.as_ref().and_then(|answer| answer.header()).map(|it| it.revision());
        revision.is_some_and(|revision| revision < self.history.revision)
    }
}

impl Watch {
    fn request(&self, id: i64) -> Request {
        let mut options = WatchOptions::new().with_watch_id(id);
        if let Some(end) = &self.span.end {
            options = options.with_range(end.clone());
        }
        if let Some(next) = self.next {
            options = options.with_start_revision(next);
        }
        Request::Watch(id, self.span.from.clone(), options)
    }

    /// Passes on changes. What was passed on before, what is from before the start, and what is
    /// outside of the range is left out: servers have sent each of these.
    fn tell(&mut self, message: WatchResponse) {
        let next = self.next.unwrap_or_default();
        let mut events = message.0.events;
        events.retain(|event| {
            let kv = event.kv.as_ref();
            kv.is_some_and(|kv| kv.mod_revision >= next && self.span.holds(&kv.key))
        });
        let last = events.last().and_then(|event| event.kv.as_ref());
        let Some(last) = last.map(|kv| kv.mod_revision) else {
            return;
        };
        self.next = Some(last + 1);
        self.mailbox.add(events.into_iter());
    }
}

impl History {
    fn note(&mut self, message: &WatchResponse) {
        if let Some(header) = message.header() {
            self.cluster = Some(header.cluster_id());
            self.revision = self.revision.max(header.revision());
        }
    }
}

/// Which watch a creation is about. A refusal names none, and comes in the order of the requests.
fn answered(message: &WatchResponse, asked: &mut VecDeque<i64>) -> i64 {
    let named = asked.iter().position(|id| *id == message.watch_id());
    asked.remove(named.unwrap_or_default()).unwrap_or_else(|| message.watch_id())
}

/// Sends requests as fast as the server takes them; returns when it takes none any more.
async fn write(
    mut sender: WatchRequestSender,
    mut outbox: mpsc::UnboundedReceiver<Request>,
) -> ClientError {
    loop {
        let Some(request) = outbox.recv().await else {
            return std::future::pending().await;
        };
        let sent = match request {
            Request::Watch(_, key, options) => sender.watch(key, Some(options)).await,
            Request::Cancel(id) => sender.cancel(id).await,
            Request::Progress => sender.request_progress().await,
        };
        if let Err(error) = sent {
            return error;
        }
    }
}

fn ended() -> Fault {
    judge(ClientError::WatchError("the server ended the stream".to_owned()))
}

/// The error of a watch on a closed handle.
pub(crate) fn closed(operation: &'static str) -> Error {
    Error::new(ErrorKind::Closed, ETCD, operation)
}
