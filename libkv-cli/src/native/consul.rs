use std::ffi::OsString;

use libkv::{Host, StoreUrl};

use super::{Certificates, Variables, encode, hosts, split, with_slashes};
use crate::address::{Whole, add_parameter};
use crate::failure::{Failure, Outcome};

/// Completes a `consul:` or `consuls:` URL from the variables of `consul`, which `variable` reads.
///
/// They mean what they mean to Consul's own client (its `api/api.go`), and one that cannot be
/// honoured is an error. So is one that wants TLS where the URL says plain text: a token must not go
/// out in the open by mistake.
pub(crate) fn consul(url: &str, variable: impl Fn(&str) -> Option<OsString>) -> Outcome<Whole> {
    let variables = Variables(variable);
    let url = with_slashes(url);
    // What is wrong with the URL itself is told by whoever opens it.
    let Ok(parsed) = url.parse::<StoreUrl>() else {
        return Ok(Whole { shown: url.clone(), text: url });
    };
    for (name, instead) in NOT_SUPPORTED {
        variables.refuse(name, instead)?;
    }
    let has = |name| parsed.query().take_str(name).is_some();
    let (authority, tail) = split(&url);
    let wants_tls = variables.switch(SSL)? == Some(true);
    let asks_tls = parsed.scheme() == "consuls";
    let place = if !parsed.hosts().is_empty() {
        if wants_tls && !asks_tls {
            return Err(Failure::usage(format!(
                "{SSL} wants TLS and consul:// is plain text; write consuls://, or unset {SSL}"
            )));
        }
        Place { hosts: authority.to_owned(), tls: asks_tls, socket: None }
    } else if has("socket") {
        Place { hosts: String::new(), tls: asks_tls, socket: None }
    } else {
        Place::read(&variables, asks_tls || wants_tls)?
    };
    let scheme = if place.tls { "consuls" } else { "consul" };
    let mut shown = format!("{scheme}://{}{tail}", place.hosts);
    if let Some(socket) = &place.socket {
        add_parameter(&mut shown, "socket", &encode(socket));
    }
    let mut text = shown.clone();
    if parsed.user().is_none() && !has("token") && !has("token_file") {
        // The file comes first, as it does for Consul.
        for (name, variable) in [("token_file", TOKEN_FILE), ("token", TOKEN)] {
            if let Some(value) = variables.text(variable)? {
                add_parameter(&mut text, name, &encode(&value));
                break;
            }
        }
    }
    if place.tls {
        for (name, value) in tls_parameters(&parsed, &variables)? {
            add_parameter(&mut text, name, &encode(&value));
        }
    }
    Ok(Whole { text, shown })
}

/// Where the agent is.
#[derive(Debug)]
struct Place {
    /// As in a URL; empty for what nobody names, and for a socket.
    hosts: String,
    tls: bool,
    socket: Option<String>,
}

impl Place {
    /// Reads `CONSUL_HTTP_ADDR`, where `http://` does not take back that TLS is wanted.
    fn read(
        variables: &Variables<impl Fn(&str) -> Option<OsString>>,
        wants_tls: bool,
    ) -> Outcome<Self> {
        let Some(text) = variables.text(ADDR)? else {
            return Ok(Self { hosts: String::new(), tls: wants_tls, socket: None });
        };
        // The value is not quoted in errors: there may be a password in it.
        let wrong = |why: &str| Failure::usage(format!("{ADDR} is no address: {why}"));
        let (tls, address) = match text.split_once("://") {
            Some(("unix", "")) => return Err(wrong("no path follows unix://")),
            Some(("unix", _)) if wants_tls => {
                return Err(Failure::usage(format!(
                    "{ADDR} names a socket, which speaks no TLS; write consul:, and unset {SSL}"
                )));
            }
            Some(("unix", path)) => {
                return Ok(Self { hosts: String::new(), tls: false, socket: Some(path.into()) });
            }
            Some(("http", address)) => (wants_tls, address),
            Some(("https", address)) => (true, address),
            Some(_) => return Err(wrong(FORM)),
            None => (wants_tls, &*text),
        };
        let address = address.strip_suffix('/').unwrap_or(address);
        match hosts(address, FORM).map_err(|why| wrong(&why))?.as_slice() {
            [host] => {
                // Without a port it is that of HTTP, and not Consul's.
                let port = host.port.unwrap_or(if tls { 443 } else { 80 });
                let hosts = Host::new(&*host.name, Some(port)).to_string();
                Ok(Self { hosts, tls, socket: None })
            }
            _ => Err(wrong("it is one HOST:PORT; several are named in the URL")),
        }
    }
}

