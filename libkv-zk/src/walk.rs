//! Walking a tree in the order of keys.

mod places;

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use libkv_core::{Foreign, Key, Result};
use zookeeper_client::Stat;

use self::places::Places;
pub(crate) use self::places::newest;
use crate::error::{Call, Failure};
use crate::pace::Pace;
use crate::paths::is_key;
use crate::reader::{Answer, Batch, Content, Reader};

/// How many exchanges are under way at once.
const FLIGHTS: usize = 4;
/// Whoever wants few keys gets some nodes more, since not every node is a key.
const FEW: usize = 16;

/// What a walk is to bring.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) dir: Key,
    pub(crate) depth: Option<usize>,
    /// Only what sorts after it.
    pub(crate) after: Option<Key>,
    pub(crate) content: Content,
    pub(crate) foreign: Foreign,
}

impl Plan {
    /// All that is below a directory.
    pub(crate) fn whole(dir: Key, content: Content) -> Self {
        Self { dir, depth: None, after: None, content, foreign: Foreign::Skip }
    }
}

/// A key that was found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) key: Key,
    pub(crate) value: Vec<u8>,
    pub(crate) stat: Stat,
}

/// A walk below a directory, some exchanges ahead of who takes what it finds.
pub(crate) struct Walk {
    reader: Reader,
    dir: Key,
    content: Content,
    places: Places,
    flights: FuturesUnordered<BoxFuture<'static, Landed>>,
    pace: Pace,
    turn: u64,
    /// What is known of the directory itself; none before the walk has begun.
    itself: Option<Option<Stat>>,
}

/// What came of one exchange.
struct Landed {
    /// When it was asked for.
    turn: u64,
    batch: Arc<Batch>,
    answers: Result<Vec<Answer>, Failure>,
}

impl Walk {
    pub(crate) fn new(reader: Reader, plan: Plan) -> Self {
        Self {
            places: Places::new(&reader.handle.paths, &plan),
            reader,
            dir: plan.dir,
            content: plan.content,
            flights: FuturesUnordered::new(),
            pace: Pace::default(),
            turn: 0,
            itself: None,
        }
    }

    /// Whether anything stored was passed, told or not, or the directory is a key itself.
    pub(crate) fn saw_anything(&self) -> bool {
        let path = self.reader.handle.paths.path(&self.dir);
        self.places.seen || self.itself.flatten().is_some_and(|stat| is_key(&path, &stat))
    }

    /// How many names that no key can express were passed.
    pub(crate) fn foreign(&self) -> usize {
        self.places.foreign
    }

    /// The newest change that any answer knew of.
    pub(crate) fn newest(&self) -> i64 {
        self.places.newest
    }

    /// The next keys, of which about `wanted` are of use; none at the end.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is lost.
    pub(crate) async fn next(&mut self, wanted: usize, call: &Call) -> Result<Option<Vec<Found>>> {
        self.turn += 1;
        if self.itself.is_none() {
            self.begin(call).await?;
        }
        loop {
            let found = self.places.take(call)?;
            self.send(wanted.saturating_sub(found.len()), call);
            // What is sent is on its way once it was polled.
            while let Some(Some(landed)) = self.flights.next().now_or_never() {
                self.land(landed, call)?;
            }
            if !found.is_empty() {
                return Ok(Some(found));
            }
            if self.places.is_empty() {
                return Ok(None);
            }
            if let Some(landed) = self.flights.next().await {
                self.land(landed, call)?;
            }
        }
    }

    async fn begin(&mut self, call: &Call) -> Result<()> {
        let path = self.reader.handle.paths.path(&self.dir);
        let batch = Batch { nodes: vec![path.clone()], parents: Vec::new() };
        let answers = self.reader.read(&batch, Content::Stats, call).await;
        let answers = answers.map_err(|failure| failure.into_error(call, false))?;
        let stat = answers.into_iter().find_map(|answer| match answer {
            Answer::Node(_, stat) => Some(stat),
            _ => None,
        });
        self.itself = Some(stat);
        if let Some(stat) = stat {
            self.places.begin(&path, &stat);
        }
        Ok(())
    }

    /// Asks for what comes next, as far as the walk looks ahead.
    fn send(&mut self, wanted: usize, call: &Call) {
        while self.flights.len() < FLIGHTS {
            let batch = Arc::new(self.places.pick(wanted.max(FEW), self.pace.nodes()));
            if batch.is_empty() {
                return;
            }
            let (reader, content) = (self.reader.clone(), self.content);
            let (call, turn) = (*call, self.turn);
            let flight = async move {
                let answers = reader.read(&batch, content, &call).await;
                Landed { turn, batch, answers }
            };
            self.flights.push(flight.boxed());
        }
    }

    fn land(&mut self, landed: Landed, call: &Call) -> Result<()> {
        let Landed { turn, batch, answers } = landed;
        match answers.map_err(|failure| failure.into_error(call, false)) {
            Ok(answers) => {
                let bytes = self.places.land(&batch, answers);
                self.pace.saw(batch.nodes.len(), bytes);
            }
            // It was asked for ahead of time, and its time was over while nobody waited for it.
            Err(error) if turn < self.turn && error.is_transient() => self.places.forget(&batch),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
