use std::collections::VecDeque;
use std::io::{Error, ErrorKind, Result};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::{Duration, Instant, sleep_until};

use super::{Direction, Flow, State};

/// How much is read at once, and how many such pieces wait at most while they are delayed.
const PIECE: usize = 16 * 1024;
const PIECES: usize = 1024;

/// Passes bytes between a client and the target until both have ended, or resets both.
pub(super) async fn run(mut client: TcpStream, state: Arc<State>) {
    let mut resets = state.resets.subscribe();
    let target = state.target.lock().unwrap().clone();
    let mut server = tokio::select! {
        server = TcpStream::connect(target) => match server {
            Ok(server) => server,
            Err(_) => return abort(client),
        },
        _ = resets.changed() => return abort(client),
    };
    // What passes is not to be late by an algorithm of the proxy's own sockets.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let ended = tokio::select! {
        ended = async { tokio::try_join!(
            pump(from_client, to_server, Direction::ToServer, &state),
            pump(from_server, to_client, Direction::ToClient, &state),
        ) } => ended.is_ok(),
        _ = resets.changed() => false,
    };
    if !ended {
        abort(client);
        abort(server);
    }
}

/// Closes a connection with a reset.
fn abort(stream: TcpStream) {
    // Where this fails, the connection is gone already.
    let _ = stream.set_zero_linger();
    drop(stream);
}

/// Passes one direction's bytes on, and its end.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    direction: Direction,
    state: &State,
) -> Result<()> {
    let mut flows = state.flows[direction as usize].subscribe();
    let mut waiting: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    let mut ended = false;
    let mut piece = vec![0; PIECE];
    while !(ended && waiting.is_empty()) {
        let flow = *flows.borrow_and_update();
        let due = waiting.front().map(|(due, _)| *due);
        tokio::select! {
            biased;
            changed = flows.changed() => changed.expect("the state outlives its connections"),
            () = sleep_until(due.unwrap_or_else(Instant::now)), if flow != Flow::Stall && due.is_some() => {
                let (_, piece) = waiting.pop_front().expect("one is due");
                pass(&piece, &mut to, direction, state).await?;
            }
            read = from.read(&mut piece), if flow != Flow::Stall && !ended && waiting.len() < PIECES => {
                let read = read?;
                state.note(direction, &piece[..read]);
                let delay = if let Flow::Delay(delay) = flow { delay } else { Duration::ZERO };
                let last = waiting.back().map(|(due, _)| *due);
                // A delay that was shortened must not change the order.
                let due = last.map_or_else(|| Instant::now() + delay, |last| last.max(Instant::now() + delay));
                waiting.push_back((due, piece[..read].to_vec()));
                ended = read == 0;
            }
        }
    }
    Ok(())
}

/// Writes a piece, or the end for an empty one, as far as no cut forbids it.
async fn pass(
    piece: &[u8],
    to: &mut WriteHalf<'_>,
    direction: Direction,
    state: &State,
) -> Result<()> {
    if piece.is_empty() {
        return to.shutdown().await;
    }
    let (allowed, cut) = state.allow(direction, piece.len());
    // Whoever has got them finds them counted.
    state.bytes[direction as usize].fetch_add(allowed as u64, Ordering::SeqCst);
    to.write_all(&piece[..allowed]).await?;
    if cut {
        state.reset();
        return Err(Error::from(ErrorKind::ConnectionReset));
    }
    Ok(())
}
