use std::io::ErrorKind;

use tokio::net::TcpListener;

/// Ports from here are tried. Below are those of well-known services.
const FIRST: u16 = 15_000;
/// Where the system says nothing, it gives ports from here to connections that go out.
const EPHEMERAL: u16 = 32_768;
const TRIES: usize = 1_000;

/// Finds a port on the loopback interface that nobody listens on. The system gives none of these
/// to a connection that goes out, so that a server can come back to its port.
pub(super) async fn free() -> u16 {
    listen().await.local_addr().unwrap().port()
}

/// Listens on such a port.
pub(super) async fn listen() -> TcpListener {
    for _ in 0..TRIES {
        let port = fastrand::u16(FIRST..end());
        match TcpListener::bind(("127.0.0.1", port)).await {
            Ok(listener) => return listener,
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(error) => panic!("no port can be opened on 127.0.0.1: {error}"),
        }
    }
    panic!("no port is free from {FIRST} to {}", end());
}

fn end() -> u16 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok();
    let first = range.and_then(|range| range.split_whitespace().next()?.parse().ok());
    first.filter(|first| *first > FIRST + 1_000).unwrap_or(EPHEMERAL)
}
