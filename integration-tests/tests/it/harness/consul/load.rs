//! What clients cost a server.

use super::options::PORT;
use super::{Api, Server};

/// The state of a connection that is open at both ends, as Linux writes it.
const ESTABLISHED: &str = "01";

impl Server {
    /// How many connections of clients are open.
    pub(crate) async fn connections(&self) -> usize {
        let table = self.exec(&["cat", "/proc/net/tcp", "/proc/net/tcp6"]).await.text();
        table.lines().filter(|line| is_of_client(line)).count()
    }
}

impl Api {
    /// How many requests for keys wait in this server for a change, also those whose client is gone.
    pub(crate) async fn waiting(&self) -> usize {
        let profile = self.get("/debug/pprof/goroutine?debug=1").await;
        assert_eq!(profile.status, 200, "{}", profile.text());
        profile.text().split("\n\n").map(waiting).sum()
    }
}

/// A line has a number, the addresses here and there with their ports in hex, and a state.
fn is_of_client(line: &str) -> bool {
    let mut words = line.split_whitespace().skip(1);
    let here = words.next().and_then(|here| here.rsplit_once(':'));
    let port = here.and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
    port == Some(PORT) && words.nth(1) == Some(ESTABLISHED)
}

/// How many goroutines a paragraph of the profile is about, if they wait with a request for keys.
fn waiting(paragraph: &str) -> usize {
    let calls = |function: &str| paragraph.contains(function);
    if !(calls(".(*Server).blockingQuery+") && calls("/consul.(*KVS).")) {
        return 0;
    }
    let mut lines = paragraph.lines();
    let count = lines.find_map(|line| line.split_once(" @ ")?.0.parse().ok());
    count.unwrap_or_else(|| panic!("no count in {paragraph}"))
}
