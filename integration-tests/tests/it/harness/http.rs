use std::io::{Error, ErrorKind, Result};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A server that is paused takes the request and never answers.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a server answers to a GET: its status and its body.
pub(super) async fn get(addr: &str, path: &str) -> Result<(u16, String)> {
    match tokio::time::timeout(PATIENCE, ask(addr, path)).await {
        Ok(answer) => answer,
        Err(_) => Err(Error::from(ErrorKind::TimedOut)),
    }
}

async fn ask(addr: &str, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(addr).await?;
    // By the older version of the protocol the body is the rest of the stream, and never in chunks.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {addr}\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or(ErrorKind::InvalidData)?, body.to_owned()))
}
