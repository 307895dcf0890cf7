//! Reading keys, and waiting for changes of them.

use std::time::Duration;

use super::agent::{Coming, Head};
use super::name::{Alphabet, Place, encoded};
use super::request::{Lane, Request};
use super::{Answer, Call, Client, Entries, Entry, Mode, Op, Refusal, Span, TxnReply};
use crate::error::{CONSUL, Failure};

impl Client {
    /// Reads a key.
    pub(crate) async fn get(
        &self,
        name: &str,
        mode: Mode,
        call: &Call,
    ) -> Result<Answer<Option<Entry>>, Failure> {
        let Some(path) = encoded(name, Alphabet::Letters).filter(|path| !path.is_empty()) else {
            return self.get_by_txn(name, mode, call).await;
        };
        let whole = match self.call(Request::kv(&path).mode(mode), call).await {
            Err(failure) if is_unprintable(&failure, name) => {
                return self.get_by_txn(name, mode, call).await;
            }
            whole => whole?,
        };
        if whole.head.status == 404 {
            return Ok(whole.answer(None));
        }
        let entry = whole.parsed(Entry::parse_all)?.into_iter().find(|entry| entry.name == name);
        match entry {
            Some(entry) => Ok(whole.answer(Some(entry))),
            None => Err(Failure::malformed("another key").at(&whole.address)),
        }
    }

    /// Reads a key whose name no path can carry.
    async fn get_by_txn(
        &self,
        name: &str,
        mode: Mode,
        call: &Call,
    ) -> Result<Answer<Option<Entry>>, Failure> {
        let answer = |entry| Answer { index: None, filtered: false, wide: false, body: entry };
        match self.txn(&[Op::Get { name: name.to_owned() }], false, mode, call).await? {
            TxnReply::Done(entries) => Ok(answer(entries.into_iter().next())),
            TxnReply::Refused(refusals) => match refusals.into_iter().next() {
                Some(Refusal { what, .. }) if what.ends_with("doesn't exist") => Ok(answer(None)),
                Some(Refusal { what, .. }) => Err(Failure::refusal(&what).at(&self.address())),
                None => Err(Failure::malformed("no reason").refused().at(&self.address())),
            },
        }
    }

    /// Reads the names that begin with a prefix.
    pub(crate) async fn keys(
        &self,
        prefix: &str,
        mode: Mode,
        call: &Call,
    ) -> Result<Answer<Vec<String>>, Failure> {
        let span = Span::Prefix(prefix.to_owned());
        let request = |place: &Place| Request::kv(&place.path).flag("keys").mode(mode);
        let mut place = Place::of(&span, Alphabet::Letters);
        let whole = match self.call(request(&place), call).await {
            Err(failure) if is_unprintable(&failure, prefix) => {
                place = Place::of(&span, Alphabet::Ascii);
                self.call(request(&place), call).await?
            }
            whole => whole?,
        };
        let mut names: Vec<String> = match whole.head.status {
            404 => Vec::new(),
            _ => whole.parsed(|body| Ok(serde_json::from_slice(body)?))?,
        };
        names.retain(|name| span.covers(name));
        let (answer, wide) = (whole.answer(names), place.only.is_some());
        Ok(Answer { filtered: answer.filtered && !wide, wide, ..answer })
    }

    /// Reads the keys that begin with a prefix, as they come.
    pub(crate) async fn list(
        &self,
        prefix: &str,
        mode: Mode,
        call: &Call,
    ) -> Result<Answer<Entries>, Failure> {
        let span = Span::Prefix(prefix.to_owned());
        match self.list_at(Place::of(&span, Alphabet::Letters), mode, call).await {
            Err(failure) if is_unprintable(&failure, prefix) => {
                self.list_at(Place::of(&span, Alphabet::Ascii), mode, call).await
            }
            answer => answer,
        }
    }

    async fn list_at(
        &self,
        place: Place,
        mode: Mode,
        call: &Call,
    ) -> Result<Answer<Entries>, Failure> {
        let request = Request::kv(&place.path).lane(Lane::Lists).flag("recurse").mode(mode);
        let request = self.addressed(request);
        let (coming, address) = self.agents.begin(&request, call).await?;
        Ok(spanned(coming, place.only, address))
    }

    /// Waits until the index of a span is above `index`, and at most about `wait`; without an index,
    /// or with zero, the answer comes at once. It asks one agent, once, and before that waits for one
    /// of the connections for watches, as long as it takes.
    ///
    /// A server never learns that nobody waits any more, other than by its connection.
    pub(crate) async fn block(
        &self,
        span: &Span,
        index: Option<u64>,
        wait: Duration,
        operation: &'static str,
    ) -> Result<Answer<Entries>, Failure> {
        let name = match span {
            Span::One(name) | Span::Prefix(name) => name,
        };
        match self.block_at(Place::of(span, Alphabet::Letters), index, wait, operation).await {
            Err(failure) if is_unprintable(&failure, name) => {
                self.block_at(Place::of(span, Alphabet::Ascii), index, wait, operation).await
            }
            answer => answer,
        }
    }

    async fn block_at(
        &self,
        place: Place,
        index: Option<u64>,
        wait: Duration,
        operation: &'static str,
    ) -> Result<Answer<Entries>, Failure> {
        let mut request = Request::kv(&place.path).lane(Lane::Watches);
        if place.recurse {
            request = request.flag("recurse");
        }
        request = request.mode(Mode::Consistent);
        let mut limit = self.operation_timeout;
        if let Some(index) = index.filter(|index| *index > 0) {
            request = request.after(index, wait);
            // The server waits up to a sixteenth longer, so that not all come back at once.
            limit += wait + wait / 16;
        }
        tracing::trace!(backend = %CONSUL, operation, index, "a query waits");
        let (coming, address) = self.agents.watch(&self.addressed(request), limit).await?;
        Ok(spanned(coming, place.only, address))
    }
}

/// What of an answer was asked for. What is left out of a wide one may be outside of that, so that
/// it is not known to be `filtered`.
fn spanned(coming: Coming, only: Option<Span>, address: String) -> Answer<Entries> {
    let (Head { index, filtered, .. }, wide) = (coming.head, only.is_some());
    let body = Entries::of(coming, only, address);
    Answer { index, filtered: filtered && !wide, wide, body }
}

/// Whether an agent may have refused a path because its table of Unicode is older than a letter.
fn is_unprintable(failure: &Failure, name: &str) -> bool {
    failure.is_bad_request() && !name.is_ascii()
}
