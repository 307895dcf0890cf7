//! What a store's URL leaves out is read from the variables of the server's own client.

use std::ffi::OsString;

use libkv::StoreUrl;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::address::{Whole, add_parameter};
use crate::failure::{Failure, Outcome};

/// Completes an `etcd:` or `etcds:` URL from the variables of `etcdctl`, which `variable` reads.
///
/// A variable that is needed and cannot be honoured is an error. So is one that wants TLS where the
/// URL or the endpoints say plain text: a password must not go out in the open by mistake.
pub(crate) fn etcd(url: &str, variable: impl Fn(&str) -> Option<OsString>) -> Outcome<Whole> {
    let variables = Variables(variable);
    let url = with_slashes(url);
    // What is wrong with the URL itself is told by whoever opens it.
    let Ok(parsed) = url.parse::<StoreUrl>() else {
        return Ok(Whole { shown: url.clone(), text: url });
    };
    let (authority, tail) = split(&url);
    let asks_tls = parsed.scheme() == "etcds";
    let (authority, tls) = match parsed.hosts().is_empty() {
        false => (authority.to_owned(), asks_tls),
        true => {
            let endpoints = Endpoints::read(&variables)?;
            let tls = endpoints.tls(asks_tls, &variables)?;
            (endpoints.hosts, tls)
        }
    };
    if !tls && let Some(name) = variables.wants_tls()? {
        return Err(Failure::usage(format!(
            "{name} wants TLS and etcd:// is plain text; write etcds://, or unset {name}"
        )));
    }
    let scheme = if tls { "etcds" } else { "etcd" };
    let shown = format!("{scheme}://{authority}{tail}");
    let mut text = match login(&parsed, &variables)? {
        // Whoever has a user in the URL has the hosts there too, behind the last @.
        Some(login) => {
            let hosts = authority.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{login}@{}{tail}", if hosts.is_empty() { LOCAL } else { hosts })
        }
        None => shown.clone(),
    };
    if tls {
        for (name, value) in certificates(&parsed, &variables)? {
            add_parameter(&mut text, name, &encode(&value));
        }
    }
    Ok(Whole { text, shown })
}

/// `etcd:` alone is the shortest way to say that everything is in the variables.
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

/// Where `ETCDCTL_ENDPOINTS` says that the servers are.
#[derive(Debug)]
struct Endpoints {
    /// As in a URL; empty where the variable is not set.
    hosts: String,
    /// What their schemes say, where they have one.
    tls: Option<bool>,
}

impl Endpoints {
    fn read(variables: &Variables<impl Fn(&str) -> Option<OsString>>) -> Outcome<Self> {
        variables.refuse("ETCDCTL_DISCOVERY_SRV", "name the hosts in the URL")?;
        let Some(text) = variables.text(ENDPOINTS)? else {
            return Ok(Self { hosts: String::new(), tls: None });
        };
        // The value is not quoted in errors: there may be a password in it.
        let wrong = |why: &str| Failure::usage(format!("{ENDPOINTS} is no list of hosts: {why}"));
        let (mut hosts, mut schemes) = (Vec::new(), Vec::new());
        for endpoint in text.split(',').map(str::trim) {
            let (scheme, rest) = match endpoint.split_once("://") {
                Some(("http", rest)) => (Some(false), rest),
                Some(("https", rest)) => (Some(true), rest),
                Some(_) => return Err(wrong("each is HOST:PORT, http:// or https://")),
                None => (None, endpoint),
            };
            schemes.push(scheme);
            hosts.push(rest.strip_suffix('/').unwrap_or(rest));
        }
        if schemes.windows(2).any(|pair| pair[0] != pair[1]) {
            return Err(wrong("http:// and https:// are mixed; write all of them alike"));
        }
        let hosts = hosts.join(",");
        if hosts.contains(['/', '?', '@', '#']) {
            return Err(wrong("each is HOST:PORT, http:// or https://"));
        }
        if let Err(error) = format!("etcd://{hosts}").parse::<StoreUrl>() {
            let why = error.to_string();
            return Err(wrong(why.strip_prefix("url: invalid configuration: ").unwrap_or(&why)));
        }
        Ok(Self { hosts, tls: schemes.into_iter().next().flatten() })
    }

    /// Whether to speak TLS to them.
    fn tls(
        &self,
        asked: bool,
        variables: &Variables<impl Fn(&str) -> Option<OsString>>,
    ) -> Outcome<bool> {
        match self.tls {
            Some(false) if asked => Err(Failure::usage(format!(
                "the URL says etcds and {ENDPOINTS} says http://; write etcd:, or https:// there"
            ))),
            Some(tls) => Ok(tls),
            None => Ok(asked || variables.wants_tls()?.is_some()),
        }
    }
}

