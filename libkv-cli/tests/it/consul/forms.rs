use serde_json::{Value, json};

use super::place;
use crate::harness::exec::Output;
use crate::home::Home;
use crate::served::Place;
use crate::served::interop::fill;

/// What `consul kv export` writes of a place.
async fn theirs(place: &Place) -> Vec<u8> {
    place.client(&["consul", "kv", "export", "--", &place.name("")], b"").await
}

/// What the program writes of it, with the names that Consul has.
fn ours(place: &Place, more: &[&str]) -> Vec<u8> {
    let home = Home::with_store(format!("consul://{}", place.endpoint()));
    home.ok(&[&["export", &place.root, "--format", "consul"], more].concat()).out
}

async fn import(place: &Place, exported: &[u8]) -> Output {
    let Output { code, stdout, stderr } =
        place.server.exec(&["consul", "kv", "import", "-"], exported).await;
    assert_eq!(code, 0, "{}", String::from_utf8_lossy(&stderr));
    Output { code, stdout, stderr }
}

/// Deletes what is in a place, and nothing beside it.
async fn clear(place: &Place) {
    place.client(&["consul", "kv", "delete", "-recurse", &place.name("")], b"").await;
}

#[tokio::test]
async fn both_programs_export_the_same_bytes_and_import_each_others() {
    let place = place().await;
    fill(&place.home);
    let many =
        (0..1_000).map(|i| json!({ "key": place.name(&format!("many/{i}")), "value": "MQ==" }));
    import(&place, json!(many.collect::<Vec<_>>()).to_string().as_bytes()).await;
    let exported = theirs(&place).await;
    let text = String::from_utf8_lossy(&exported);
    assert_eq!(text.matches("\t\t\"key\": ").count(), 1_010);
    assert!(ours(&place, &[]) == exported, "both programs export the same bytes");
    clear(&place).await;
    import(&place, &exported).await;
    assert!(theirs(&place).await == exported, "consul imports what libkv exports");
    clear(&place).await;
    let home = Home::with_store(format!("consul://{}", place.endpoint()));
    let run = home.run_with(&["import", "-"], &exported);
    assert_eq!((run.code, &*run.err), (0, "libkv: 1010 keys imported\n"));
    assert!(theirs(&place).await == exported, "libkv imports what consul exports");
}

#[tokio::test]
async fn consul_imports_what_is_exported_from_a_file() {
    let (place, file) = (place().await, Home::new());
    fill(&file);
    let exported = file.ok(&["export", "--format", "consul"]).text().to_owned();
    let named = exported.replace("\"key\": \"", &format!("\"key\": \"{}", place.name("")));
    import(&place, named.as_bytes()).await;
    assert_eq!(theirs(&place).await, named.as_bytes());
    assert_eq!(place.home.ok(&["export"]).out, file.ok(&["export"]).out);
}

#[tokio::test]
async fn a_round_trip_keeps_all_but_flags() {
    let (place, file) = (place().await, Home::new());
    let name = place.name("k");
    place.client(&["consul", "kv", "put", "-flags=42", &name, "1"], b"").await;
    place.put("plain", b"2").await;
    let before: Value = serde_json::from_slice(&theirs(&place).await).unwrap();
    assert_eq!(before[0]["flags"], 42);
    let run = file.run_with(&["import", "-"], &theirs(&place).await);
    assert_eq!(run.code, 0);
    assert_eq!(run.err, "libkv: entries whose flags are not kept: 1\nlibkv: 2 keys imported\n");
    let exported = file.ok(&["export", "--format", "consul"]).out;
    import(&place, &exported).await;
    let mut expected = before;
    expected[0]["flags"] = 0.into();
    let after: Value = serde_json::from_slice(&theirs(&place).await).unwrap();
    assert_eq!(after, expected);
}

#[tokio::test]
async fn a_folder_key_ends_an_export_unless_it_is_to_be_left_out() {
    let place = place().await;
    place.put("a", b"1").await;
    place.put("folder/", b"").await;
    place.put("folder/x", b"2").await;
    for form in ["jsonl", "consul"] {
        let run = place.home.run(&["export", "--format", form]);
        assert_eq!((run.code, run.err.lines().count()), (1, 1), "{}", run.err);
        assert!(run.err.contains("folder/\" is no key"), "{}", run.err);
        assert!(run.err.contains("--skip-foreign"), "{}", run.err);
        let run = place.home.ok(&["export", "--format", form, "--skip-foreign"]);
        assert!(run.err.contains("skipped") && run.err.contains("count=1"), "{}", run.err);
        assert!(run.text().contains("folder/x") && !run.text().contains("folder/\""));
    }
    // Nothing that is not there to the byte is there in another way.
    let file = Home::new();
    let refused = file.run_with(&["import", "-"], &theirs(&place).await);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("--skip-foreign"), "{}", refused.err);
    assert_eq!(file.ok(&["ls"]).text(), "");
    let run = file.run_with(&["import", "-", "--skip-foreign"], &theirs(&place).await);
    assert_eq!(run.code, 0);
    assert_eq!(run.err, "libkv: names that are no keys, left out: 1\nlibkv: 2 keys imported\n");
}

#[tokio::test]
async fn a_lock_that_is_held_is_no_data() {
    let place = place().await;
    place.put("k", b"1").await;
    let mut holder = place.lock("k").await;
    assert!(holder.line().await.is_some());
    let exported = theirs(&place).await;
    assert!(String::from_utf8_lossy(&exported).contains("k/.lock"));
    for form in ["jsonl", "consul"] {
        let run = place.home.ok(&["export", "--format", form]);
        assert!(!run.text().contains(".lock") && run.err.is_empty(), "{}", run.err);
    }
    let file = Home::new();
    let run = file.run_with(&["import", "-"], &exported);
    assert_eq!(run.err, "libkv: locks, left out: 1\nlibkv: 1 key imported\n");
    assert_eq!(run.code, 0);
    holder.interrupt().await;
}
