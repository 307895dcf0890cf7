//! What a store's URL leaves out is read from the variables of the server's own client.

#[cfg(feature = "consul")]
mod consul;
#[cfg(feature = "etcd")]
mod etcd;

use std::ffi::OsString;

use libkv::{Host, StoreUrl};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::failure::{Failure, Outcome};

#[cfg(feature = "consul")]
pub(crate) use self::consul::consul;
#[cfg(feature = "etcd")]
pub(crate) use self::etcd::etcd;

/// A scheme alone is the shortest way to say that everything is in the variables.
fn with_slashes(url: &str) -> String {
    match url.split_once(':') {
        Some((scheme, rest)) if rest.is_empty() || rest.starts_with('?') => {
            format!("{scheme}://{rest}")
        }
        _ => url.to_owned(),
    }
}

/// The part with user and hosts, and what follows it.
fn split(url: &str) -> (&str, &str) {
    let rest = url.split_once("//").map_or("", |(_, rest)| rest);
    rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()))
}

/// Reads hosts, or says what is wrong with them. They are not quoted: there may be a password in
/// what is none.
fn hosts(text: &str, form: &str) -> Result<Vec<Host>, String> {
    if text.contains(['/', '?', '@', '#']) {
        return Err(form.to_owned());
    }
    let url = format!("any://{text}").parse::<StoreUrl>().map_err(|error| {
        let why = error.to_string();
        why.strip_prefix("url: invalid configuration: ").unwrap_or(&why).to_owned()
    })?;
    Ok(url.hosts().to_vec())
}

/// The variables that name what TLS needs.
#[derive(Debug)]
struct Certificates {
    ca: &'static str,
    cert: &'static str,
    key: &'static str,
}

impl Certificates {
    /// The parameters that the URL leaves out.
    fn parameters(
        &self,
        url: &StoreUrl,
        variables: &Variables<impl Fn(&str) -> Option<OsString>>,
    ) -> Outcome<Vec<(&'static str, String)>> {
        let has = |name| url.query().take_str(name).is_some();
        let mut parameters = Vec::new();
        if !has("ca") {
            parameters.extend(variables.text(self.ca)?.map(|path| ("ca", path)));
        }
        if !has("cert") && !has("key") {
            match (variables.text(self.cert)?, variables.text(self.key)?) {
                (Some(cert), Some(key)) => parameters.extend([("cert", cert), ("key", key)]),
                (None, None) => {}
                _ => {
                    let Self { cert, key, .. } = self;
                    return Err(Failure::usage(format!("set both {cert} and {key}, or neither")));
                }
            }
        }
        Ok(parameters)
    }

    /// The error for a variable that would have any certificate accepted.
    fn unverified(&self, name: &str) -> Failure {
        Failure::usage(format!(
            "{name} is set, and a certificate that nobody vouches for is never accepted; name its \
             authority in {}",
            self.ca
        ))
    }
}

/// The environment. A variable that is set and empty is as good as not set.
#[derive(Debug)]
struct Variables<F>(F);

impl<F: Fn(&str) -> Option<OsString>> Variables<F> {
    fn text(&self, name: &str) -> Outcome<Option<String>> {
        let value = (self.0)(name).filter(|value| !value.is_empty());
        let value = value.map(OsString::into_string).transpose();
        value.map_err(|_| Failure::usage(format!("{name} is not UTF-8")))
    }

    /// Reads a switch, in the words of Go.
    fn switch(&self, name: &str) -> Outcome<Option<bool>> {
        match self.text(name)?.as_deref() {
            None => Ok(None),
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(Some(true)),
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(Some(false)),
            Some(_) => Err(Failure::usage(format!("{name} is neither true nor false"))),
        }
    }

    fn refuse(&self, name: &str, instead: &str) -> Outcome<()> {
        match self.text(name)? {
            Some(_) => {
                Err(Failure::usage(format!("{name} is not supported; unset it, and {instead}")))
            }
            None => Ok(()),
        }
    }
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}
