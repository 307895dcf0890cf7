use std::future::Future;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Instant;

use libkv::{Error, ErrorKind, KvPair, PairStream, Store, StoreUrl};

use crate::address::{self, Whole};
use crate::args::Options;
use crate::failure::{Failure, Outcome};
use crate::output::{Format, say};

/// What every verb has: the options before it, and the store once it is opened.
#[derive(Debug)]
pub(crate) struct App {
    options: Options,
    url: OnceLock<Url>,
    store: OnceLock<Arc<dyn Store>>,
}

impl App {
    pub(crate) fn new(options: Options) -> Self {
        Self { options, url: OnceLock::new(), store: OnceLock::new() }
    }

    /// Opens the store. Whatever takes time, such as reading standard input, comes before, because
    /// a `file:` store is then shut to others.
    pub(crate) async fn open(&self) -> Outcome<Arc<dyn Store>> {
        let (text, given) = match self.options.store.clone() {
            Some(text) => (text, "in --store"),
            None => address::default_store()?,
        };
        let Whole { text, shown } = address::whole(text)?;
        self.url.get_or_init(|| Url { shown, given });
        let store = libkv::open(&self.with_patience(text)).await?;
        Ok(self.store.get_or_init(|| store).clone())
    }

    /// Gives back what the program owns in the store, if it was opened.
    pub(crate) async fn close(&self) {
        let Some(store) = self.store.get() else { return };
        if let Err(failure) = self.bounded("close", store.close()).await
            && let Some(line) = failure.line(self.place().as_deref())
        {
            self.note(line);
        }
    }

    /// The store's address, which shows no secrets.
    pub(crate) fn address(&self) -> Option<String> {
        let url: StoreUrl = self.url.get()?.shown.parse().ok()?;
        Some(url.to_string())
    }

    /// Where an error happened: on which store, or in which text that should have named one.
    pub(crate) fn place(&self) -> Option<String> {
        let on_store = self.address().map(|address| format!("on {address}"));
        on_store.or_else(|| self.url.get().map(|url| url.given.to_owned()))
    }

    /// Says that a `file:` store, now open for long, is shut to other processes.
    pub(crate) fn warn_of_shutting_out(&self) {
        let address = self.address().filter(|address| address.starts_with("file:"));
        if let Some(address) = address {
            self.note(format_args!("no other process can use {address} until this one ends"));
        }
    }

    /// When the next call must be done.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.options.timeout
    }

    /// Bounds what takes no deadline itself, such as the next page of a listing.
    pub(crate) async fn bounded<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = libkv::Result<T>>,
    ) -> Outcome<T> {
        match tokio::time::timeout(self.options.timeout, work).await {
            Ok(done) => Ok(done?),
            Err(_) => {
                let backend = self.store.get().map(|store| store.backend());
                let error = Error::local(ErrorKind::Timeout, operation);
                Err(match backend {
                    Some(backend) => error.in_operation(backend, operation),
                    None => error,
                }
                .into())
            }
        }
    }

    /// The next pair of a listing, each bounded for itself.
    pub(crate) async fn next_pair(&self, listing: &mut PairStream) -> Outcome<Option<KvPair>> {
        self.bounded("list", async { listing.next().await.transpose() }).await
    }

    /// Says something that is good to know, unless the user asked for quiet.
    pub(crate) fn note(&self, line: impl std::fmt::Display) {
        if !self.options.quiet {
            say(line);
        }
    }

    /// The form that was asked for, if this verb has it; `plain` where none was.
    pub(crate) fn format(&self, verb: &str, has: &[Format]) -> Outcome<Format> {
        let format = self.options.output.unwrap_or(Format::Plain);
        if format == Format::Plain || has.contains(&format) {
            return Ok(format);
        }
        let has: Vec<_> = has.iter().map(|format| name(*format)).collect();
        Err(Failure::usage(match has.as_slice() {
            [] => format!("{verb} has one form of output; leave out --output"),
            has => {
                format!("{verb} has no output {}; choose plain, {}", name(format), has.join(", "))
            }
        }))
    }

    /// Whether no form was asked for, so that a verb may choose the one that suits a terminal.
    pub(crate) fn chooses_format(&self) -> bool {
        self.options.output.is_none()
    }

    /// The URL with the times to wait for the store, where it says none itself.
    fn with_patience(&self, mut url: String) -> String {
        // What is no URL is refused by the facade, which knows the schemes.
        let Ok(parsed) = url.parse::<StoreUrl>() else { return url };
        let times: &[_] = match parsed.path() {
            Some(_) => &["connection_timeout"],
            None => &["connection_timeout", "operation_timeout"],
        };
        let millis = self.options.timeout.as_millis().max(1);
        for time in times.iter().filter(|time| parsed.query().take_str(time).is_none()) {
            address::add_parameter(&mut url, time, &format!("{millis}ms"));
        }
        url
    }
}

/// Which store it is, and who said so.
#[derive(Debug)]
struct Url {
    shown: String,
    given: &'static str,
}

fn name(format: Format) -> String {
    use clap::ValueEnum as _;
    format.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}
