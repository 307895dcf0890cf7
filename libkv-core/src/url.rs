use std::fmt;
use std::path::Path;
use std::str::FromStr;

use percent_encoding::{AsciiSet, utf8_percent_encode};
use secrecy::SecretString;

use crate::query::{HIDDEN, Parameters, TEXT, decode, hidden};
use crate::{Error, ErrorKind, Host, Key, Query, Result};

/// Where a store is and how to open it, as one line of text.
///
/// A server is `scheme://user:password@h1:p1,h2:p2/root?key=value`, of which only the scheme and
/// `//` must be there; an embedded store is `file:PATH?key=value` or `mem:?key=value`. User,
/// password, root, path and values are percent-decoded. Which schemes exist is not known here.
///
/// Printing shows `***` in place of a password and of each parameter that holds a secret by its
/// name; a URL with `***` in such a place is refused.
///
/// ```
/// use libkv_core::StoreUrl;
///
/// let url: StoreUrl = "etcd://ann:s3cret@db1:2379,db2/config?lazy=true".parse()?;
/// assert_eq!(url.hosts()[1].name, "db2");
/// assert_eq!(url.root().as_str(), "config");
/// assert_eq!(url.to_string(), "etcd://ann:***@db1:2379,db2/config?lazy=true");
/// # Ok::<(), libkv_core::Error>(())
/// ```
#[derive(Clone)]
pub struct StoreUrl {
    scheme: String,
    user: Option<String>,
    password: Option<SecretString>,
    hosts: Vec<Host>,
    root: Key,
    path: Option<String>,
    parameters: Parameters,
}

impl StoreUrl {
    /// The part before the first colon, in lower case.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The user to log in as.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The user's password; there is none without a user.
    pub fn password(&self) -> Option<&SecretString> {
        self.password.as_ref()
    }

    /// The servers in the order given; none in a URL that leaves them to the backend's default.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The key under which all keys of the store are kept.
    pub fn root(&self) -> &Key {
        &self.root
    }

    /// The path of a `file:` URL.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref().map(Path::new)
    }

    /// Begins to read the parameters.
    pub fn query(&self) -> Query<'_> {
        Query::new(&self.parameters)
    }
}

impl FromStr for StoreUrl {
    type Err = Error;

    /// Parses a URL.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidConfig`], which says what is wrong and where and quotes no secret.
    fn from_str(text: &str) -> Result<Self> {
        if text.contains(char::is_control) || text.trim().len() < text.len() {
            return Err(invalid("a line break or other white space around the URL; remove it"));
        }
        if text.contains('#') {
            return Err(invalid("a #, which means nothing here; write %23 for it in a name"));
        }
        let (scheme, rest) = split_scheme(text)?;
        match scheme.as_str() {
            "file" => parse_file(scheme, rest),
            "mem" => parse_memory(scheme, rest),
            _ => parse_server(scheme, rest),
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.scheme)?;
        match &self.path {
            Some(path) => {
                // An absolute path that begins with `//` would read as a host without this.
                let slashes = if path.starts_with('/') { "//" } else { "" };
                write!(f, "{slashes}{}", utf8_percent_encode(path, TEXT))?;
            }
            None if self.scheme == "mem" => {}
            None => self.fmt_server(f)?,
        }
        write!(f, "{}", self.parameters)
    }
}

/// Prints the same as `Display`, so that no log shows a secret.
impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreUrl({self})")
    }
}

impl StoreUrl {
    fn bare(scheme: String, parameters: Parameters) -> Self {
        Self {
            scheme,
            user: None,
            password: None,
            hosts: Vec::new(),
            root: Key::root(),
            path: None,
            parameters,
        }
    }

    fn fmt_server(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("//")?;
        if let Some(user) = &self.user {
            write!(f, "{}", utf8_percent_encode(user, NAME))?;
            if self.password.is_some() {
                write!(f, ":{HIDDEN}")?;
            }
            f.write_str("@")?;
        }
        for (i, host) in self.hosts.iter().enumerate() {
            write!(f, "{}{host}", if i == 0 { "" } else { "," })?;
        }
        if self.root.is_root() {
            return Ok(());
        }
        write!(f, "/{}", utf8_percent_encode(self.root.as_str(), TEXT))
    }
}

fn split_scheme(text: &str) -> Result<(String, &str)> {
    let Some((scheme, rest)) = text.split_once(':') else {
        return Err(invalid("no scheme; write such as etcd://localhost:2379, file:a.redb or mem:"));
    };
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '+' || c == '-';
    if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.chars().all(is_allowed) {
        return Err(invalid("the scheme is not a letter followed by letters, digits, + and -"));
    }
    Ok((scheme.to_ascii_lowercase(), rest))
}

fn parse_file(scheme: String, rest: &str) -> Result<StoreUrl> {
    let (place, parameters) = Parameters::split_off(rest)?;
    let path = match place.strip_prefix("//") {
        Some(path) if path.is_empty() || path.starts_with('/') => path,
        Some(_) => {
            return Err(invalid("a host after file://; write file:///absolute or file:relative"));
        }
        None => place,
    };
    if path.is_empty() {
        return Err(invalid("file: without a path; write file:PATH, or mem: to keep no file"));
    }
    let path = Some(decode(path, "the path")?);
    Ok(StoreUrl { path, ..StoreUrl::bare(scheme, parameters) })
}

