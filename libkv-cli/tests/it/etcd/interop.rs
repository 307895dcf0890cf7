use super::Place;
use crate::home::Home;

const KEYS: [&str; 7] = [
    "plain",
    "with space/a  b",
    "100%/%41%2F%",
    "\"quotes\"/it's `so`",
    "Ümläut/ñ/ß",
    "漢字/かな/한글",
    "back\\slash/$HOME/*?",
];

/// All bytes there are, and the ends that a line-minded program would cut.
fn values() -> [Vec<u8>; 4] {
    [Vec::new(), (0..=255).collect(), b"\n\r\n".to_vec(), "grün\0✓\n".into()]
}

#[tokio::test]
async fn what_one_program_writes_the_other_reads() {
    let place = Place::new().await;
    for (at, key) in KEYS.into_iter().enumerate() {
        for value in values() {
            let name = place.name(key);
            let (ours, theirs) = (format!("{key}/ours"), format!("{name}/theirs"));
            let run = place.home.run_with(&["put", &ours, "-"], &value);
            assert_eq!(run.code, 0, "{key}: {}", run.err);
            let args = ["get", "--print-value-only", &format!("{name}/ours")];
            // A line's end is etcdctl's own.
            assert_eq!(place.etcdctl(&args).await, [&*value, b"\n"].concat(), "{key}");
            // Of an input that is empty etcdctl makes no value.
            match value.is_empty() {
                true => place.etcdctl(&["put", "--", &theirs, ""]).await,
                false => place.etcdctl_with(&["put", "--", &theirs], &value).await,
            };
            assert_eq!(place.home.ok(&["get", &format!("{key}/theirs")]).out, value, "{key}");
        }
        assert_eq!(place.home.ok(&["ls"]).text().lines().count(), 2 * (at + 1));
    }
    let listed = place.etcdctl(&["get", "--prefix", "--keys-only", &place.name("")]).await;
    let listed = String::from_utf8(listed).unwrap();
    let theirs: Vec<_> = listed
        .lines()
        .filter(|line| !line.is_empty())
        .map(|name| name.strip_prefix(&place.name("")).unwrap())
        .collect();
    assert_eq!(place.home.ok(&["ls"]).text().lines().collect::<Vec<_>>(), theirs);
    // And each deletes what the other wrote.
    place.home.ok(&["del", "plain/theirs"]);
    place.etcdctl(&["del", &place.name("plain/ours")]).await;
    assert_eq!(place.home.run(&["exists", "plain/ours"]).code, 3);
    assert_eq!(place.etcdctl(&["get", &place.name("plain/theirs")]).await, b"");
}

#[tokio::test]
async fn an_export_goes_to_a_file_and_back_and_stays_the_same() {
    let (place, other, file) = (Place::new().await, Place::new().await, Home::new());
    for (key, value) in KEYS.into_iter().zip(values().into_iter().cycle()) {
        let run = place.home.run_with(&["put", key, "-"], &value);
        assert_eq!(run.code, 0, "{key}: {}", run.err);
    }
    place.home.ok(&["put", "parent", "a key with keys below"]);
    place.home.ok(&["put", "parent/child", ""]);
    for format in ["jsonl", "consul"] {
        let first = place.home.ok(&["export", "--format", format]).out;
        for home in [&file, &other.home] {
            home.ok(&["-q", "del", "/", "--tree", "--yes"]);
            let run = home.run_with(&["import", "-"], &first);
            assert_eq!((run.code, &*run.err), (0, "libkv: 9 keys imported\n"));
            assert_eq!(home.ok(&["export", "--format", format]).out, first);
        }
    }
    let preview =
        other.home.run_with(&["import", "-", "--dry-run"], b"{\"key\":\"new\",\"value\":\"\"}");
    assert_eq!(preview.text().lines().filter(|line| line.starts_with("gone ")).count(), 9);
    assert!(preview.text().contains("new      new\n"), "{}", preview.text());
}

#[tokio::test]
async fn names_that_are_no_keys_are_reached_by_a_prefix() {
    let place = Place::new().await;
    let name = format!("/{}", place.name("pods"));
    place.etcdctl(&["put", &name, "one"]).await;
    let endpoint = place.server.endpoint();
    let raw = Home::with_store(format!("etcd://{endpoint}?prefix=/{}/", place.root));
    assert_eq!(raw.ok(&["ls"]).text(), "pods\n");
    assert_eq!(raw.ok(&["get", "pods"]).text(), "one");
    place.etcdctl(&["del", &name]).await;
}
