use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use etcd_client::{
    Certificate, Channel, Client, ConnectOptions, Error as ClientError, Identity, KvClient,
    LeaseClient, MaintenanceClient, TlsOptions, WatchClient,
};
use libkv_core::{Config, Credentials, Error, ErrorKind, PemSource, Result, TlsConfig};
use secrecy::ExposeSecret;
use tonic::transport::Endpoint as Transport;

use crate::error::{ETCD, Fault, judge};

/// A ping that finds an open call without an answer. The server closes connections that ping more
/// often than every 5 s, or without an open call (`DefaultGRPCKeepAliveMinTime` in its `embed`).
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(4);
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
    lanes: [tokio::sync::Mutex<()>; LANES],
    connections: [Mutex<Option<Connection>>; LANES],
}

/// A connection, through which clones of its clients call.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) kv: KvClient,
    pub(crate) lease: LeaseClient,
    pub(crate) watch: WatchClient,
    pub(crate) maintenance: MaintenanceClient,
    client: Client,
    identity: Arc<()>,
}

impl Connection {
    /// Logs in anew, as after the server refused the token.
    pub(crate) async fn log_in(&self) -> Result<(), ClientError> {
        self.client.refresh_token().await
    }

    /// Waits for the server's first word, whatever it is. By the newest TLS a server refuses a
    /// client's certificate only after the handshake, and a port that speaks otherwise hangs up: what
    /// is sent before may be lost, and nobody says so.
    async fn greet(&self) -> Result<(), Fault> {
        match self.maintenance.clone().status().await.map_err(judge) {
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
            lanes: Default::default(),
            connections: Default::default(),
        })
    }

    /// The connection of a lane; makes it where there is none. Nothing was sent when this fails.
    pub(crate) async fn connection(&self, lane: Lane) -> Result<Connection, Fault> {
        if let Some(connection) = self.present(lane) {
            return Ok(connection);
        }
        // One at a time: who waits here finds what the first has made.
        let _making = self.lanes[lane as usize].lock().await;
        if let Some(connection) = self.present(lane) {
            return Ok(connection);
        }
        let connection = self.connect().await.map_err(Fault::before_the_call)?;
        *self.slot(lane) = Some(connection.clone());
        Ok(connection)
    }

    /// Forgets a connection that broke, so that the next call makes another.
    pub(crate) fn forget(&self, lane: Lane, broken: &Connection) {
        let mut slot = self.slot(lane);
        let same = |held: &Connection| Arc::ptr_eq(&held.identity, &broken.identity);
        if slot.as_ref().is_some_and(same) {
            *slot = None;
        }
    }

    fn present(&self, lane: Lane) -> Option<Connection> {
        self.slot(lane).clone()
    }

    fn slot(&self, lane: Lane) -> std::sync::MutexGuard<'_, Option<Connection>> {
        self.connections[lane as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(&self) -> Result<Connection, Fault> {
        let transport = self
            .transport
            .connect()
            .await
            .map_err(|error| judge(ClientError::TransportError(error)))?;
        let client = self.log_in(transport).await.map_err(judge)?;
        let connection = Connection {
            kv: client.kv_client().max_decoding_message_size(LONGEST_ANSWER),
            lease: client.lease_client(),
            watch: client.watch_client().max_decoding_message_size(LONGEST_EVENT),
            maintenance: client.maintenance_client(),
            client,
            identity: Arc::new(()),
        };
        if self.credentials.is_none() {
            connection.greet().await?;
        }
        Ok(connection)
    }

    async fn log_in(&self, transport: tonic::transport::Channel) -> Result<Client, ClientError> {
        // A member without a leader then says so at once, and ends streams that would be silent.
        let options = ConnectOptions::new().with_require_leader(true).with_auto_token_refresh(true);
        let channel = || Channel::Tonic(transport.clone());
        let Some(Credentials { user, password, .. }) = &self.credentials else {
            return Client::from_channel(channel(), Some(options)).await;
        };
        let named = options.clone().with_user(user, password.expose_secret());
        match Client::from_channel(channel(), Some(named)).await {
            Err(error) if is_without_users(&error) => {
                tracing::warn!(backend = %ETCD, endpoint = self.address, "the server has no users");
                Client::from_channel(channel(), Some(options)).await
            }
            client => client,
        }
    }
}

/// Whether the server asks nobody who they are. etcd's own client goes on without a login then.
fn is_without_users(error: &ClientError) -> bool {
    let text = "etcdserver: authentication is not enabled";
    matches!(error, ClientError::GRpcStatus(status) if status.message().contains(text))
}

/// Prepares the members of a configuration. Nothing is connected yet.
pub(crate) async fn prepare(addresses: &[String], config: &Config) -> Result<Vec<Endpoint>> {
    let tls = match &config.tls {
        Some(tls) => Some(tls_options(tls).await?),
        None => None,
    };
    addresses.iter().map(|address| Endpoint::new(address, tls.as_ref(), config)).collect()
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
