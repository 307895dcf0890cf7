//! A handle's session while the connection stands still for a short and for a long time.

use integration_tests::{key, lines_about};
use libkv_core::{Config, ErrorKind, Event, Lifetime, SessionState, Store, StoreExt};
use tokio::sync::mpsc;

use super::{Backend, open_plain, server_and_proxy, soon, stored, until};
use crate::harness::proxy::{Flow, Proxy};
use crate::harness::server::Server;

/// Opens a store whose session outlives a silent handle for so long.
async fn open_through<B: Backend>(proxy: &Proxy) -> B::Store {
    let brief = |config: &mut Config| {
        config.ephemeral_ttl = Some(B::LIFE);
        config.operation_timeout = B::LIFE / 2;
    };
    B::open(&[proxy.addr()], brief).await
}

/// Hears of each state from now on.
pub(crate) fn states(store: &impl Store) -> mpsc::UnboundedReceiver<SessionState> {
    let (mut state, (tell, told)) = (store.state(), mpsc::unbounded_channel());
    tokio::spawn(async move {
        while let Some(state) = state.changed().await {
            let _ = tell.send(state);
        }
    });
    told
}

/// The next state.
pub(crate) async fn next(states: &mut mpsc::UnboundedReceiver<SessionState>) -> SessionState {
    soon("the state changes", states.recv()).await.expect("the handle is there")
}

/// Puts a key that is bound to the handle's session.
pub(crate) async fn put_ephemeral(store: &impl Store, name: &str) -> libkv_core::Result<()> {
    store.put_opts(&key(name), "v".into(), Lifetime::Ephemeral.into()).await.map(drop)
}

/// What a key is bound to that is there.
pub(crate) async fn owner_of<B: Backend>(server: &Server<B>, name: &str) -> Option<String> {
    stored(server, name).await.expect("the key is there").owner
}

/// A session that is unsure says so and recovers.
pub(crate) async fn unsure<B: Backend>() {
    use SessionState::{Connected, Suspended};
    let (server, proxy) = server_and_proxy::<B>().await;
    let store = open_through::<B>(&proxy).await;
    let mut states = states(&store);
    put_ephemeral(&store, "e").await.unwrap();
    assert_eq!(next(&mut states).await, Connected);
    let owner = owner_of(&server, "e").await;
    proxy.set_both(Flow::Stall);
    assert_eq!(next(&mut states).await, Suspended);
    proxy.set_both(Flow::Pass);
    assert_eq!(next(&mut states).await, Connected);
    // It is the same session, and lives on.
    tokio::time::sleep(B::LIFE + B::LIFE / 3).await;
    assert_eq!(store.state().get(), Connected);
    assert_eq!(owner_of(&server, "e").await, owner);
    assert!(states.try_recv().is_err());
}

/// A lost session is told and nothing of it comes back.
pub(crate) async fn lost<B: Backend>() {
    use SessionState::{Connected, Lost, Suspended};
    let (server, proxy) = server_and_proxy::<B>().await;
    let store = open_through::<B>(&proxy).await;
    let other = open_plain::<B>(&[server.endpoint()]).await;
    let mut states = states(&store);
    put_ephemeral(&store, "e").await.unwrap();
    assert_eq!(next(&mut states).await, Connected);
    let owner = owner_of(&server, "e").await;
    proxy.set_both(Flow::Stall);
    assert_eq!(next(&mut states).await, Suspended);
    assert!(stored(&server, "e").await.is_some(), "it is not told too late");
    assert_eq!(next(&mut states).await, Lost);
    // What is tried meanwhile says that nothing was done.
    let error = put_ephemeral(&store, "meanwhile").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    until("the server ends it too", async || stored(&server, "e").await.is_none()).await;
    proxy.set_both(Flow::Pass);
    assert_eq!(next(&mut states).await, Connected);
    assert!(stored(&server, "e").await.is_none() && stored(&server, "meanwhile").await.is_none());
    // Somebody else may have it now, and keeps it.
    other.put("e", "theirs").await.unwrap();
    put_ephemeral(&store, "new").await.unwrap();
    let new = owner_of(&server, "new").await;
    assert!(new.is_some() && new != owner);
    tokio::time::sleep(B::LIFE + B::LIFE / 3).await;
    assert_eq!(stored(&server, "e").await.unwrap().value, b"theirs");
    assert_eq!(owner_of(&server, "new").await, new);
    assert_eq!(store.state().get(), Connected);
    assert!(states.try_recv().is_err());
}

/// A session that was given up is ended before there is another: the server comes back before it has
/// ended the one that the handle gave up.
pub(crate) async fn given_up<B: Backend>() {
    use SessionState::{Connected, Lost};
    let (server, proxy) = server_and_proxy::<B>().await;
    let store = open_through::<B>(&proxy).await;
    put_ephemeral(&store, "e").await.unwrap();
    let owner = owner_of(&server, "e").await.expect("it is bound");
    let mut states = states(&store);
    proxy.set_both(Flow::Stall);
    // Somebody keeps it alive at the server, so that it does not end there by itself.
    let keeping = async {
        loop {
            B::renew(&server, &owner).await;
            tokio::time::sleep(B::LIFE / 6).await;
        }
    };
    let losing = async { while next(&mut states).await != Lost {} };
    tokio::select! {
        () = losing => {}
        () = keeping => unreachable!("it is kept for ever"),
    }
    assert!(stored(&server, "e").await.is_some());
    proxy.set_both(Flow::Pass);
    while next(&mut states).await != Connected {}
    assert!(stored(&server, "e").await.is_none(), "what the lost session owned is gone");
}

/// Reconnections and failed renewals are logged.
pub(crate) async fn logged<B: Backend>() {
    integration_tests::collect_lines();
    let (server, proxy) = server_and_proxy::<B>().await;
    let store = open_through::<B>(&proxy).await;
    put_ephemeral(&store, "e").await.unwrap();
    let mut watch = store.watch("logged/key").unwrap();
    watch.next().await.unwrap().unwrap();
    let backend = format!("backend={}", store.backend());
    let is_logged = |words: &str| {
        let lines = lines_about(&proxy.addr());
        let all = |line: &String| ["WARN", words, &backend].iter().all(|it| line.contains(it));
        lines.iter().any(all)
    };
    let logged = async |words| until(words, async || is_logged(words)).await;
    // Between two requests a reset meets nobody.
    let broken = async || {
        proxy.reset();
        is_logged(B::WATCH_BROKE)
    };
    until(B::WATCH_BROKE, broken).await;
    proxy.set_both(Flow::Stall);
    logged(B::NOT_RENEWED).await;
    store.state().wait_for(SessionState::Lost).await;
    logged("no new session yet").await;
    proxy.set_both(Flow::Pass);
    let direct = open_plain::<B>(&[server.endpoint()]).await;
    direct.put("logged/key", "a value").await.unwrap();
    while !matches!(watch.next().await.unwrap().unwrap(), Event::Put(_)) {}
    assert!(lines_about(&proxy.addr()).iter().all(|line| !line.contains("a value")));
}
