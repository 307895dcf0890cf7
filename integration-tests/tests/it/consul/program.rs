//! What the program writes the HTTP interface tells, and the other way round, so that each can stand
//! for the server in the other tests.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;

use super::cli::{Cli, LOCK_FLAG, taken};
use crate::harness::consul::{self, Options, Server};
use crate::servers::peers::KEYS;
use crate::servers::unique;

/// A name that is no key, and that the program takes.
const FOLDER: &str = "folder/";

/// Names that cannot be in a path: the server cleans a path after it has decoded it, and refuses one
/// that cannot be printed. Only the body of a transaction has them.
const BESIDE_PATHS: &[&str] = &[
    "",
    "/",
    "/doubled//slash",
    "/./and/../dots",
    "/..",
    "/\u{1}",
    "/line\nbreak",
    "/no\u{a0}break",
    "/joined\u{200d}",
    "/private\u{e000}",
];

/// Values of which each breaks another careless way of passing bytes on.
fn values() -> Vec<Vec<u8>> {
    vec![
        (0..=u8::MAX).collect(),
        Vec::new(),
        b"\0".to_vec(),
        b"\xff\xfe\x80".to_vec(),
        b"a line\n".to_vec(),
        b"\r\n\t \n\n".to_vec(),
        b"@/etc/passwd".to_vec(),
        vec![0xa5; 70_000],
    ]
}

async fn cli() -> Cli<'static> {
    Cli::of(consul::shared().await.server())
}

#[tokio::test]
async fn the_program_and_the_interface_agree_on_names_and_bytes() {
    let (cli, top) = (cli().await, unique());
    let values = values();
    for shift in [0, 5] {
        let pairs: BTreeMap<String, &Vec<u8>> = KEYS
            .iter()
            .chain([&FOLDER])
            .enumerate()
            .map(|(at, key)| (format!("{top}/{key}"), &values[(at + shift) % values.len()]))
            .collect();
        join_all(pairs.iter().map(|(name, value)| cli.put(name, value))).await;
        let below = cli.below(&top).await;
        let told: Vec<_> = below.iter().map(|stored| (&stored.name, &stored.value)).collect();
        assert_eq!(told, pairs.iter().map(|(name, value)| (name, *value)).collect::<Vec<_>>());
        let shown = join_all(pairs.keys().map(|name| cli.get(name))).await;
        assert_eq!(shown, pairs.values().map(|value| Some((*value).clone())).collect::<Vec<_>>());
    }
    cli.delete(&format!("{top}/{FOLDER}")).await;
    assert_eq!(cli.get(&format!("{top}/{FOLDER}")).await, None);
    assert_eq!(cli.below(&top).await.len(), KEYS.len());
    cli.delete_below(&top).await;
    assert_eq!(cli.below(&top).await, []);
}

#[tokio::test]
async fn names_that_no_path_can_have_are_as_exact() {
    let (cli, top) = (cli().await, unique());
    let names: Vec<_> = BESIDE_PATHS.iter().map(|name| format!("{top}{name}")).collect();
    for name in &names {
        cli.set(name, name.as_bytes()).await;
        assert_eq!(cli.stored(name).await.unwrap().value, name.as_bytes());
    }
    let mut below: Vec<_> = cli.below(&top).await.into_iter().map(|stored| stored.name).collect();
    below.sort_by_key(|told| names.iter().position(|name| name == told));
    assert_eq!(below, names);
    cli.delete_below(&top).await;
    assert_eq!(cli.below(&top).await, []);
}

#[tokio::test]
async fn flags_and_indexes_are_told() {
    let (cli, name) = (cli().await, unique());
    cli.put_with(&["-flags=18446744073709551615"], &name, b"1").await;
    let first = cli.stored(&name).await.unwrap();
    assert_eq!((first.flags, first.created), (u64::MAX, first.changed));
    assert_eq!((first.locked, &first.session), (0, &None));
    cli.put(&name, b"2").await;
    let second = cli.stored(&name).await.unwrap();
    assert_eq!(
        (second.flags, second.created),
        (0, first.created),
        "a put without flags clears them"
    );
    assert!(second.changed > first.changed, "{second:?}");
    // The server does not notice a put that changes nothing.
    cli.put(&name, b"2").await;
    assert_eq!(cli.stored(&name).await.unwrap(), second);
    cli.delete(&name).await;
    assert_eq!(cli.stored(&name).await, None);
}