fn parse_memory(scheme: String, rest: &str) -> Result<StoreUrl> {
    let (place, parameters) = Parameters::split_off(rest)?;
    if !place.is_empty() {
        return Err(invalid("mem: with something after it; it has neither host nor path"));
    }
    Ok(StoreUrl::bare(scheme, parameters))
}

fn parse_server(scheme: String, rest: &str) -> Result<StoreUrl> {
    let Some(rest) = rest.strip_prefix("//") else {
        return Err(invalid(format!("no // after the scheme; write {scheme}://host:port")));
    };
    let (authority, tail) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    // A password with a bare `/` or `?` ends up here: nothing of it may be taken for a root or a
    // parameter, because those are quoted in errors.
    if tail.contains('@') {
        return Err(invalid(
            "an @ after the hosts; write %40 for it, and in a password also %2F for / and %3F for ?",
        ));
    }
    let (place, parameters) = Parameters::split_off(tail)?;
    let root = Key::new(&decode(place, "the root")?).map_err(|error| {
        invalid("the root, which follows the hosts, is no key").with_source(error)
    })?;
    let (login, hosts) = match authority.rsplit_once('@') {
        Some((_, "")) => return Err(invalid("a user without a host; name one after the @")),
        Some((login, hosts)) => (Some(login), hosts),
        None => (None, authority),
    };
    let (user, password) = login.map(parse_login).transpose()?.unzip();
    let password = password.flatten();
    let hosts = Host::parse_all(hosts)?;
    Ok(StoreUrl { user, password, hosts, root, ..StoreUrl::bare(scheme, parameters) })
}

fn parse_login(login: &str) -> Result<(String, Option<SecretString>)> {
    if login.contains('@') {
        return Err(invalid("two @ before the hosts; write %40 in a user or password"));
    }
    let (user, password) = login.split_once(':').map_or((login, None), |(u, p)| (u, Some(p)));
    if user.is_empty() {
        return Err(invalid("no user before the @; write user:password@host"));
    }
    let password = match password {
        None => None,
        Some("") => return Err(invalid("an empty password; give it or leave out the colon")),
        Some(HIDDEN) => return Err(hidden("the password")),
        Some(password) => Some(decode(password, "the password")?.into()),
    };
    Ok((decode(user, "the user")?, password))
}

/// An error about a URL. The detail must not quote a password or a parameter's value.
pub(crate) fn invalid(detail: impl Into<String>) -> Error {
    Error::local(ErrorKind::InvalidConfig, "url").with_detail(detail)
}

