use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use etcd_client::{
    Certificate, Channel, Client, ConnectOptions, Error as ClientError, Identity, KvClient,
    LeaseClient, MaintenanceClient, TlsOptions, WatchClient,
};
use futures_util::future::{BoxFuture, Shared};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use libkv_core::{Backoff, Config, Credentials, Error, ErrorKind, PemSource, Result, TlsConfig};
use secrecy::ExposeSecret;
use tokio::time::{Instant, timeout, timeout_at};
use tonic::transport::Endpoint as Transport;

use crate::error::{ETCD, Fault, judge};

/// A ping that finds an open call without an answer. The server closes connections that ping more
/// often than every 5 s, or without an open call (`DefaultGRPCKeepAliveMinTime` in its `embed`).
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(4);
/// When a try to connect that hears nothing gets another one beside it, as a part of the time that
/// there is.
const SILENCE: u32 = 4;
/// No server answers longer than this at once, unless values are close to their limit; a listing
/// then asks for less.
const LONGEST_ANSWER: usize = 64 << 20;
/// An event can be as long as a transaction with its values, and comes whole.
const LONGEST_EVENT: usize = i32::MAX as usize;
/// How much of an answer may be on its way: what is less slows a listing down.
const WINDOW: u32 = 4 << 20;

/// What a connection is for. Each kind has its own, so that a long answer does not keep a renewal
/// or an event waiting behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    Calls,
    Leases,
    Watches,
    Lists,
}

const LANES: usize = 4;

/// One member, and the connections to it, which are made when they are needed.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) address: String,
    transport: Transport,
    credentials: Option<Credentials>,
    connection_timeout: Duration,
    lanes: [Mutex<Slot>; LANES],
}

/// A lane's connection.
#[derive(Debug, Default)]
enum Slot {
    #[default]
    Empty,
    /// It is being made, by a task of its own: who waits may have less time than that takes.
    Making(Making),
    Ready(Connection),
}

type Making = Shared<BoxFuture<'static, Result<Connection, Fault>>>;

/// What there is of a lane's connection, for a call that wants it.
enum Found {
    Ready(Connection),
    /// Its making had begun before.
    Making(Making),
    New(Making),
}

/// A connection, through which clones of its clients call. A clone of it is cheap, and one of a
/// client is not: it holds dozens of counted references.
#[derive(Clone)]
pub(crate) struct Connection(Arc<Clients>);

struct Clients {
    kv: KvClient,
    watch: WatchClient,
    whole: Client,
    /// Whether a user was given and the server had none.
    anonymous: bool,
    last_login: tokio::sync::Mutex<Instant>,
}

impl Connection {
    pub(crate) fn kv(&self) -> KvClient {
        self.0.kv.clone()
    }

    pub(crate) fn lease(&self) -> LeaseClient {
        self.0.whole.lease_client()
    }

    pub(crate) fn watch(&self) -> WatchClient {
        self.0.watch.clone()
    }

    pub(crate) fn maintenance(&self) -> MaintenanceClient {
        self.0.whole.maintenance_client()
    }

    /// Logs in anew, as after the server refused the token of a call that began at `begun`. Calls
    /// that fail together log in once.
    pub(crate) async fn log_in(&self, begun: Instant) -> Result<(), ClientError> {
        let mut last = self.0.last_login.lock().await;
        if *last < begun {
            self.0.whole.refresh_token().await?;
            *last = Instant::now();
        }
        Ok(())
    }

    /// Whether it was made without the login that it should have by now.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.0.anonymous
    }

    /// Waits for the server's first word, whatever it is. By the newest TLS a server refuses a
    /// client's certificate only after the handshake, and a port that speaks otherwise hangs up: what
    /// is sent before may be lost, and nobody says so.
    async fn greet(&self) -> Result<(), Fault> {
        match self.maintenance().status().await.map_err(judge) {
            Err(fault) if fault.is_of_the_connection() => Err(fault),
            _ => Ok(()),
        }
    }
}

