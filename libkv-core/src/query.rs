use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use secrecy::SecretString;

use crate::url::invalid;
use crate::{Error, Result};

/// Reads the parameters of a [`StoreUrl`](crate::StoreUrl), each by its name and type.
///
/// A backend takes every parameter it knows, whether or not the URL has it, and then calls
/// [`finish`](Self::finish), which refuses what nobody took. So the known names are written once.
///
/// ```
/// use std::time::Duration;
///
/// use libkv_core::StoreUrl;
///
/// let url: StoreUrl = "etcd://db1/?timeout=500ms".parse()?;
/// let mut query = url.query();
/// assert_eq!(query.take_duration("timeout")?, Some(Duration::from_millis(500)));
/// assert_eq!(query.take_bool("lazy")?, None);
/// query.finish()?;
/// # Ok::<(), libkv_core::Error>(())
/// ```
#[must_use = "parameters that nobody takes are refused by `finish`"]
pub struct Query<'a> {
    left: Vec<(&'a str, &'a str)>,
    known: Vec<&'static str>,
}

impl<'a> Query<'a> {
    pub(crate) fn new(parameters: &'a Parameters) -> Self {
        let left = parameters.0.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        Self { left: left.collect(), known: Vec::new() }
    }

    /// Takes text, which is never empty.
    pub fn take_str(&mut self, name: &'static str) -> Option<&'a str> {
        self.known.push(name);
        let at = self.left.iter().position(|(left, _)| *left == name)?;
        Some(self.left.swap_remove(at).1)
    }

    /// Takes a secret, whose name must contain `password`, `secret` or `token`.
    ///
    /// # Panics
    ///
    /// In a build with debug assertions, for another name: that would be printed with its URL.
    pub fn take_secret(&mut self, name: &'static str) -> Option<SecretString> {
        debug_assert!(is_secret(name), "the value of {name:?} is not hidden in a printed URL");
        self.take_str(name).map(SecretString::from)
    }

    /// Takes `true` or `false`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidConfig`](crate::ErrorKind::InvalidConfig) for any other text.
    pub fn take_bool(&mut self, name: &'static str) -> Result<Option<bool>> {
        self.take(name, |text| text.parse().ok(), "true or false")
    }

    /// Takes a whole number without a sign.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidConfig`](crate::ErrorKind::InvalidConfig) for any other text.
    pub fn take_number(&mut self, name: &'static str) -> Result<Option<u64>> {
        self.take(name, parse_number, "a whole number, such as 16")
    }

    /// Takes a time span such as `500ms`, `5s`, `2m` or `1h`, above zero and at most a year.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidConfig`](crate::ErrorKind::InvalidConfig) for any other text.
    pub fn take_duration(&mut self, name: &'static str) -> Result<Option<Duration>> {
        self.take(
            name,
            parse_duration,
            "a time above zero and up to 8760h, such as 500ms, 5s, 2m or 1h",
        )
    }

    fn take<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
        form: &str,
    ) -> Result<Option<T>> {
        let Some(text) = self.take_str(name) else {
            return Ok(None);
        };
        let wrong = || invalid(format!("the value of parameter {name:?} is wrong; write {form}"));
        parse(text).map(Some).ok_or_else(wrong)
    }

    /// Ends the reading.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidConfig`](crate::ErrorKind::InvalidConfig) if a parameter is left, with
    /// the names that were asked for.
    pub fn finish(mut self) -> Result<()> {
        let Some((unknown, _)) = self.left.first() else {
            return Ok(());
        };
        self.known.sort_unstable();
        self.known.dedup();
        let known = match self.known.as_slice() {
            [] => "there are none here".to_owned(),
            known => format!("known are: {}", known.join(", ")),
        };
        Err(invalid(format!("unknown parameter {unknown:?}; {known}")))
    }
}

/// Shows names and no values, which may be secrets.
impl fmt::Debug for Query<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left: Vec<_> = self.left.iter().map(|(name, _)| name).collect();
        f.debug_struct("Query").field("left", &left).field("known", &self.known).finish()
    }
}

/// The names and values of a URL, in order. Its text includes the `?`.
#[derive(Clone)]
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Parses what follows the first `?`, and returns it with what stands before.
    pub(crate) fn split_off(text: &str) -> Result<(&str, Self)> {
        let (before, query) = text.split_once('?').unwrap_or((text, ""));
        let mut parameters = Self(Vec::new());
        if query.is_empty() {
            return Ok((before, parameters));
        }
        for (place, part) in (1..).zip(query.split('&')) {
            parameters.push(place, part)?;
        }
        Ok((before, parameters))
    }

    fn push(&mut self, place: usize, part: &str) -> Result<()> {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let is_allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '_' | '-');
        if name.is_empty() || !name.chars().all(is_allowed) {
            return Err(invalid(format!(
                "parameter {place} has no name of lower-case letters, digits, _ and -"
            )));
        }
        let named = format!("parameter {name:?}");
        if self.0.iter().any(|(other, _)| other == name) {
            return Err(invalid(format!("{named} is given twice; remove one")));
        }
        if value.is_empty() {
            return Err(invalid(format!("{named} has no value; write {name}=value or remove it")));
        }
        if value == HIDDEN && is_secret(name) {
            return Err(hidden(&named));
        }
        self.0.push((name.to_owned(), decode(value, &named)?));
        Ok(())
    }
}

impl fmt::Display for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = '?';
        for (name, value) in &self.0 {
            if is_secret(name) {
                write!(f, "{separator}{name}={HIDDEN}")?;
            } else {
                write!(f, "{separator}{name}={}", utf8_percent_encode(value, TEXT))?;
            }
            separator = '&';
        }
        Ok(())
    }
}

