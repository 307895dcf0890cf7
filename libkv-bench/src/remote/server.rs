use std::fs::File;
use std::io::{Read, Seek, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::lab::Done;

const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);
/// What is still under way when a measurement ends is over by then.
pub(super) const SETTLED: Duration = Duration::from_millis(300);

/// How a server is found, started and asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    /// Names the image that it is started from.
    pub(crate) image: &'static str,
    /// Names a running one, as host and port.
    pub(crate) running: &'static str,
    /// The address for clients and the arguments of its program, with the data in [`DATA`].
    pub(crate) start: fn() -> Done<(String, Vec<String>)>,
    /// What it answers at a path when it is ready.
    pub(crate) ready: (&'static str, &'static str),
    /// What stands before its version at a path.
    pub(crate) version: (&'static str, &'static str),
    /// Where it tells of its calls, and how these are read.
    pub(crate) calls: (&'static str, fn(&str) -> Calls),
}

/// Where the data is, in the container.
pub(crate) const DATA: &str = "/libkv/data";

/// The server that is measured through. One that was started here is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: String,
    name: &'static str,
    kind: Kind,
    container: Option<Container>,
}

#[derive(Debug)]
struct Container {
    name: String,
    process: Child,
    words: File,
}

impl Server {
    /// Finds or starts a server, whose program has this name.
    pub(crate) fn find_or_start(name: &'static str, kind: Kind) -> Done<Self> {
        let Kind { image, running, start, .. } = kind;
        if let Ok(address) = std::env::var(running) {
            return Ok(Self { address, name, kind, container: None });
        }
        let image = std::env::var(image).map_err(|_| {
            format!("no server: run `cargo xtask bench {name}`, or set {image} or {running}")
        })?;
        let (address, args) = start()?;
        let container = Some(Container::start(&image, name, &args)?);
        let mut server = Self { address, name, kind, container };
        server.wait_ready()?;
        Ok(server)
    }

    fn wait_ready(&mut self) -> Done {
        let (begun, (path, word)) = (Instant::now(), self.kind.ready);
        while !self.get(path).is_ok_and(|body| body.contains(word)) {
            if let Some(container) = &mut self.container {
                let ended = container.process.try_wait()?.is_some();
                if ended || begun.elapsed() > PATIENCE {
                    let words = container.words();
                    return Err(format!("{} did not become ready:\n{words}", self.name).into());
                }
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// What it is, for who reads the figures later.
    pub(crate) fn describe(&self) -> Done<String> {
        let (path, before) = self.kind.version;
        let about = self.get(path)?;
        let version = about.split(before).nth(1).and_then(|it| it.split('"').next());
        let version = version.ok_or("the server does not tell its version")?;
        let name = self.name;
        Ok(match &self.container {
            Some(_) => format!(
                "{name} {version}, one member on this machine in a container, its data on a volume \
                 with fsync"
            ),
            None => format!("{name} {version} at {}", self.address),
        })
    }

    /// How many calls it has been sent: those with one answer, and the streams of watches.
    pub(crate) fn calls(&self) -> Done<Calls> {
        std::thread::sleep(SETTLED);
        let (path, read) = self.kind.calls;
        let calls = read(&self.get(path)?);
        // It was asked many times before.
        if calls.answered > 0.0 {
            Ok(calls)
        } else {
            Err("the server does not tell its calls".into())
        }
    }

    /// Runs a command of the shell beside the server; none where the server was not started here.
    pub(crate) fn shell(&self, command: &str) -> Done<Option<String>> {
        let Some(container) = &self.container else { return Ok(None) };
        let mut exec = Command::new("docker");
        let output = exec.args(["exec", &container.name, "sh", "-ec", command]).output()?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{command:?} failed: {words}").into());
        }
        Ok(Some(String::from_utf8(output.stdout)?))
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
    fn start(image: &str, program: &str, args: &[String]) -> Done<Self> {
        let name = format!("libkv-bench-{}", std::process::id());
        let words = tempfile::tempfile()?;
        let mut run = Command::new("docker");
        run.args(["run", "--rm", "--network", "host", "--name", &name]);
        // Beside the layers of the image, whose file system may be a slow one.
        run.args(["--volume", DATA, "--entrypoint", program, image]).args(args);
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

/// Addresses that nobody listens at.
pub(crate) fn free_addresses<const N: usize>() -> Done<[SocketAddr; N]> {
    // All are taken before one is given back, so that they differ.
    let taken: Vec<_> =
        (0..N).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    let addresses: Vec<_> = taken.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?;
    addresses.try_into().map_err(|_| "not as many addresses".into())
}