/// Shows nothing of the client, whose own form has the password in it.
impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl Endpoint {
    fn new(address: &str, tls: Option<&TlsOptions>, config: &Config) -> Result<Self> {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let refused = |error: tonic::transport::Error| {
            Error::new(ErrorKind::InvalidConfig, ETCD, "open")
                .with_detail(format!("{address} cannot be used"))
                .with_source(error)
        };
        let mut transport = Transport::from_shared(format!("{scheme}://{address}"))
            .map_err(refused)?
            .connect_timeout(config.connection_timeout)
            .http2_keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(false)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .tcp_nodelay(true);
        if let Some(tls) = tls {
            transport = transport.tls_config(tls.clone()).map_err(refused)?;
        }
        Ok(Self {
            address: address.to_owned(),
            transport,
            credentials: config.credentials.clone(),
            connection_timeout: config.connection_timeout,
            lanes: Default::default(),
        })
    }

    /// The connection of a lane; makes it where there is none. Nothing was sent when this fails.
    pub(crate) async fn connection(self: &Arc<Self>, lane: Lane) -> Result<Connection, Fault> {
        let (making, earlier) = match self.find(lane) {
            Found::Ready(connection) => return Ok(connection),
            Found::Making(making) => (making, true),
            Found::New(making) => (making, false),
        };
        let made = making.await;
        if made.is_ok() || !earlier {
            return made;
        }
        // What began before this call says nothing of now; what began since does.
        match self.find(lane) {
            Found::Ready(connection) => Ok(connection),
            Found::Making(making) | Found::New(making) => making.await,
        }
    }

    fn find(self: &Arc<Self>, lane: Lane) -> Found {
        let mut slot = self.slot(lane);
        match &*slot {
            Slot::Ready(connection) => Found::Ready(connection.clone()),
            Slot::Making(making) if making.peek().is_none() => Found::Making(making.clone()),
            // Also where the task that made it ended with its runtime, and left this as it was.
            Slot::Making(_) | Slot::Empty => {
                let making = self.clone().make(lane).boxed().shared();
                *slot = Slot::Making(making.clone());
                Found::New(making)
            }
        }
    }

    fn make(self: Arc<Self>, lane: Lane) -> impl Future<Output = Result<Connection, Fault>> {
        let task = tokio::spawn(async move {
            let made = match timeout(self.connection_timeout, self.connect()).await {
                Ok(made) => made.map_err(Fault::before_the_call),
                Err(_) => Err(Fault::unconnected(self.connection_timeout)),
            };
            *self.slot(lane) = match &made {
                Ok(connection) => Slot::Ready(connection.clone()),
                Err(_) => Slot::Empty,
            };
            made
        });
        async move { task.await.unwrap_or_else(|error| Err(Fault::task_ended(error))) }
    }

    /// Forgets a connection that broke, so that the next call makes another; false if it is not of
    /// this member, or forgotten already.
    pub(crate) fn forget(&self, lane: Lane, broken: &Connection) -> bool {
        let mut slot = self.slot(lane);
        let same = matches!(&*slot, Slot::Ready(held) if Arc::ptr_eq(&held.0, &broken.0));
        if same {
            *slot = Slot::Empty;
        }
        same
    }

    fn slot(&self, lane: Lane) -> MutexGuard<'_, Slot> {
        self.lanes[lane as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects. A try that hears nothing may have lost its first packet, or was taken by something
    /// in between that leads nowhere; others are made beside it. The first that succeeds is taken,
    /// and the newest knows best what is wrong.
    async fn connect(&self) -> Result<Connection, Fault> {
        let limit = self.connection_timeout;
        let mut pauses = Backoff::new(limit / SILENCE, limit);
        let (mut tries, mut newest) = (FuturesUnordered::new(), 0);
        loop {
            newest += 1;
            let number = newest;
            tries.push(async move { (number, self.try_once().await) });
            let until = Instant::now() + pauses.next_jittered();
            while let Ok(Some((number, made))) = timeout_at(until, tries.next()).await {
                if made.is_ok() || number == newest {
                    return made;
                }
            }
        }
    }

    async fn try_once(&self) -> Result<Connection, Fault> {
        let transport = self
            .transport
            .connect()
            .await
            .map_err(|error| judge(ClientError::TransportError(error)))?;
        let (client, anonymous) = self.log_in(transport).await.map_err(judge)?;
        let connection = Connection(Arc::new(Clients {
            kv: client.kv_client().max_decoding_message_size(LONGEST_ANSWER),
            watch: client.watch_client().max_decoding_message_size(LONGEST_EVENT),
            whole: client,
            anonymous,
            last_login: tokio::sync::Mutex::new(Instant::now()),
        }));
        if self.credentials.is_none() {
            connection.greet().await?;
        }
        Ok(connection)
    }

    /// Logs in, where there is a user to log in as; says whether the server has no users.
    async fn log_in(
        &self,
        transport: tonic::transport::Channel,
    ) -> Result<(Client, bool), ClientError> {
        // A member without a leader then says so at once, and ends streams that would be silent.
        let options = ConnectOptions::new().with_require_leader(true).with_auto_token_refresh(true);
        let channel = || Channel::Tonic(transport.clone());
        let Some(Credentials { user, password, .. }) = &self.credentials else {
            return Ok((Client::from_channel(channel(), Some(options)).await?, false));
        };
        let named = options.clone().with_user(user, password.expose_secret());
        match Client::from_channel(channel(), Some(named)).await {
            Err(error) if is_without_users(&error) => {
                tracing::warn!(backend = %ETCD, endpoint = self.address, "the server has no users");
                Ok((Client::from_channel(channel(), Some(options)).await?, true))
            }
            client => Ok((client?, false)),
        }
    }
}

/// Whether the server asks nobody who they are. etcd's own client goes on without a login then.
fn is_without_users(error: &ClientError) -> bool {
    let text = "etcdserver: authentication is not enabled";
    matches!(error, ClientError::GRpcStatus(status) if status.message().contains(text))
}

/// Prepares the members of a configuration. Nothing is connected yet.
pub(crate) async fn prepare(addresses: &[String], config: &Config) -> Result<Vec<Arc<Endpoint>>> {
    let tls = match &config.tls {
        Some(tls) => Some(tls_options(tls).await?),
        None => None,
    };
    let made = |address: &String| Endpoint::new(address, tls.as_ref(), config).map(Arc::new);
    addresses.iter().map(made).collect()
}

async fn tls_options(tls: &TlsConfig) -> Result<TlsOptions> {
    let mut options = match &tls.ca {
        Some(ca) => TlsOptions::new().ca_certificate(Certificate::from_pem(read(ca, "ca").await?)),
        None => TlsOptions::new().with_native_roots(),
    };
    if let Some(client) = &tls.client {
        let (cert, key) = (read(&client.cert, "cert").await?, read(&client.key, "key").await?);
        options = options.identity(Identity::from_pem(cert, key));
    }
    if let Some(name) = &tls.server_name {
        options = options.domain_name(name);
    }
    Ok(options)
}

async fn read(pem: &PemSource, what: &str) -> Result<Vec<u8>> {
    let invalid =
        |detail: String| Error::new(ErrorKind::InvalidConfig, ETCD, "open").with_detail(detail);
    let (text, place) = match pem {
        PemSource::Bytes(pem) => (pem.to_vec(), what.to_owned()),
        PemSource::File(path) => {
            let place = format!("{what}={}", path.display());
            let read = tokio::fs::read(path).await;
            (read.map_err(|e| invalid(format!("{place} cannot be read")).with_source(e))?, place)
        }
        other => return Err(invalid(format!("{what}: {other:?} cannot be read"))),
    };
    // rustls leaves out what it does not understand, and would then trust nobody.
    let has_pem = text.windows(11).any(|window| window == b"-----BEGIN ");
    if has_pem { Ok(text) } else { Err(invalid(format!("{place} holds nothing in PEM form"))) }
}
