//! A TCP proxy that stands between client and server and does to the bytes what a test says.

mod connection;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{on_harness, ports};

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    ToServer,
    ToClient,
}

impl Direction {
    pub(crate) const BOTH: [Self; 2] = [Self::ToServer, Self::ToClient];
}

/// What happens to the bytes of one direction, on connections that are there and on new ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// They pass at once.
    Pass,
    /// They pass this much later, in their order, and as many at a time as come.
    Delay(Duration),
    /// Nobody takes them, and the connection stays open. Neither an end nor a reset passes.
    Stall,
}

/// A proxy on an address of its own. It ends with its last connection reset when it is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    addr: SocketAddr,
    state: Arc<State>,
    /// Whether new connections are wanted, and whether that has been done.
    wanted: watch::Sender<bool>,
    listening: watch::Receiver<bool>,
}

/// What connections share with whoever directs them.
#[derive(Debug)]
struct State {
    target: Mutex<String>,
    flows: [watch::Sender<Flow>; 2],
    /// How many bytes may still pass before everything is reset.
    cuts: Mutex<[Option<u64>; 2]>,
    /// Counts the resets; each ends all connections from before.
    resets: watch::Sender<u64>,
    accepted: AtomicU64,
    bytes: [AtomicU64; 2],
    /// What clients have sent, where that is wanted.
    recorded: Mutex<Option<Vec<u8>>>,
}

impl Proxy {
    /// Starts a proxy that passes everything to `target`, a host and port.
    pub(crate) async fn start(target: impl Into<String>) -> Self {
        let state = Arc::new(State {
            target: Mutex::new(target.into()),
            flows: [watch::channel(Flow::Pass).0, watch::channel(Flow::Pass).0],
            cuts: Mutex::default(),
            resets: watch::channel(0).0,
            accepted: AtomicU64::new(0),
            bytes: [AtomicU64::new(0), AtomicU64::new(0)],
            recorded: Mutex::default(),
        });
        let (wanted, wanted_there) = watch::channel(true);
        let (listening_there, listening) = watch::channel(true);
        let there = state.clone();
        let addr = on_harness(async move {
            let listener = ports::listen().await;
            let addr = listener.local_addr().unwrap();
            tokio::spawn(serve(listener, there, wanted_there, listening_there));
            addr
        });
        Self { addr: addr.await, state, wanted, listening }
    }

    /// The address to connect to, as a host and port.
    pub(crate) fn addr(&self) -> String {
        self.addr.to_string()
    }

    /// Decides about one direction.
    pub(crate) fn set(&self, direction: Direction, flow: Flow) {
        self.state.flows[direction as usize].send_replace(flow);
    }

    /// Decides about both directions.
    pub(crate) fn set_both(&self, flow: Flow) {
        self.set(Direction::ToServer, flow);
        self.set(Direction::ToClient, flow);
    }

    /// Closes the port, so that new connections are refused; those that are there go on.
    pub(crate) async fn refuse(&self) {
        self.listen(false).await;
    }

    /// Opens the port again.
    pub(crate) async fn accept(&self) {
        self.listen(true).await;
    }

    async fn listen(&self, wanted: bool) {
        self.wanted.send_replace(wanted);
        let mut listening = self.listening.clone();
        listening.wait_for(|is| *is == wanted).await.expect("the proxy runs");
    }

    /// Resets every connection that is there.
    pub(crate) fn reset(&self) {
        self.state.reset();
    }

    /// Lets exactly `bytes` more pass in a direction, over all connections, and then resets them all.
    /// Connections made after that pass.
    pub(crate) fn cut_after(&self, direction: Direction, bytes: u64) {
        self.state.cuts.lock().unwrap()[direction as usize] = Some(bytes);
    }

    /// Keeps what clients send from now on, also what is not passed on.
    pub(crate) fn record(&self) {
        *self.state.recorded.lock().unwrap() = Some(Vec::new());
    }

    /// What clients have sent since it was recorded. Each piece of a connection is there as a whole.
    pub(crate) fn recorded(&self) -> Vec<u8> {
        self.state.recorded.lock().unwrap().clone().unwrap_or_default()
    }

    /// Sends new connections to another server.
    pub(crate) fn set_target(&self, target: impl Into<String>) {
        *self.state.target.lock().unwrap() = target.into();
    }

    /// How many connections were accepted.
    pub(crate) fn accepted(&self) -> u64 {
        self.state.accepted.load(Ordering::SeqCst)
    }

    /// How many bytes were passed on in a direction.
    pub(crate) fn bytes(&self, direction: Direction) -> u64 {
        self.state.bytes[direction as usize].load(Ordering::SeqCst)
    }
}

impl State {
    fn reset(&self) {
        self.resets.send_modify(|count| *count += 1);
    }

    fn note(&self, direction: Direction, piece: &[u8]) {
        if direction == Direction::ToServer
            && let Some(recorded) = self.recorded.lock().unwrap().as_mut()
        {
            recorded.extend_from_slice(piece);
        }
    }

    /// Says how many of so many bytes may pass, and whether that is the cut.
    fn allow(&self, direction: Direction, bytes: usize) -> (usize, bool) {
        let mut cuts = self.cuts.lock().unwrap();
        let cut = &mut cuts[direction as usize];
        let Some(left) = cut else { return (bytes, false) };
        let allowed = usize::try_from(*left).map_or(bytes, |left| left.min(bytes));
        *left -= allowed as u64;
        let over = *left == 0;
        if over {
            *cut = None;
        }
        (allowed, over)
    }
}

/// Accepts connections until the proxy is dropped, which closes `wanted`.
async fn serve(
    listener: TcpListener,
    state: Arc<State>,
    mut wanted: watch::Receiver<bool>,
    listening: watch::Sender<bool>,
) {
    let addr = listener.local_addr().unwrap();
    let mut listener = Some(listener);
    loop {
        let wants = *wanted.borrow_and_update();
        if !wants {
            listener = None;
        } else if listener.is_none() {
            listener = Some(TcpListener::bind(addr).await.expect("the port is still ours"));
        }
        listening.send_replace(wants);
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() {
                return state.reset();
            },
            client = accept(listener.as_ref()) => {
                state.accepted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(connection::run(client, state.clone()));
            }
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    match listener {
        Some(listener) => listener.accept().await.expect("connections can be accepted").0,
        None => std::future::pending().await,
    }
}