fn is_secret(name: &str) -> bool {
    ["password", "secret", "token"].iter().any(|word| name.contains(word))
}

fn parse_number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|_| !text.starts_with('+'))
}

fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let number: u64 = number.parse().ok()?;
    let duration = match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.checked_mul(60)?),
        "h" => Duration::from_secs(number.checked_mul(60 * 60)?),
        _ => return None,
    };
    (!duration.is_zero() && duration <= LONGEST).then_some(duration)
}

pub(crate) fn decode(text: &str, what: &str) -> Result<String> {
    let is_code = |after: &str| after.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    if !text.split('%').skip(1).all(is_code) {
        return Err(invalid(format!("{what} has a % without two hex digits; write % as %25")));
    }
    let decoded = percent_decode_str(text).decode_utf8().map(Cow::into_owned);
    decoded.map_err(|_| invalid(format!("{what} is not UTF-8 after percent-decoding")))
}

pub(crate) fn hidden(what: &str) -> Error {
    invalid(format!(
        "{what} was hidden when this URL was printed; put the real one in place of ***"
    ))
}

/// What stands in print for a secret. A real password of three stars is written `%2A%2A%2A`.
pub(crate) const HIDDEN: &str = "***";

/// What is encoded in print: all that could be taken for a separator, so that paths stay readable.
pub(crate) const TEXT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/')
    .remove(b':')
    .remove(b',');

/// Keeps an addition to a point in time from overflowing.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn parse(query: &str) -> Result<Parameters> {
        Parameters::split_off(query).map(|(_, parameters)| parameters)
    }

    #[test]
    fn values_are_decoded_and_taken_once() {
        let parameters = parse("?prefix=%2Fa%26b&on=true&n=16&token=t%3Dx").unwrap();
        let mut query = Query::new(&parameters);
        assert_eq!(query.take_str("prefix"), Some("/a&b"));
        assert_eq!(query.take_str("prefix"), None);
        assert_eq!(query.take_bool("on").unwrap(), Some(true));
        assert_eq!(query.take_number("n").unwrap(), Some(16));
        assert_eq!(query.take_secret("token").unwrap().expose_secret(), "t=x");
        assert_eq!(query.take_secret("password").map(|_| ()), None);
        query.finish().unwrap();
    }

    #[test]
    fn a_time_is_a_whole_number_with_a_unit() {
        for (text, millis) in [
            ("1ms", 1),
            ("500ms", 500),
            ("5s", 5_000),
            ("007s", 7_000),
            ("2m", 120_000),
            ("8760h", 31_536_000_000),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "5",
            "s",
            "0s",
            "0ms",
            "-1s",
            "+1s",
            "1.5s",
            "5 s",
            "5S",
            "5sec",
            "1d",
            "1h30m",
            "8761h",
            "18446744073709551615h",
            "18446744073709551616s",
            "",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn a_wrong_value_is_told_with_the_right_form_and_not_quoted() {
        let refused = |result: Result<()>| result.unwrap_err().to_string();
        for value in ["hunter2", "TRUE", "+1", "-1", "1e3", "18446744073709551616"] {
            let parameters = parse(&format!("?x={value}")).unwrap();
            let query = || Query::new(&parameters);
            let errors = [
                (refused(query().take_bool("x").map(drop)), "true or false"),
                (refused(query().take_number("x").map(drop)), "whole number"),
                (refused(query().take_duration("x").map(drop)), "500ms, 5s, 2m or 1h"),
            ];
            for (error, form) in errors {
                assert!(error.contains("parameter \"x\"") && error.contains(form), "{error}");
                assert!(!error.contains(value), "{error}");
            }
        }
    }

    #[test]
    fn an_unknown_parameter_is_told_with_the_known_ones() {
        let parameters = parse("?lazzy=hunter2").unwrap();
        let mut query = Query::new(&parameters);
        assert!(!format!("{query:?}").contains("hunter2"));
        query.take_str("timeout");
        query.take_bool("lazy").unwrap();
        assert_eq!(
            query.finish().unwrap_err().to_string(),
            "url: invalid configuration: unknown parameter \"lazzy\"; known are: lazy, timeout"
        );
        let none = Query::new(&parameters).finish().unwrap_err().to_string();
        assert!(none.contains("there are none here"), "{none}");
    }

    #[test]
    fn a_malformed_query_is_refused() {
        for (text, expected) in [
            ("?=1", "parameter 1 has no name"),
            ("?a=1&", "parameter 2 has no name"),
            ("?a=1&&b=2", "parameter 2 has no name"),
            ("?Lazy=true", "parameter 1 has no name"),
            ("?lazy", "parameter \"lazy\" has no value"),
            ("?lazy=", "parameter \"lazy\" has no value"),
            ("?a=1&a=1", "parameter \"a\" is given twice"),
            ("?a=%4", "parameter \"a\" has a %"),
            ("?a=%zz", "parameter \"a\" has a %"),
            ("?a=%ff", "parameter \"a\" is not UTF-8"),
            ("?acl_token=***", "parameter \"acl_token\" was hidden"),
        ] {
            let error = parse(text).map(drop).unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?} gave {error:?}");
        }
    }

    #[test]
    fn a_secret_is_not_printed() {
        let parameters = parse("?token=hunter2&ca=/etc/ca.pem&note=a%20b").unwrap();
        assert_eq!(parameters.to_string(), "?token=***&ca=/etc/ca.pem&note=a%20b");
        assert_eq!(parse("?").unwrap().to_string(), "");
    }
}
