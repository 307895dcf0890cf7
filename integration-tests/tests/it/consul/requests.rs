//! What an agent was asked, by what passed a proxy.

/// How the first line of a request ends.
const VERSION: &str = " HTTP/1.1";

/// The methods and targets of the requests in what clients have sent.
pub(super) fn requests(sent: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(sent);
    let lines = text.split("\r\n").filter_map(|line| line.strip_suffix(VERSION));
    // The body of the one before may stand in the same line.
    let begin =
        |line: &str| ["GET /", "PUT /"].iter().filter_map(|method| line.rfind(method)).max();
    lines.map(|line| line[begin(line).expect("a method")..].to_owned()).collect()
}