/// What is encoded in a user, who is followed by separators.
const NAME: &AsciiSet = &TEXT.add(b'/').add(b':').add(b',');

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use percent_encoding::NON_ALPHANUMERIC;
    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    use super::*;

    fn parse(text: &str) -> StoreUrl {
        text.parse().unwrap_or_else(|error| panic!("{text:?} gave {error}"))
    }

    #[test]
    fn a_server_url_has_all_its_parts_decoded() {
        let url = parse("ETCDs://a%40n:p%2F%3A:%23@db1:2379,[::1]/con%20fig//x/?note=a%26b");
        assert_eq!(url.scheme(), "etcds");
        assert_eq!(url.user(), Some("a@n"));
        assert_eq!(url.password().unwrap().expose_secret(), "p/::#");
        assert_eq!(url.hosts(), [Host::new("db1", Some(2379)), Host::new("::1", None)]);
        assert_eq!(url.root().as_str(), "con fig/x");
        assert_eq!(url.path(), None);
        assert_eq!(url.query().take_str("note"), Some("a&b"));
        assert_eq!(url.to_string(), "etcds://a%40n:***@db1:2379,[::1]/con%20fig/x?note=a%26b");
        assert_eq!(format!("{url:?}"), format!("StoreUrl({url})"));
    }

    #[test]
    fn the_smallest_urls_leave_the_rest_to_the_backend() {
        for text in ["zk://", "zk:///", "zk://?", "zk:///?"] {
            let url = parse(text);
            assert!(url.user().is_none() && url.password().is_none(), "{text}");
            assert!(url.hosts().is_empty() && url.root().is_root(), "{text}");
            assert_eq!(url.to_string(), "zk://", "{text}");
        }
        let user_only = parse("zk://ann@db1");
        assert_eq!((user_only.user(), user_only.password().is_none()), (Some("ann"), true));
        assert_eq!(parse("mem:?lazy=true").to_string(), "mem:?lazy=true");
    }

    #[test]
    fn a_file_url_names_a_path_on_this_machine() {
        for (text, path, printed) in [
            ("file:data.redb", "data.redb", "file:data.redb"),
            ("FILE:./a@b", "./a@b", "file:./a%40b"),
            ("file:../a%20b?x=1", "../a b", "file:../a%20b?x=1"),
            ("file:/var/x", "/var/x", "file:///var/x"),
            ("file:///var/x", "/var/x", "file:///var/x"),
            ("file:////var/x", "//var/x", "file:////var/x"),
            ("file:%3F%23", "?#", "file:%3F%23"),
        ] {
            let url = parse(text);
            assert_eq!(url.path(), Some(Path::new(path)), "{text}");
            assert_eq!(url.to_string(), printed, "{text}");
        }
    }

    #[test]
    fn a_wrong_url_is_refused_with_what_to_do() {
        for (text, expected) in [
            ("", "no scheme"),
            ("localhost", "no scheme"),
            ("://db1", "the scheme"),
            ("1x://db1", "the scheme"),
            ("e_d://db1", "the scheme"),
            ("localhost:2379", "no // after the scheme"),
            ("etcd:/db1", "write etcd://host:port"),
            (" etcd://db1", "white space around"),
            ("etcd://db1\n", "line break"),
            ("etcd://db1/a#b", "write %23"),
            ("etcd://ann@", "a user without a host"),
            ("etcd://ann:secret@/root", "a user without a host"),
            ("etcd://@db1", "no user before the @"),
            ("etcd://:secret@db1", "no user before the @"),
            ("etcd://ann:@db1", "an empty password"),
            ("etcd://ann:***@db1", "the password was hidden when this URL was printed"),
            ("etcd://ann:secr%et@db1", "the password has a % without two hex digits"),
            ("etcd://ann:%ffsecret@db1", "the password is not UTF-8"),
            ("etcd://ann:secret@secret@db1", "two @"),
            ("etcd://ann:12/secret@db1", "an @ after the hosts"),
            ("etcd://ann:12?secret@db1", "an @ after the hosts"),
            ("etcd://ann:12#secret@db1", "write %23"),
            ("etcd://ann:secret", "host 1 has no port"),
            ("etcd://db1,,db2", "host 2 is empty"),
            ("etcd://db1/a/../b", "the root, which follows the hosts, is no key"),
            ("etcd://db1/?token=***", "parameter \"token\" was hidden"),
            ("file:", "file: without a path"),
            ("file:?x=1", "file: without a path"),
            ("file://", "file: without a path"),
            ("file://db1/x", "write file:///absolute or"),
            ("mem:data", "mem: with something after it"),
            ("mem://", "mem: with something after it"),
        ] {
            let error = text.parse::<StoreUrl>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{text:?}");
            let error = error.to_string();
            assert!(error.contains(expected) && !error.contains("secret"), "{text:?}: {error}");
        }
        let error = "etcd://db1/a/../b".parse::<StoreUrl>().unwrap_err();
        assert!(error.source().unwrap().to_string().contains("at byte 3"), "{error:?}");
    }

    proptest! {
        #[test]
        fn a_url_without_secrets_survives_its_text(
            user in proptest::option::of("\\PC{1,8}"),
            hosts in proptest::collection::vec("[a-z][a-z0-9.-]{0,8}(:[1-9][0-9]{0,3})?", 1..4),
            root in "([a-z@?%#é][a-z@ ?%#é]{0,3}[a-z]/?){0,3}",
            value in "\\PC{1,12}",
        ) {
            let login = user.map(|user| format!("{}@", utf8_percent_encode(&user, NON_ALPHANUMERIC)));
            let text = format!(
                "etcd://{}{}/{}?note={}",
                login.unwrap_or_default(),
                hosts.join(","),
                utf8_percent_encode(&root, NON_ALPHANUMERIC),
                utf8_percent_encode(&value, NON_ALPHANUMERIC),
            );
            let url = parse(&text);
            let again = parse(&url.to_string());
            prop_assert_eq!(again.user(), url.user());
            prop_assert_eq!(again.hosts(), url.hosts());
            prop_assert_eq!(again.root(), &Key::new(&root).unwrap());
            prop_assert_eq!(again.query().take_str("note"), Some(value.as_str()));
            prop_assert_eq!(again.to_string(), url.to_string());
        }

        #[test]
        fn a_path_survives_its_text(path in "\\PC{1,20}") {
            let encoded = utf8_percent_encode(&path, NON_ALPHANUMERIC);
            let url = parse(&format!("file:{encoded}"));
            prop_assert_eq!(url.path(), Some(Path::new(&path)));
            let again = parse(&url.to_string());
            prop_assert_eq!(again.path(), url.path());
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC*", tail in "[a-z:/@?#%=&,*.0-9\\[\\]]*") {
            let _ = text.parse::<StoreUrl>();
            let _ = format!("etcd://{tail}").parse::<StoreUrl>();
        }

        #[test]
        fn a_password_is_never_printed_however_badly_it_is_encoded(
            first in "[0-9]{1,4}|zq[a-z]{4}",
            separator in "[/?#@:,%=&*\\[\\] ]",
            rest in "zq[a-z]{6}(=1)?",
        ) {
            let text = format!("etcd://ann:{first}{separator}{rest}@db1:2379/root?note=1");
            let shown = match text.parse::<StoreUrl>() {
                Ok(url) => format!("{url} {url:?}"),
                Err(error) => format!("{error} {error:?}"),
            };
            prop_assert!(!shown.contains("zq"), "{}", shown);
        }
    }
}
