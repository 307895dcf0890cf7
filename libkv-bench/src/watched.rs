//! Sides that tell of what is put.

use std::future::Future;

use libkv_core::{Event, EventStream, Store, WatchOptions, WatchTarget};

use crate::lab::Done;
use crate::sides::{Ours, Side};

pub(crate) trait Watched: Side {
    type Watch: Watching;

    /// Begins a watch, which is ready for the next put.
    fn watch(&self, target: &WatchTarget) -> impl Future<Output = Done<Self::Watch>> + Send;
}

pub(crate) trait Watching: Send + 'static {
    /// Waits for the next put, and returns the first byte of its value, which tells it from others.
    fn next(&mut self) -> impl Future<Output = Done<u8>> + Send;
}

impl Watched for Ours {
    type Watch = EventStream;

    async fn watch(&self, target: &WatchTarget) -> Done<EventStream> {
        let mut events = self.0.watch_opts(target, WatchOptions::default());
        while !matches!(events.next().await.ok_or("the watch ended")??, Event::Synced { .. }) {}
        Ok(events)
    }
}

impl Watching for EventStream {
    async fn next(&mut self) -> Done<u8> {
        match self.next().await.ok_or("the watch ended")?? {
            Event::Put(pair) => first_byte(&pair.value),
            event => Err(format!("{event:?} was not to come").into()),
        }
    }
}

pub(crate) fn first_byte(value: &[u8]) -> Done<u8> {
    Ok(*value.first().ok_or("an empty value")?)
}
