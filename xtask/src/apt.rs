use std::path::Path;
use std::process::Command;

use crate::command::{Done, read, run};

/// Names of releases that are not the machine's own name for its release.
const RELEASES: [&str; 4] = ["stable", "oldstable", "testing", "unstable"];

/// The mirrors of Debian that this machine takes its packages from, as its own files say.
pub(crate) fn mirrors() -> Vec<String> {
    let folder = std::fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten();
    let mut files: Vec<_> = folder.map(|entry| entry.path()).collect();
    files.push("/etc/apt/sources.list".into());
    files.sort();
    let mut mirrors = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let entries = match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => in_lines(&text),
            Some("sources") => in_stanzas(&text),
            _ => continue,
        };
        for mirror in entries.iter().filter_map(|entry| entry.debian(codename().as_deref())) {
            if !mirrors.contains(&mirror) {
                mirrors.push(mirror);
            }
        }
    }
    mirrors
}

/// The variables that make other programs use the proxies that apt uses.
pub(crate) fn proxies() -> Vec<(&'static str, String)> {
    let Ok(dump) = read_dump() else { return Vec::new() };
    [("http_proxy", "Acquire::http::Proxy"), ("https_proxy", "Acquire::https::Proxy")]
        .into_iter()
        .filter_map(|(variable, setting)| Some((variable, set_to(&dump, setting)?)))
        .collect()
}

/// Installs packages, if this is Debian and the user may.
pub(crate) fn install(packages: &[&str]) -> Done {
    let update = apt_get(&["update", "--quiet"]);
    run(update)?;
    let install = ["install", "--yes", "--quiet", "--no-install-recommends"];
    run(apt_get(&[&install[..], packages].concat()))
}

/// Whether packages can be installed here without asking anybody.
pub(crate) fn may_install() -> bool {
    is_root() && Path::new("/etc/debian_version").exists()
}

/// Whether this runs as root.
pub(crate) fn is_root() -> bool {
    let mut id = Command::new("id");
    id.arg("-u");
    read(id).is_ok_and(|id| id.trim() == "0")
}

fn apt_get(args: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.args(args).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn read_dump() -> Done<String> {
    let mut dump = Command::new("apt-config");
    dump.arg("dump");
    read(dump)
}

/// What a setting is in the words of `apt-config dump`.
fn set_to(dump: &str, setting: &str) -> Option<String> {
    let mut values = dump.lines().filter_map(|line| line.strip_prefix(setting)?.strip_prefix(' '));
    let value = values.next_back()?.trim_end_matches(';').trim_matches('"').to_owned();
    (!value.is_empty() && value != "DIRECT").then_some(value)
}

fn codename() -> Option<String> {
    let text = std::fs::read_to_string("/etc/os-release").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    Some(line.trim_matches('"').to_owned())
}

/// A place that packages come from.
#[derive(Debug, Default, PartialEq)]
struct Entry {
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
    types: Vec<String>,
}

impl Entry {
    /// The mirror, if this is the main part of a release of Debian and can be asked.
    fn debian(&self, codename: Option<&str>) -> Option<String> {
        let is_release =
            |suite: &String| Some(suite.as_str()) == codename || RELEASES.contains(&suite.as_str());
        let main = self.components.iter().any(|component| component == "main");
        let packages = self.types.iter().any(|kind| kind == "deb");
        if !(packages && main && self.suites.iter().any(is_release)) {
            return None;
        }
        let asked = |uri: &&String| ["http:", "https:", "file:"].iter().any(|s| uri.starts_with(s));
        self.uris.iter().find(asked).map(|uri| uri.trim_end_matches('/').to_owned())
    }
}

/// The older form: a line for each entry.
fn in_lines(text: &str) -> Vec<Entry> {
    text.lines().filter_map(in_line).collect()
}

fn in_line(line: &str) -> Option<Entry> {
    let line = line.split('#').next()?.trim();
    let (kind, rest) = line.split_once(char::is_whitespace)?;
    let rest = rest.trim_start();
    let rest = match rest.strip_prefix('[') {
        Some(options) => options.split_once(']')?.1,
        None => rest,
    };
    let mut words = rest.split_whitespace().map(str::to_owned);
    Some(Entry {
        types: vec![kind.to_owned()],
        uris: vec![words.next()?],
        suites: vec![words.next()?],
        components: words.collect(),
    })
}

/// The newer form: fields in stanzas, which go on in lines that begin with a space.
fn in_stanzas(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    for stanza in text.replace("\r\n", "\n").split("\n\n") {
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in stanza.lines().filter(|line| !line.starts_with('#')) {
            match (line.split_once(':'), fields.last_mut()) {
                (_, Some((_, value))) if line.starts_with([' ', '\t']) => *value += line,
                (Some((name, value)), _) => fields.push((name.to_lowercase(), value.to_owned())),
                (None, _) => {}
            }
        }
        let field = |name: &str| {
            let value = fields.iter().find(|(field, _)| field == name).map(|(_, value)| value);
            value
                .into_iter()
                .flat_map(|value| value.split_whitespace().map(str::to_owned))
                .collect()
        };
        let enabled: Vec<String> = field("enabled");
        if enabled.first().is_none_or(|enabled| enabled != "no") {
            entries.push(Entry {
                types: field("types"),
                uris: field("uris"),
                suites: field("suites"),
                components: field("components"),
            });
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirrors(entries: &[Entry]) -> Vec<String> {
        entries.iter().filter_map(|entry| entry.debian(Some("trixie"))).collect()
    }

    #[test]
    fn mirrors_in_lines_are_found() {
        let text = "# deb http://a/ trixie main\n\
            deb-src http://b/ trixie main\n\
            deb cdrom:[Debian]/ trixie main\n\
            deb [arch=amd64 signed-by=/k.gpg] http://c/debian/ trixie main contrib # ours\n\
            deb http://d/debian-security trixie-security main\n\
            deb http://e/debian stable main\n\
            deb http://f/apt trixie stable\n\
            deb\n";
        assert_eq!(mirrors(&in_lines(text)), ["http://c/debian", "http://e/debian"]);
    }

    #[test]
    fn mirrors_in_stanzas_are_found() {
        let text = "# one\nTypes: deb deb-src\nURIs: mirror+file:/m http://a/debian\n\
            Suites: trixie\n trixie-updates\nComponents: main\n\n\
            Types: deb\nURIs: http://b/security\nSuites: trixie-security\nComponents: main\n\n\
            Enabled: no\nTypes: deb\nURIs: http://c/debian\nSuites: trixie\nComponents: main\n\n\
            types: deb\nuris: https://d/debian\nsuites: trixie\ncomponents:\n main\n";
        assert_eq!(mirrors(&in_stanzas(text)), ["http://a/debian", "https://d/debian"]);
    }

    #[test]
    fn a_proxy_is_read() {
        let dump = "Acquire::http \"\";\nAcquire::http::Proxy \"http://p:3142\";\n\
            Acquire::http::Proxy::h \"DIRECT\";\nAcquire::https::Proxy \"DIRECT\";\n";
        assert_eq!(set_to(dump, "Acquire::http::Proxy").as_deref(), Some("http://p:3142"));
        assert_eq!(set_to(dump, "Acquire::https::Proxy"), None);
        assert_eq!(set_to(dump, "Acquire::ftp::Proxy"), None);
    }
}