/// The parameters for TLS that the URL leaves out.
fn tls_parameters(
    url: &StoreUrl,
    variables: &Variables<impl Fn(&str) -> Option<OsString>>,
) -> Outcome<Vec<(&'static str, String)>> {
    if variables.switch(SSL_VERIFY)? == Some(false) {
        return Err(TLS.unverified(SSL_VERIFY));
    }
    let mut parameters = TLS.parameters(url, variables)?;
    let has = |name| url.query().take_str(name).is_some();
    if !has("ca") && !parameters.iter().any(|(name, _)| *name == "ca") {
        variables.refuse("CONSUL_CAPATH", "name one file in CONSUL_CACERT")?;
    }
    if !has("server_name") {
        let named = variables.text(SERVER_NAME)?;
        parameters.extend(named.map(|name| ("server_name", without_port(name))));
    }
    Ok(parameters)
}

/// The name alone, where a port follows it, as Consul takes it.
fn without_port(name: String) -> String {
    match hosts(&name, FORM).as_deref() {
        Ok([host]) => host.name.clone(),
        // What is no name is told by whoever opens the store.
        _ => name,
    }
}

const ADDR: &str = "CONSUL_HTTP_ADDR";
const TOKEN: &str = "CONSUL_HTTP_TOKEN";
const TOKEN_FILE: &str = "CONSUL_HTTP_TOKEN_FILE";
const SSL: &str = "CONSUL_HTTP_SSL";
const SSL_VERIFY: &str = "CONSUL_HTTP_SSL_VERIFY";
const SERVER_NAME: &str = "CONSUL_TLS_SERVER_NAME";
const TLS: Certificates =
    Certificates { ca: "CONSUL_CACERT", cert: "CONSUL_CLIENT_CERT", key: "CONSUL_CLIENT_KEY" };
