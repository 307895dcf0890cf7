use super::Place;
use crate::home::Home;

const KEYS: [&str; 8] = [
    "plain",
    "with space/a  b",
    "100%/%41%2F%",
    "\"quotes\"/it's `so`",
    "Ümläut/ñ/ß",
    "漢字/かな/한글",
    "back\\slash/$HOME/*?",
    "a<b>&c/+=;#",
];

/// All bytes there are, and the ends that a line-minded program would cut.
fn values() -> [Vec<u8>; 4] {
    [Vec::new(), (0..=255).collect(), b"\n\r\n".to_vec(), "grün\0✓\n".into()]
}

/// Fills a place with what every form must carry.
pub(crate) fn fill(home: &Home) {
    for (key, value) in KEYS.into_iter().zip(values().into_iter().cycle()) {
        let run = home.run_with(&["put", key, "-"], &value);
        assert_eq!(run.code, 0, "{key}: {}", run.err);
    }
    home.ok(&["put", "parent", "a key with keys below"]);
    home.ok(&["put", "parent/child", ""]);
}

#[tokio::test]
async fn what_one_program_writes_the_other_reads() {
    for place in Place::all().await {
        for (at, key) in KEYS.into_iter().enumerate() {
            for value in values() {
                let (ours, theirs) = (format!("{key}/ours"), format!("{key}/theirs"));
                let run = place.home.run_with(&["put", &ours, "-"], &value);
                assert_eq!(run.code, 0, "{key}: {}", run.err);
                assert_eq!(place.get(&ours).await, value, "{key}");
                place.put(&theirs, &value).await;
                assert_eq!(place.home.ok(&["get", &theirs]).out, value, "{key}");
            }
            assert_eq!(place.home.ok(&["ls"]).text().lines().count(), 2 * (at + 1));
        }
        let listed = place.home.ok(&["ls"]);
        assert_eq!(listed.text().lines().collect::<Vec<_>>(), place.keys().await);
        // And each deletes what the other wrote.
        place.home.ok(&["del", "plain/theirs"]);
        place.delete("plain/ours").await;
        assert_eq!(place.home.run(&["exists", "plain/ours"]).code, 3);
        assert!(!place.keys().await.iter().any(|key| key.starts_with("plain")));
    }
}

#[tokio::test]
async fn an_export_goes_to_a_file_and_back_and_stays_the_same() {
    for place in Place::all().await {
        let (other, file) = (Place::on(place.server), Home::new());
        fill(&place.home);
        for format in ["jsonl", "consul"] {
            let first = place.home.ok(&["export", "--format", format]).out;
            for home in [&file, &other.home] {
                home.ok(&["-q", "del", "/", "--tree", "--yes"]);
                let run = home.run_with(&["import", "-", "--format", format], &first);
                assert_eq!((run.code, &*run.err), (0, "libkv: 10 keys imported\n"));
                assert_eq!(home.ok(&["export", "--format", format]).out, first);
            }
        }
        let new = b"{\"key\":\"new\",\"value\":\"\"}";
        let preview = other.home.run_with(&["import", "-", "--dry-run"], new);
        assert_eq!(preview.text().lines().filter(|line| line.starts_with("gone ")).count(), 10);
        assert!(preview.text().contains("new      new\n"), "{}", preview.text());
    }
}