#[tokio::test]
async fn what_is_exported_is_imported_to_the_byte() {
    let (cli, top) = (cli().await, unique());
    for (at, value) in values().iter().enumerate() {
        cli.put_with(&[&format!("-flags={at}")], &format!("{top}/{at}"), value).await;
    }
    let (exported, before) = (cli.export(&top).await, cli.below(&top).await);
    cli.delete_below(&top).await;
    cli.import(&exported).await;
    assert_eq!(cli.export(&top).await, exported);
    let after = cli.below(&top).await;
    let content = |stored: &[super::cli::Stored]| -> Vec<_> {
        stored.iter().map(|one| (one.name.clone(), one.value.clone(), one.flags)).collect()
    };
    assert_eq!(content(&after), content(&before));
    cli.delete_below(&top).await;
}

#[tokio::test]
async fn a_lock_is_a_flagged_key_of_a_session() {
    let (cli, name) = (cli().await, unique());
    let key = format!("{name}/.lock");
    let mut holder = cli.lock(&name).await;
    taken(&mut holder).await;
    let held = cli.stored(&key).await.unwrap();
    assert_eq!((held.flags, held.locked, &*held.value), (LOCK_FLAG, 1, &b""[..]));
    let id = held.session.clone().unwrap();
    let session = cli.session(&id).await.unwrap();
    assert!(cli.sessions().await.contains(&session));
    assert!(session.name.ends_with(&format!("at '{name}'")), "{session:?}");
    assert_eq!((&*session.behavior, &*session.ttl), ("release", "15s"));
    assert_eq!((session.checks, session.lock_delay), (vec!["serfHealth".to_owned()], 15 * SECOND));

    let mut waiter = cli.lock(&name).await;
    holder.interrupt().await;
    taken(&mut waiter).await;
    let next = cli.stored(&key).await.unwrap();
    assert!(next.changed > held.changed && next.session != held.session, "{next:?}");
    assert_eq!(cli.session(&id).await, None);
    waiter.interrupt().await;
    assert_eq!(cli.stored(&key).await, None, "who leaves last tidies up");
}

#[tokio::test]
async fn a_holder_that_crashes_leaves_its_session() {
    let (cli, name) = (cli().await, unique());
    let key = format!("{name}/.lock");
    let mut holder = cli.lock(&name).await;
    taken(&mut holder).await;
    let held = cli.stored(&key).await;
    assert_ne!(holder.crash().await, 0);
    assert_eq!(cli.stored(&key).await, held, "nobody has tidied up");
    let session = held.and_then(|held| held.session).unwrap();
    cli.destroy(&session).await;
    let released = cli.wait_for(&key, |key| key.is_some_and(|key| key.session.is_none())).await;
    assert_eq!(released.map(|key| key.flags), Some(LOCK_FLAG));
}

#[tokio::test]
async fn the_program_says_the_token_that_it_is_given() {
    let server = Server::start(Options::default().with_acls()).await;
    let root = Cli::of(&server);
    let token = server.make_token(r#"key_prefix "a/b/" { policy = "write" }"#).await;
    let limited = root.clone().with_token(&token.secret);
    limited.put("a/b/c", b"1").await;
    root.put("a/d", b"2").await;
    let names = |stored: Vec<super::cli::Stored>| -> Vec<_> {
        stored.into_iter().map(|stored| stored.name).collect()
    };
    assert_eq!(names(limited.below("a/").await), ["a/b/c"]);
    assert_eq!(names(root.below("a/").await), ["a/b/c", "a/d"]);
}

const SECOND: Duration = Duration::from_secs(1);
