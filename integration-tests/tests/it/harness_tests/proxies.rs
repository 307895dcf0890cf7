use std::io::ErrorKind;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::proxy::{Direction, Flow, Proxy};

/// Long enough for what must not happen to have happened.
const WHILE: Duration = Duration::from_millis(50);

/// A server that sends back what it gets, each piece after a word of its own.
async fn echo(word: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut piece = vec![0; 64 * 1024];
                while let Ok(read @ 1..) = stream.read(&mut piece).await {
                    stream.write_all(word.as_bytes()).await?;
                    stream.write_all(&piece[..read]).await?;
                }
                stream.shutdown().await
            });
        }
    });
    addr
}

async fn connect(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(proxy.addr()).await.unwrap()
}

async fn say(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

async fn hear(stream: &mut TcpStream, text: &str) {
    let mut heard = vec![0; text.len()];
    stream.read_exact(&mut heard).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&heard), text);
}

async fn hears_nothing(stream: &mut TcpStream) {
    let read = tokio::time::timeout(WHILE, stream.read(&mut [0])).await;
    assert!(read.is_err(), "{read:?}");
}

async fn is_reset(stream: &mut TcpStream) {
    let error = stream.read(&mut [0]).await.expect_err("the connection is reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn bytes_and_ends_pass_and_are_counted() {
    let proxy = Proxy::start(echo("").await).await;
    let mut stream = connect(&proxy).await;
    let long: Vec<u8> = (0..1_000_000_u32).map(|number| number as u8).collect();
    let (mut read, mut write) = stream.split();
    let mut heard = Vec::new();
    let (sent, received) = tokio::join!(
        async {
            write.write_all(&long).await?;
            write.shutdown().await
        },
        read.read_to_end(&mut heard),
    );
    sent.unwrap();
    received.unwrap();
    assert!(heard == long);
    assert_eq!(proxy.bytes(Direction::ToServer), 1_000_000);
    assert_eq!(proxy.bytes(Direction::ToClient), 1_000_000);
    assert_eq!(proxy.accepted(), 1);
}

#[tokio::test]
async fn each_direction_is_delayed_by_itself() {
    let proxy = Proxy::start(echo("").await).await;
    let mut stream = connect(&proxy).await;
    let delay = Duration::from_millis(100);
    proxy.set(Direction::ToServer, Flow::Delay(delay));
    let start = Instant::now();
    say(&mut stream, "a").await;
    tokio::time::sleep(WHILE).await;
    say(&mut stream, "b").await;
    hear(&mut stream, "a").await;
    let first = start.elapsed();
    hear(&mut stream, "b").await;
    let second = start.elapsed();
    assert!(first >= delay && second >= delay + WHILE, "{first:?} {second:?}");
    proxy.set_both(Flow::Delay(delay));
    let start = Instant::now();
    say(&mut stream, "c").await;
    hear(&mut stream, "c").await;
    assert!(start.elapsed() >= 2 * delay);
}

#[tokio::test]
async fn a_stall_holds_each_direction_and_loses_nothing() {
    let proxy = Proxy::start(echo("").await).await;
    let mut stream = connect(&proxy).await;
    for direction in [Direction::ToServer, Direction::ToClient] {
        say(&mut stream, "a").await;
        hear(&mut stream, "a").await;
        let passed = proxy.bytes(Direction::ToServer);
        proxy.set(direction, Flow::Stall);
        say(&mut stream, "b").await;
        hears_nothing(&mut stream).await;
        let reached = proxy.bytes(Direction::ToServer) - passed;
        assert_eq!(reached, u64::from(direction == Direction::ToClient));
        proxy.set(direction, Flow::Pass);
        hear(&mut stream, "b").await;
    }
    proxy.set_both(Flow::Stall);
    let mut late = connect(&proxy).await;
    say(&mut late, "c").await;
    hears_nothing(&mut late).await;
    proxy.set_both(Flow::Pass);
    hear(&mut late, "c").await;
}

#[tokio::test]
async fn a_closed_port_refuses_and_leaves_connections_alone() {
    let proxy = Proxy::start(echo("").await).await;
    let mut stream = connect(&proxy).await;
    say(&mut stream, "a").await;
    hear(&mut stream, "a").await;
    proxy.refuse().await;
    let refused = TcpStream::connect(proxy.addr()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    say(&mut stream, "b").await;
    hear(&mut stream, "b").await;
    proxy.accept().await;
    let mut stream = connect(&proxy).await;
    say(&mut stream, "c").await;
    hear(&mut stream, "c").await;
}

#[tokio::test]
async fn a_reset_ends_what_is_there_and_spares_what_comes() {
    let (one, other) = (echo("1").await, echo("2").await);
    let proxy = Proxy::start(one).await;
    let mut stream = connect(&proxy).await;
    say(&mut stream, "a").await;
    hear(&mut stream, "1a").await;
    proxy.set_both(Flow::Stall);
    proxy.set_target(other);
    proxy.reset();
    is_reset(&mut stream).await;
    proxy.set_both(Flow::Pass);
    let mut stream = connect(&proxy).await;
    say(&mut stream, "b").await;
    hear(&mut stream, "2b").await;
    drop(proxy);
    is_reset(&mut stream).await;
}

#[tokio::test]
async fn a_cut_is_exact_to_the_byte() {
    for bytes in 0..=5 {
        let proxy = Proxy::start(echo("").await).await;
        let mut stream = connect(&proxy).await;
        proxy.cut_after(Direction::ToClient, bytes);
        say(&mut stream, "12345678").await;
        hear(&mut stream, &"12345678"[..bytes as usize]).await;
        is_reset(&mut stream).await;
        assert_eq!(proxy.bytes(Direction::ToServer), 8);
        assert_eq!(proxy.bytes(Direction::ToClient), bytes);
        let mut stream = connect(&proxy).await;
        proxy.cut_after(Direction::ToServer, bytes);
        say(&mut stream, "12345678").await;
        while stream.read(&mut [0]).await.is_ok() {}
        assert_eq!(proxy.bytes(Direction::ToServer), 8 + bytes);
        let mut stream = connect(&proxy).await;
        say(&mut stream, "on").await;
        hear(&mut stream, "on").await;
    }
}

#[tokio::test]
async fn a_target_that_is_not_there_ends_the_connection() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let proxy = Proxy::start(gone.to_string()).await;
    match TcpStream::connect(proxy.addr()).await {
        Ok(mut stream) => is_reset(&mut stream).await,
        // The reset was faster than the news that there is a connection.
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}
