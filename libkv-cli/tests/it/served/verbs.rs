use super::Place;

#[tokio::test]
async fn every_other_verb_does_on_a_server_what_it_does_on_a_file() {
    for place in Place::all().await {
        every_other_verb(&place);
    }
}

fn every_other_verb(place: &Place) {
    let home = &place.home;
    let first = home.ok(&["put", "app/name", "demo", "--create"]);
    let first = first.text().trim_end();
    assert!(first.starts_with(&format!("{}:", place.server.scheme())), "{first}");
    home.ok(&["put", "app/port/alt", "81"]);
    home.ok(&["put", "session", "x", "--ttl", "1h"]);
    home.ok(&["exists", "app/name"]);
    assert_eq!(home.ok(&["ls"]).text(), "app/name\napp/port/alt\nsession\n");
    assert_eq!(home.ok(&["ls", "app", "--depth", "1"]).text(), "app/name\n");
    assert_eq!(home.ok(&["tree", "app"]).text(), "app\n|-- name\n`-- port/\n    `-- alt\n");
    let stat = home.ok(&["stat", "session"]);
    assert!(stat.text().contains("lifetime  ttl\n"), "{}", stat.text());
    let long = home.ok(&["ls", "app", "--long", "--limit", "1"]);
    assert_eq!(long.text(), format!("{first}\tpermanent\t4\tapp/name\n"));
    let meta = home.ok(&["get", "app/name", "--meta"]);
    assert!(meta.text().starts_with(&format!("version: {first}\n")), "{}", meta.text());
    home.ok(&["put", "app/name", "other", "--if-version", first]);
    let doomed = home.ok(&["del", "app", "--tree", "--dry-run"]);
    assert_eq!(doomed.text(), "app/name\napp/port/alt\n");
    home.ok(&["del", "app", "--tree", "--yes"]);
    home.file("folder/a", "1");
    home.file("folder/sub/b c", b"\xff");
    home.ok(&["import", "--dir", "folder", "from"]);
    assert_eq!(home.ok(&["ls"]).text(), "from/a\nfrom/sub/b c\nsession\n");
    assert_eq!(home.ok(&["get", "from/sub/b c"]).out, b"\xff");
}
