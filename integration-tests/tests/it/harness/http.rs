use std::io::{Error, ErrorKind, Result};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A server that is paused takes the request and never answers.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is asked of a server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    /// Lines of the head, each with its end.
    pub(super) head: &'a str,
    pub(super) body: &'a [u8],
}

/// What a server answers.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// What a line of the head says.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(':'));
        let mut named = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value.trim())
    }
}

/// What a server answers to a GET: its status and its body.
pub(super) async fn get(addr: &str, path: &str) -> Result<(u16, String)> {
    let answer = send(addr, Request { method: "GET", path, head: "", body: b"" }).await?;
    Ok((answer.status, answer.text()))
}

/// What a server answers, if it does so in time.
pub(super) async fn send(addr: &str, request: Request<'_>) -> Result<Answer> {
    match tokio::time::timeout(PATIENCE, ask(addr, request)).await {
        Ok(answer) => answer,
        Err(_) => Err(Error::from(ErrorKind::TimedOut)),
    }
}

async fn ask(addr: &str, request: Request<'_>) -> Result<Answer> {
    let Request { method, path, head, body } = request;
    let mut stream = TcpStream::connect(addr).await?;
    // By the older version of the protocol the body is the rest of the stream, and never in chunks.
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.0\r\nHost: {addr}\r\nContent-Length: {length}\r\n{head}\r\n"
    );
    stream.write_all(&[head.as_bytes(), body].concat()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let body = answer.split_off(end.ok_or(ErrorKind::UnexpectedEof)? + 4);
    let head = String::from_utf8_lossy(&answer).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok(Answer { status: status.ok_or(ErrorKind::InvalidData)?, head, body })
}
