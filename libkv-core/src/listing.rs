use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::{Error, KvPair, Result};

/// A part of a listing, as a backend supplies it.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Page {
    /// The store's index that the listing shows, where the server tells it.
    pub index: Option<u64>,
    /// The pairs, in ascending order, all of them after those of the page before.
    pub pairs: Vec<KvPair>,
}

impl Page {
    /// Makes a page.
    pub fn new(index: Option<u64>, pairs: Vec<KvPair>) -> Self {
        Self { index, pairs }
    }
}

/// The stream of a listing: pairs in ascending order, ended by the first error.
///
/// It asks for pages as they are needed, so it holds one page however long the listing is. It is a
/// [`Stream`] of `Result<KvPair>`.
///
/// # Cancel safety
///
/// Dropping the stream ends the listing. Dropping the future of [`next`](Self::next) loses nothing.
#[must_use = "a listing does nothing until it is polled"]
pub struct PairStream {
    pages: Option<Pin<Box<dyn Stream<Item = Result<Page>> + Send>>>,
    pairs: VecDeque<KvPair>,
    index: Option<u64>,
}

impl PairStream {
    /// Wraps a backend's stream of pages.
    pub fn new(pages: impl Stream<Item = Result<Page>> + Send + 'static) -> Self {
        Self { pages: Some(Box::pin(pages)), pairs: VecDeque::new(), index: None }
    }

    /// A listing that could not begin.
    pub fn failed(error: Error) -> Self {
        Self::new(futures_util::stream::iter([Err(error)]))
    }

    /// The store's index that the listing shows, as far as it has been read. `None` before the
    /// first page, and where the server does not tell.
    pub fn index(&self) -> Option<u64> {
        self.index
    }

    /// The next pair; `None` at the end.
    ///
    /// # Errors
    ///
    /// `KeyNotFound` where there is nothing at all and the directory does not exist either.
    ///
    /// # Cancel safety
    ///
    /// Safe: no pair is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Result<KvPair>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Reads all that is left into memory.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next). A listing that breaks off is an error, never a short answer.
    ///
    /// # Cancel safety
    ///
    /// The pairs read so far are dropped with the future.
    pub async fn collect_pairs(mut self) -> Result<Vec<KvPair>> {
        let mut all = Vec::from(std::mem::take(&mut self.pairs));
        while let Some(page) = std::future::poll_fn(|cx| self.poll_page(cx)).await {
            page?;
            let page = Vec::from(std::mem::take(&mut self.pairs));
            // A listing of one page is not copied.
            if all.is_empty() {
                all = page;
            } else {
                all.extend(page);
            }
        }
        Ok(all)
    }

    /// Gets the next page, when the pairs of the one before are taken.
    fn poll_page(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<()>>> {
        let Some(pages) = &mut self.pages else {
            return Poll::Ready(None);
        };
        let page = std::task::ready!(pages.as_mut().poll_next(cx));
        if !matches!(page, Some(Ok(_))) {
            self.pages = None;
        }
        Poll::Ready(page.map(|page| {
            let page = page?;
            self.index = page.index.or(self.index);
            self.pairs = page.pairs.into();
            Ok(())
        }))
    }
}

impl Stream for PairStream {
    type Item = Result<KvPair>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(pair) = self.pairs.pop_front() {
                return Poll::Ready(Some(Ok(pair)));
            }
            match std::task::ready!(self.poll_page(cx)) {
                Some(Ok(())) => {}
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl fmt::Debug for PairStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PairStream")
            .field("waiting_pairs", &self.pairs.len())
            .field("index", &self.index)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{BackendName, ErrorKind, Key, LifetimeKind, Version};

    const MEM: BackendName = BackendName::new("mem");

    fn page(keys: &[&str]) -> Result<Page> {
        let pair = |key: &&str| {
            let key = Key::new(key).unwrap();
            KvPair::new(key, Bytes::new(), Version::new(MEM, 1), LifetimeKind::Permanent)
        };
        Ok(Page::new(Some(7), keys.iter().map(pair).collect()))
    }

    #[tokio::test]
    async fn pages_read_as_one_listing_that_knows_its_index() {
        let pages = [page(&["a", "b"]), page(&[]), page(&["c"])];
        let mut listing = PairStream::new(futures_util::stream::iter(pages));
        assert_eq!(listing.index(), None);
        assert_eq!(listing.next().await.unwrap().unwrap().key.as_str(), "a");
        assert_eq!(listing.index(), Some(7));
        let rest = listing.collect_pairs().await.unwrap();
        assert_eq!(rest.iter().map(|pair| pair.key.as_str()).collect::<Vec<_>>(), ["b", "c"]);
    }

    #[tokio::test]
    async fn a_listing_that_breaks_off_is_an_error_and_then_ends() {
        let broken = Err(Error::new(ErrorKind::NotReachable, MEM, "list"));
        let mut listing =
            PairStream::new(futures_util::stream::iter([page(&["a"]), broken, page(&["z"])]));
        assert!(listing.next().await.unwrap().is_ok());
        assert!(listing.next().await.unwrap().is_err());
        assert!(listing.next().await.is_none());
    }
}