/// What would change which keys are meant, or who asks for them.
const NOT_SUPPORTED: [(&str, &str); 3] = [
    ("CONSUL_HTTP_AUTH", "use an ACL token"),
    ("CONSUL_NAMESPACE", "use the default namespace"),
    ("CONSUL_PARTITION", "use the default partition"),
];
const FORM: &str = "it is HOST:PORT, http://HOST:PORT, https://HOST:PORT or unix:///PATH";

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(url: &str, variables: &[(&str, &str)]) -> Outcome<Whole> {
        consul(url, |name| {
            let found =
                variables.iter().find(|(known, _)| name.strip_prefix("CONSUL_") == Some(known));
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn what_the_url_leaves_out_comes_from_the_variables() {
        let https = [
            ("HTTP_ADDR", "https://h:8501"),
            ("CACERT", "/a b"),
            ("CLIENT_CERT", "c"),
            ("CLIENT_KEY", "k"),
            ("TLS_SERVER_NAME", "n:1"),
        ];
        let ssl = [("HTTP_SSL", "true")];
        for (url, variables, expected) in [
            ("consul:", &[][..], "consul://"),
            ("consul:?dc=east", &[], "consul://?dc=east"),
            ("consul:", &[("HTTP_ADDR", "")], "consul://"),
            ("consul:", &[("HTTP_ADDR", "h:1")], "consul://h:1"),
            ("consul:///a?dc=x", &[("HTTP_ADDR", "http://h:1/")], "consul://h:1/a?dc=x"),
            ("consul:", &[("HTTP_ADDR", "[::1]:1")], "consul://[::1]:1"),
            // The ports of HTTP.
            ("consul:", &[("HTTP_ADDR", "h")], "consul://h:80"),
            ("consul:", &[("HTTP_ADDR", "https://h")], "consuls://h:443"),
            ("consul:", &[("HTTP_ADDR", "http://h"), ("HTTP_SSL", "1")], "consuls://h:443"),
            ("consuls:", &[("HTTP_ADDR", "http://h:1")], "consuls://h:1"),
            ("consul:", &ssl, "consuls://"),
            ("consuls://h", &ssl, "consuls://h"),
            ("consul:", &[("HTTP_SSL", "false")], "consul://"),
            ("consul:///a", &[("HTTP_ADDR", "unix:///r n")], "consul:///a?socket=%2Fr%20n"),
            ("consul:?socket=/s", &[("HTTP_ADDR", "https://h")], "consul://?socket=/s"),
            ("consul://mine", &[("HTTP_ADDR", "https://h")], "consul://mine"),
            ("consul:///a", &https, "consuls://h:8501/a?ca=%2Fa%20b&cert=c&key=k&server_name=n"),
            (
                "consuls://m?ca=x&cert=y&key=z&server_name=v",
                &https,
                "consuls://m?ca=x&cert=y&key=z&server_name=v",
            ),
            ("consuls://m?ca=x", &[("CAPATH", "/c")], "consuls://m?ca=x"),
            // Consul's program takes these under TLS only.
            ("consul://h", &https[1..], "consul://h"),
            ("consul://h", &[("HTTP_SSL_VERIFY", "false")], "consul://h"),
            ("consuls://h", &[("HTTP_SSL_VERIFY", "true")], "consuls://h"),
            ("consul://h", &[("HTTP_TOKEN", "p&w")], "consul://h?token=p%26w"),
            (
                "consul://h",
                &[("HTTP_TOKEN", "pw"), ("HTTP_TOKEN_FILE", "/t")],
                "consul://h?token_file=%2Ft",
            ),
            ("consul://h?token=mine", &[("HTTP_TOKEN", "pw")], "consul://h?token=mine"),
            ("consul://h?token_file=t", &[("HTTP_TOKEN", "pw")], "consul://h?token_file=t"),
            ("consul://x:y:z", &[("HTTP_TOKEN", "pw")], "consul://x:y:z"),
        ] {
            let whole = whole(url, variables).unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!(whole.text, expected, "{url} with {variables:?}");
            assert!(!whole.shown.contains("pw"), "{}", whole.shown);
        }
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_and_no_secret_told() {
        for (url, variables, expected) in [
            ("consul:", &[("HTTP_ADDR", "ftp://h")][..], "it is HOST:PORT, http://"),
            ("consul:", &[("HTTP_ADDR", "http://ann:secret@h")], "it is HOST:PORT, http://"),
            ("consul:", &[("HTTP_ADDR", "http://h:1/secret")], "it is HOST:PORT, http://"),
            ("consul:", &[("HTTP_ADDR", "h:secret")], "host 1 has no port"),
            ("consul:", &[("HTTP_ADDR", "h:1,h:2")], "several are named in the URL"),
            ("consul:", &[("HTTP_ADDR", "http://")], "it is one HOST:PORT"),
            ("consul:", &[("HTTP_ADDR", "unix://")], "no path follows unix://"),
            ("consuls:", &[("HTTP_ADDR", "unix:///s")], "a socket, which speaks no TLS"),
            ("consul:", &[("HTTP_ADDR", "unix:///s"), ("HTTP_SSL", "1")], "unset CONSUL_HTTP_SSL"),
            ("consul://h", &[("HTTP_SSL", "true")], "CONSUL_HTTP_SSL wants TLS and consul:// is"),
            ("consul://h", &[("HTTP_SSL", "yes")], "CONSUL_HTTP_SSL is neither true nor false"),
            ("consuls://h", &[("HTTP_SSL_VERIFY", "0")], "is never accepted"),
            ("consuls://h", &[("HTTP_SSL_VERIFY", "no")], "neither true nor false"),
            ("consuls://h", &[("CAPATH", "/c")], "CONSUL_CAPATH is not supported"),
            ("consuls://h", &[("CLIENT_CERT", "a")], "both CONSUL_CLIENT_CERT and CONSUL_CLIENT_"),
            ("consul://h", &[("HTTP_AUTH", "ann:secret")], "unset it, and use an ACL token"),
            ("consul://h", &[("NAMESPACE", "team")], "CONSUL_NAMESPACE is not supported"),
            ("consul://h", &[("PARTITION", "team")], "CONSUL_PARTITION is not supported"),
        ] {
            let error = whole(url, variables).unwrap_err();
            assert_eq!(error.exit(), crate::exit::Exit::Usage, "{error}");
            let error = error.to_string();
            assert!(error.contains(expected) && !error.contains("secret"), "{url}: {error}");
        }
    }
}
