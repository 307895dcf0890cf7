use std::fmt;
use std::net::Ipv6Addr;

use crate::Result;
use crate::url::invalid;

/// One server of a [`StoreUrl`](crate::StoreUrl).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Host {
    /// A name or an address; an IPv6 address is without its brackets.
    pub name: String,
    /// The port, where one was given.
    pub port: Option<u16>,
}

impl Host {
    /// Makes a host of a name or an address, an IPv6 address without brackets.
    pub fn new(name: impl Into<String>, port: Option<u16>) -> Self {
        Self { name: name.into(), port }
    }

    /// Parses `h1:p1,h2,[::1]:p3`; empty text has no hosts.
    pub(crate) fn parse_all(text: &str) -> Result<Vec<Self>> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        // A host is named in errors by its place, because a mistyped password may look like one.
        let parse = |(place, text)| {
            Self::parse(text).map_err(|reason| invalid(format!("host {place} {reason}")))
        };
        (1..).zip(text.split(',')).map(parse).collect()
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Err("is empty; name it or remove its comma");
        }
        let (name, port) = match text.strip_prefix('[') {
            Some(bracketed) => parse_ipv6(bracketed)?,
            None => parse_name(text)?,
        };
        Ok(Self { name, port: port.map(parse_port).transpose()? })
    }
}

/// Prints `name:port`, with an IPv6 address in brackets.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]", self.name)?;
        } else {
            f.write_str(&self.name)?;
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

fn parse_ipv6(text: &str) -> Result<(String, Option<&str>), &'static str> {
    let (address, after) = text.split_once(']').ok_or("has a [ without its ]")?;
    let address: Ipv6Addr = address.parse().map_err(|_| "has no IPv6 address in its brackets")?;
    let port = after.strip_prefix(':');
    if port.is_none() && !after.is_empty() {
        return Err("has something other than :port after its brackets");
    }
    Ok((address.to_string(), port))
}

fn parse_name(text: &str) -> Result<(String, Option<&str>), &'static str> {
    let (name, port) = match text.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (text, None),
    };
    if port.is_some_and(|port| port.contains(':')) {
        return Err("has several colons; write an IPv6 address as [::1]:port");
    }
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if name.is_empty() || !name.chars().all(is_allowed) {
        return Err("has no name of letters, digits, -, . and _");
    }
    Ok((name.to_owned(), port))
}

fn parse_port(text: &str) -> Result<u16, &'static str> {
    match text.parse() {
        Ok(port) if port > 0 && !text.starts_with('+') => Ok(port),
        _ => Err("has no port from 1 to 65535 after its colon"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_and_addresses_with_or_without_a_port() {
        let hosts =
            Host::parse_all("db1:2379,db-2.local,10.0.0.1:1,[::1]:65535,[fe80::0:1]").unwrap();
        let expected = [
            Host::new("db1", Some(2379)),
            Host::new("db-2.local", None),
            Host::new("10.0.0.1", Some(1)),
            Host::new("::1", Some(65535)),
            Host::new("fe80::1", None),
        ];
        assert_eq!(hosts, expected);
        let printed: Vec<_> = hosts.iter().map(Host::to_string).collect();
        assert_eq!(printed, ["db1:2379", "db-2.local", "10.0.0.1:1", "[::1]:65535", "[fe80::1]"]);
        assert_eq!(Host::parse_all("").unwrap(), []);
    }

    #[test]
    fn a_refusal_names_the_place_and_not_the_text() {
        for (text, expected) in [
            (",", "host 1 is empty"),
            ("a,,b", "host 2 is empty"),
            ("a,", "host 2 is empty"),
            (":1", "host 1 has no name"),
            ("a b", "host 1 has no name"),
            ("a%20", "host 1 has no name"),
            ("a:", "host 1 has no port"),
            ("a:0", "host 1 has no port"),
            ("a:+1", "host 1 has no port"),
            ("a:65536", "host 1 has no port"),
            ("a:1,b:secret", "host 2 has no port"),
            ("::1", "host 1 has several colons"),
            ("[::1", "host 1 has a [ without its ]"),
            ("[secret]", "host 1 has no IPv6 address"),
            ("[::1]1", "host 1 has something other than :port"),
        ] {
            let error = Host::parse_all(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?} gave {error:?}");
            assert!(!error.contains("secret"), "{error:?}");
        }
    }
}
