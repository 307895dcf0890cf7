use std::ffi::OsString;

use libkv::StoreUrl;

use super::{Certificates, Variables, encode, hosts, split, with_slashes};
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
    if !tls && let Some(name) = wants_tls(&variables)? {
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
        if variables.switch(SKIP_VERIFY)? == Some(true) {
            return Err(TLS.unverified(SKIP_VERIFY));
        }
        for (name, value) in TLS.parameters(&parsed, &variables)? {
            add_parameter(&mut text, name, &encode(&value));
        }
    }
    Ok(Whole { text, shown })
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
                Some(_) => return Err(wrong(FORM)),
                None => (None, endpoint),
            };
            schemes.push(scheme);
            hosts.push(rest.strip_suffix('/').unwrap_or(rest));
        }
        if schemes.windows(2).any(|pair| pair[0] != pair[1]) {
            return Err(wrong("http:// and https:// are mixed; write all of them alike"));
        }
        let hosts = self::hosts(&hosts.join(","), FORM).map_err(|why| wrong(&why))?;
        let hosts = hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
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
            None => Ok(asked || wants_tls(variables)?.is_some()),
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

/// The variable that asks for TLS, if there is one.
fn wants_tls(
    variables: &Variables<impl Fn(&str) -> Option<OsString>>,
) -> Outcome<Option<&'static str>> {
    for name in [TLS.ca, TLS.cert, TLS.key] {
        if variables.text(name)?.is_some() {
            return Ok(Some(name));
        }
    }
    // It is on unless it is turned off, and allows plain text.
    let forbids_plain = variables.switch(TRANSPORT)? == Some(false);
    Ok(forbids_plain.then_some(TRANSPORT))
}

const ENDPOINTS: &str = "ETCDCTL_ENDPOINTS";
const USER: &str = "ETCDCTL_USER";
const PASSWORD: &str = "ETCDCTL_PASSWORD";
const TLS: Certificates =
    Certificates { ca: "ETCDCTL_CACERT", cert: "ETCDCTL_CERT", key: "ETCDCTL_KEY" };
const TRANSPORT: &str = "ETCDCTL_INSECURE_TRANSPORT";
const SKIP_VERIFY: &str = "ETCDCTL_INSECURE_SKIP_TLS_VERIFY";
const FORM: &str = "each is HOST:PORT, http:// or https://";
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
