//! A server that answers what a test has written down, and remembers what it was asked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

/// What is done about a request.
pub(super) enum Step {
    /// Answers, and keeps the connection.
    Say(String),
    /// Answers as far as this goes, and closes the connection.
    Cut(String),
    /// Answers as far as this goes, and with the rest when it comes.
    Then(String, oneshot::Receiver<String>),
    /// Says nothing, and keeps the connection.
    Silence,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// Method and target.
    pub(super) line: String,
    /// In lower case, as `name: value`.
    pub(super) headers: Vec<String>,
    pub(super) body: String,
}

#[derive(Clone)]
pub(super) struct Responder {
    pub(super) address: String,
    script: Arc<Mutex<VecDeque<Step>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// An answer with a status, further headers and a body.
pub(super) fn answer(status: u16, headers: &[&str], body: &str) -> Step {
    Step::Say(text(status, headers, body))
}

/// An answer that closes the connection before its end.
pub(super) fn cut(status: u16, body: &str) -> Step {
    let whole = text(status, &[], &format!("{body}missing"));
    Step::Cut(whole.trim_end_matches("missing").to_owned())
}

fn text(status: u16, headers: &[&str], body: &str) -> String {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let length = body.len();
    format!("HTTP/1.1 {status} Status\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
}

impl Responder {
    fn new(address: String, script: impl IntoIterator<Item = Step>) -> Self {
        let script = Arc::new(Mutex::new(script.into_iter().collect()));
        Self { address, script, seen: Arc::default() }
    }

    pub(super) async fn start(script: impl IntoIterator<Item = Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let responder = Self::new(listener.local_addr().unwrap().to_string(), script);
        let serving = responder.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        responder
    }

    pub(super) async fn start_tls(
        acceptor: TlsAcceptor,
        script: impl IntoIterator<Item = Step>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let responder = Self::new(listener.local_addr().unwrap().to_string(), script);
        let serving = responder.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (serving, acceptor) = (serving.clone(), acceptor.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serving.serve(stream).await;
                    }
                });
            }
        });
        responder
    }

    pub(super) fn start_unix(
        path: &std::path::Path,
        script: impl IntoIterator<Item = Step>,
    ) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let responder = Self::new(path.display().to_string(), script);
        let serving = responder.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        responder
    }

    /// What was asked so far.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.line).collect()
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let mut stream = BufReader::new(stream);
        while let Some(seen) = read(&mut stream).await {
            self.seen.lock().unwrap().push(seen);
            let step = self.script.lock().unwrap().pop_front();
            let (text, close) = match step {
                Some(Step::Say(text)) => (text, false),
                Some(Step::Cut(text)) => (text, true),
                Some(Step::Then(text, rest)) => {
                    let _ = stream.write_all(text.as_bytes()).await;
                    let _ = stream.flush().await;
                    (rest.await.unwrap_or_default(), false)
                }
                Some(Step::Silence) => (String::new(), false),
                None => (text(500, &[], "not in the script"), false),
            };
            let _ = stream.write_all(text.as_bytes()).await;
            let _ = stream.flush().await;
            if close {
                let _ = stream.shutdown().await;
                return;
            }
        }
    }
}

/// Reads a request; none at the end of the connection.
pub(super) async fn read(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Option<Seen> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|length| *length > 0)?;
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).await.ok()?;
        match header.trim_end() {
            "" => break,
            header => headers.push(header.to_lowercase()),
        }
    }
    let length = headers.iter().find_map(|header| header.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).await.ok()?;
    let line = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    Some(Seen { line, headers, body: String::from_utf8(body).unwrap() })
}