/// `user:password` for the URL, where it has none.
fn login(
    url: &StoreUrl,
    variables: &Variables<impl Fn(&str) -> Option<OsString>>,
) -> Outcome<Option<String>> {
    if url.password().is_some() {
        return Ok(None);
    }
    let named = variables.text(USER)?;
    let password = variables.text(PASSWORD)?;
    // As etcdctl reads it: with a password of its own, a colon belongs to the name.
    let (named, password) = match (named, password) {
        (Some(named), None) => match named.split_once(':') {
            Some((user, password)) => (Some(user.to_owned()), Some(password.to_owned())),
            None => (Some(named), None),
        },
        as_set => as_set,
    };
    let password = password.filter(|password| !password.is_empty());
    let user = match (url.user(), named) {
        // A password belongs to its user.
        (Some(user), Some(named)) if user != named => return Ok(None),
        (Some(user), _) => user.to_owned(),
        (None, Some(named)) => named,
        (None, None) if password.is_some() => {
            return Err(Failure::usage(format!("{PASSWORD} is set and {USER} is not; set both")));
        }
        (None, None) => {
            variables.refuse("ETCDCTL_AUTH_JWT_TOKEN", "use a user and a password")?;
            return Ok(None);
        }
    };
    let Some(password) = password else {
        if url.user().is_some() {
            return Ok(None);
        }
        return Err(Failure::usage(format!(
            "{USER} has no password; set it to USER:PASSWORD, or set {PASSWORD}"
        )));
    };
    if user.is_empty() {
        return Err(Failure::usage(format!("{USER} has no name before its colon")));
    }
    Ok(Some(format!("{}:{}", encode(&user), encode(&password))))
}

