use std::fs::File;
use std::io::{Read, Seek, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::lab::Done;

/// Names the image that the server is started from.
const IMAGE: &str = "LIBKV_TEST_IMAGE_ETCD";
/// Names a running server, as host and port.
const RUNNING: &str = "LIBKV_TEST_ETCD";
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);
/// What is still under way when a measurement ends is over by then.
pub(super) const SETTLED: Duration = Duration::from_millis(300);

/// The server that is measured through. One that was started here is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: String,
    container: Option<Container>,
}

#[derive(Debug)]
struct Container {
    name: String,
    process: Child,
    words: File,
}

impl Server {
    pub(crate) fn find_or_start() -> Done<Self> {
        if let Ok(address) = std::env::var(RUNNING) {
            return Ok(Self { address, container: None });
        }
        let image = std::env::var(IMAGE).map_err(|_| {
            format!("no server: run `cargo xtask bench etcd`, or set {IMAGE} or {RUNNING}")
        })?;
        let (clients, peers) = (free_address()?, free_address()?);
        let container = Container::start(&image, &clients, &peers)?;
        let mut server = Self { address: clients, container: Some(container) };
        server.wait_ready()?;
        Ok(server)
    }

    fn wait_ready(&mut self) -> Done {
        let begun = Instant::now();
        while !self.get("/health").is_ok_and(|body| body.contains("true")) {
            if let Some(container) = &mut self.container {
                let ended = container.process.try_wait()?.is_some();
                if ended || begun.elapsed() > PATIENCE {
                    return Err(format!("etcd did not become ready:\n{}", container.words()).into());
                }
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// What it is, for who reads the figures later.
    pub(crate) fn describe(&self) -> Done<String> {
        let version = self.get("/version")?;
        let version = version.split("\"etcdserver\":\"").nth(1).and_then(|it| it.split('"').next());
        let version = version.ok_or("the server does not tell its version")?;
        Ok(match &self.container {
            Some(_) => format!(
                "etcd {version}, one member on this machine in a container, its data on a volume \
                 with fsync"
            ),
            None => format!("etcd {version} at {}", self.address),
        })
    }

    /// How many calls it has been sent: those with one answer, and the streams of watches.
    pub(crate) fn calls(&self) -> Done<Calls> {
        std::thread::sleep(SETTLED);
        let metrics = self.get("/metrics")?;
        let started = metrics.lines().filter_map(|line| {
            let (labels, count) =
                line.strip_prefix("grpc_server_started_total{")?.rsplit_once(' ')?;
            Some((labels, count.parse::<f64>().ok()?))
        });
        let mut calls = Calls::default();
        for (labels, count) in started {
            if labels.contains("grpc_type=\"unary\"") {
                calls.answered += count;
            } else if labels.contains("grpc_method=\"Watch\"") {
                calls.watch_streams += count;
            }
        }
        Ok(calls)
    }

    fn get(&self, path: &str) -> Done<String> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // By the older version of the protocol the body is the rest of the stream.
        let request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.address);
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (_, body) = answer.split_once("\r\n\r\n").ok_or("the answer is cut short")?;
        Ok(body.to_owned())
    }
}

/// How many calls a server was sent.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Calls {
    pub(crate) answered: f64,
    pub(crate) watch_streams: f64,
}

impl Container {
    /// Starts a server. It shares the machine's network: a published port would have one more
    /// program between both ends.
    fn start(image: &str, clients: &str, peers: &str) -> Done<Self> {
        let name = format!("libkv-bench-{}", std::process::id());
        let words = tempfile::tempfile()?;
        let mut run = Command::new("docker");
        run.args(["run", "--rm", "--network", "host", "--name", &name]);
        // Beside the layers of the image, whose file system may be a slow one.
        run.args(["--volume", "/libkv/data", "--entrypoint", "etcd", image]);
        run.args(["--data-dir=/libkv/data", "--log-level=warn"]);
        run.arg(format!("--listen-client-urls=http://{clients}"));
        run.arg(format!("--advertise-client-urls=http://{clients}"));
        run.arg(format!("--listen-peer-urls=http://{peers}"));
        run.arg(format!("--initial-advertise-peer-urls=http://{peers}"));
        run.arg(format!("--initial-cluster=default=http://{peers}"));
        run.stdin(Stdio::null()).stdout(words.try_clone()?).stderr(words.try_clone()?);
        let process = run.spawn().map_err(|error| format!("docker cannot be run: {error}"))?;
        Ok(Self { name, process, words })
    }

    fn words(&mut self) -> String {
        let mut words = String::new();
        let read = self.words.rewind().and_then(|()| self.words.read_to_string(&mut words));
        read.map_or_else(|error| error.to_string(), |_| words)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let mut remove = Command::new("docker");
        remove.args(["rm", "--force", "--volumes", &self.name]);
        // Where it is gone already there is nothing to do.
        let _ = remove.stdout(Stdio::null()).stderr(Stdio::null()).status();
        let _ = self.process.wait();
    }
}

fn free_address() -> Done<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}