/// The parameters for TLS that the URL leaves out.
fn certificates(
    url: &StoreUrl,
    variables: &Variables<impl Fn(&str) -> Option<OsString>>,
) -> Outcome<Vec<(&'static str, String)>> {
    if variables.is_on(SKIP_VERIFY)? {
        return Err(Failure::usage(format!(
            "{SKIP_VERIFY} is set, and a certificate that nobody vouches for is never accepted; \
             name its authority in {CACERT}"
        )));
    }
    let has = |name| url.query().take_str(name).is_some();
    let mut parameters = Vec::new();
    if !has("ca") {
        parameters.extend(variables.text(CACERT)?.map(|path| ("ca", path)));
    }
    if !has("cert") && !has("key") {
        match (variables.text(CERT)?, variables.text(KEY)?) {
            (Some(cert), Some(key)) => parameters.extend([("cert", cert), ("key", key)]),
            (None, None) => {}
            _ => return Err(Failure::usage(format!("set both {CERT} and {KEY}, or neither"))),
        }
    }
    Ok(parameters)
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

    fn is_on(&self, name: &str) -> Outcome<bool> {
        Ok(self.switch(name)? == Some(true))
    }

    /// The variable that asks for TLS, if there is one.
    fn wants_tls(&self) -> Outcome<Option<&'static str>> {
        for name in [CACERT, CERT, KEY] {
            if self.text(name)?.is_some() {
                return Ok(Some(name));
            }
        }
        // It is on unless it is turned off, and allows plain text.
        let forbids_plain = self.switch(TRANSPORT)? == Some(false);
        Ok(forbids_plain.then_some(TRANSPORT))
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

const ENDPOINTS: &str = "ETCDCTL_ENDPOINTS";
const USER: &str = "ETCDCTL_USER";
const PASSWORD: &str = "ETCDCTL_PASSWORD";
const CACERT: &str = "ETCDCTL_CACERT";
const CERT: &str = "ETCDCTL_CERT";
const KEY: &str = "ETCDCTL_KEY";
const TRANSPORT: &str = "ETCDCTL_INSECURE_TRANSPORT";
const SKIP_VERIFY: &str = "ETCDCTL_INSECURE_SKIP_TLS_VERIFY";
/// Where etcd is when nobody says.
const LOCAL: &str = "localhost:2379";

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(url: &str, variables: &[(&str, &str)]) -> Outcome<Whole> {
        etcd(url, |name| {
            let found =
                variables.iter().find(|(known, _)| name.strip_prefix("ETCDCTL_") == Some(known));
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn what_the_url_leaves_out_comes_from_the_variables() {
        let tls = [("ENDPOINTS", "https://h:1/"), ("CACERT", "/a b"), ("CERT", "c"), ("KEY", "k")];
        for (url, variables, expected) in [
            ("etcd:", &[][..], "etcd://"),
            ("etcd:?lazy=true", &[], "etcd://?lazy=true"),
            ("etcd://h/root", &[], "etcd://h/root"),
            ("etcd:", &[("ENDPOINTS", "")], "etcd://"),
            ("etcd:", &[("ENDPOINTS", "h1:1, h2,[::1]:3")], "etcd://h1:1,h2,[::1]:3"),
            ("etcd:///a?x=1", &[("ENDPOINTS", "http://h:1")], "etcd://h:1/a?x=1"),
            ("etcd:///a", &tls, "etcds://h:1/a?ca=%2Fa%20b&cert=c&key=k"),
            ("etcds:?ca=mine", &tls, "etcds://h:1?ca=mine&cert=c&key=k"),
            ("etcds:?cert=d&key=e", &tls, "etcds://h:1?cert=d&key=e&ca=%2Fa%20b"),
            ("etcds://mine", &tls, "etcds://mine?ca=%2Fa%20b&cert=c&key=k"),
            ("etcd://mine", &[("ENDPOINTS", "https://h:1")], "etcd://mine"),
            ("etcd:", &[("CACERT", "a")], "etcds://?ca=a"),
            ("etcd:", &[("INSECURE_TRANSPORT", "false")], "etcds://"),
            ("etcd:", &[("INSECURE_TRANSPORT", "true")], "etcd://"),
            ("etcd://h", &[("INSECURE_SKIP_TLS_VERIFY", "true")], "etcd://h"),
            ("etcd://h", &[("DISCOVERY_SRV", "x")], "etcd://h"),
            ("etcd://h", &[("USER", "a@n:p:/w")], "etcd://a%40n:p%3A%2Fw@h"),
            ("etcd://h", &[("USER", "ann"), ("PASSWORD", "pw")], "etcd://ann:pw@h"),
            ("etcd:", &[("USER", "ann:pw")], "etcd://ann:pw@localhost:2379"),
            ("etcd:/", &[("USER", "ann:pw")], "etcd:/"),
            ("etcd://bob:x@h", &[("USER", "ann:pw"), ("AUTH_JWT_TOKEN", "t")], "etcd://bob:x@h"),
            ("etcd://ann@h", &[("USER", "ann:pw")], "etcd://ann:pw@h"),
            ("etcd://ann@h", &[("PASSWORD", "pw")], "etcd://ann:pw@h"),
            ("etcd://bob@h", &[("USER", "ann:pw")], "etcd://bob@h"),
            ("etcd://x:y:z", &[("USER", "ann:pw")], "etcd://x:y:z"),
        ] {
            let whole = whole(url, variables).unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!(whole.text, expected, "{url} with {variables:?}");
            assert!(!whole.shown.contains("pw"), "{}", whole.shown);
        }
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_and_no_secret_told() {
        for (url, variables, expected) in [
            ("etcd:", &[("ENDPOINTS", "http://h,https://h")][..], "are mixed"),
            ("etcd:", &[("ENDPOINTS", "h,https://h")], "are mixed"),
            ("etcd:", &[("ENDPOINTS", "unix:///secret")], "each is HOST:PORT"),
            ("etcd:", &[("ENDPOINTS", "http://ann:secret@h")], "each is HOST:PORT"),
            ("etcd:", &[("ENDPOINTS", "h/secret")], "each is HOST:PORT"),
            ("etcd:", &[("ENDPOINTS", "h:1,")], "host 2 is empty"),
            ("etcd:", &[("ENDPOINTS", "h:secret")], "host 1 has no port"),
            ("etcds:", &[("ENDPOINTS", "http://h")], "ETCDCTL_ENDPOINTS says http://"),
            ("etcd:", &[("ENDPOINTS", "http://h"), ("CACERT", "a")], "ETCDCTL_CACERT wants TLS"),
            ("etcd://h", &[("KEY", "a")], "ETCDCTL_KEY wants TLS and etcd:// is plain text"),
            ("etcd://h", &[("INSECURE_TRANSPORT", "0")], "ETCDCTL_INSECURE_TRANSPORT wants TLS"),
            ("etcd://h", &[("INSECURE_TRANSPORT", "no")], "neither true nor false"),
            ("etcds://h", &[("INSECURE_SKIP_TLS_VERIFY", "1")], "is never accepted"),
            ("etcds://h", &[("CERT", "a")], "both ETCDCTL_CERT and ETCDCTL_KEY"),
            ("etcd:", &[("DISCOVERY_SRV", "x")], "ETCDCTL_DISCOVERY_SRV is not supported"),
            ("etcd:", &[("AUTH_JWT_TOKEN", "secret")], "ETCDCTL_AUTH_JWT_TOKEN is not supported"),
            ("etcd:", &[("USER", "ann")], "ETCDCTL_USER has no password"),
            ("etcd:", &[("USER", "ann:")], "ETCDCTL_USER has no password"),
            ("etcd:", &[("USER", ":secret")], "no name before its colon"),
            ("etcd:", &[("PASSWORD", "secret")], "ETCDCTL_USER is not"),
        ] {
            let error = whole(url, variables).unwrap_err();
            assert_eq!(error.exit(), crate::exit::Exit::Usage, "{error}");
            let error = error.to_string();
            assert!(error.contains(expected) && !error.contains("secret"), "{url}: {error}");
        }
    }
}
