use proptest::prelude::*;

use super::*;

fn key(text: &str) -> Key {
    Key::new(text).unwrap_or_else(|error| panic!("{text:?} gave {error}"))
}

#[test]
fn slashes_fold_to_one_key() {
    for (text, folded) in [
        ("", ""),
        ("/", ""),
        ("///", ""),
        ("a", "a"),
        ("/a//b/", "a/b"),
        ("a/b/", "a/b"),
        ("//a///b//c", "a/b/c"),
        ("a b/c", "a b/c"),
        ("...", "..."),
        (".a/b./..c", ".a/b./..c"),
        ("Zookeeper", "Zookeeper"),
        ("zookeeper2", "zookeeper2"),
        ("a/zookeeper", "a/zookeeper"),
        ("%2e%2e/é/日本", "%2e%2e/é/日本"),
        ("\u{d7ff}\u{f900}\u{ffef}", "\u{d7ff}\u{f900}\u{ffef}"),
    ] {
        assert_eq!(key(text).as_str(), folded, "{text:?}");
    }
    assert!(key("//").is_root());
    assert_eq!((key("/a/").to_string(), Key::root().to_string()), ("a".into(), "/".into()));
}

#[test]
fn a_refusal_names_the_reason_and_the_byte() {
    for (text, reason, offset) in [
        (".", "segment \".\"", 0),
        ("..", "segment \"..\"", 0),
        ("/é/./b", "segment \".\"", 4),
        ("a//../b", "segment \"..\"", 3),
        ("a/b/..", "segment \"..\"", 4),
        ("a\0b", "character '\\0'", 1),
        ("é/\n", "character '\\n'", 3),
        ("\u{1f}", "character '\\u{1f}'", 0),
        ("a/\u{7f}", "character '\\u{7f}'", 2),
        ("a\u{85}", "character '\\u{85}'", 1),
        ("a\u{9f}", "character '\\u{9f}'", 1),
        ("ab\u{e000}", "character '\\u{e000}'", 2),
        ("ab\u{f8ff}", "character '\\u{f8ff}'", 2),
        ("ab\u{fff0}", "character '\\u{fff0}'", 2),
        ("ab\u{ffff}", "character '\\u{ffff}'", 2),
        (" a", "white space at the start", 0),
        ("//\u{3000}a", "white space at the start", 2),
        ("a ", "white space at the end", 1),
        ("/é \u{2003}//", "white space at the end", 3),
        ("a/ ", "white space at the start of a segment", 2),
        ("a /b", "white space at the end of a segment", 1),
        ("a/ b", "white space at the start of a segment", 2),
        ("ab\u{10000}", "character", 2),
        ("😀", "character", 0),
        (" ", "white space at the start", 0),
        ("zookeeper", "first segment \"zookeeper\"", 0),
        ("//zookeeper/a", "first segment \"zookeeper\"", 2),
    ] {
        assert_refused(text, reason, offset);
    }
}

#[test]
fn a_key_has_at_most_512_bytes_after_folding() {
    let full = "a".repeat(MAX_KEY_BYTES);
    let accents = "é".repeat(MAX_KEY_BYTES / 2);
    for text in [&full, &accents, &format!("//{full}//"), &format!("{}/b", &full[2..])] {
        assert_eq!(key(text).as_str().len(), MAX_KEY_BYTES);
    }
    assert_refused(&format!("{full}a"), "more than 512 bytes", 512);
    assert_refused(&format!("//{full}a"), "more than 512 bytes", 514);
    assert_refused(&format!("{accents}a"), "more than 512 bytes", 512);
    assert_refused(&format!("{}//bc", &full[2..]), "more than 512 bytes", 513);
    assert_refused(&format!("{full}/b"), "more than 512 bytes", 512);
    let error = Key::new(&"é".repeat(2_000)).unwrap_err().to_string();
    assert!(error.len() < 300 && error.ends_with("...\""), "{error}");
}

#[test]
fn a_key_knows_its_place() {
    let (root, app, deep) = (Key::root(), key("app"), key("app/b/c"));
    assert_eq!(deep.segments().rev().collect::<Vec<_>>(), ["c", "b", "app"]);
    assert_eq!((deep.name(), app.name(), root.name()), ("c", "app", ""));
    assert_eq!(deep.parent(), Some(key("app/b")));
    assert_eq!((app.parent(), root.parent()), (Some(Key::root()), None));
    assert_eq!((deep.below(&app), deep.depth_below(&app)), (Some("b/c"), Some(2)));
    assert_eq!((deep.below(&root), deep.depth_below(&root)), (Some("app/b/c"), Some(3)));
    for (inner, dir) in [(&app, &app), (&app, &deep), (&root, &root), (&root, &app)] {
        assert_eq!((inner.below(dir), inner.depth_below(dir)), (None, None));
    }
    assert!(!key("apple/b").is_below(&app) && !key("app-1").is_below(&app));
}

#[test]
fn joining_checks_the_whole() {
    let app = key("app");
    assert_eq!(app.join("/b//c/").unwrap(), key("app/b/c"));
    assert_eq!((app.join("").unwrap(), Key::root().join("b").unwrap()), (app.clone(), key("b")));
    assert_eq!(app.join("zookeeper").unwrap().as_str(), "app/zookeeper");
    for (dir, rest) in [(&app, ".."), (&app, "b "), (&Key::root(), "zookeeper")] {
        assert_eq!(dir.join(rest).unwrap_err().kind(), ErrorKind::InvalidKey, "{rest:?}");
    }
}

#[test]
fn the_root_is_no_key_for_a_single_call() {
    let error = Key::root().not_root("put").unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::InvalidKey, "put"));
    assert_eq!(key("a").not_root("put").unwrap(), &key("a"));
}

#[test]
fn order_is_by_bytes_and_not_by_segments() {
    let mut keys = ["a/b", "é", "a-b", "b", "a", "", "B"].map(key);
    keys.sort();
    assert_eq!(keys.each_ref().map(Key::as_str), ["", "B", "a", "a-b", "a/b", "b", "é"]);
}

#[test]
fn shared_text_that_is_folded_is_kept() {
    let text: Arc<str> = "a/b".into();
    let kept = Key::try_from(Arc::clone(&text)).unwrap();
    assert!(Arc::ptr_eq(&kept.0, &text));
}

fn assert_refused(text: &str, reason: &str, offset: usize) {
    let error = Key::new(text).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidKey, "{text:?}");
    let (error, at) = (error.to_string(), format!(" at byte {offset} of "));
    assert!(error.contains(reason) && error.contains(&at), "{text:?} gave {error:?}");
}

/// Texts that are often keys: short segments with slashes, dots, spaces and wide characters.
fn texts() -> impl Strategy<Value = String> {
    "([a-c.é日 -]{0,3}/{0,2}){0,5}"
}

fn keys() -> impl Strategy<Value = Key> {
    texts().prop_filter_map("no key", |text| Key::new(&text).ok())
}

proptest! {
    #[test]
    fn a_plain_text_is_a_key_as_it_stands(
        text in prop_oneof!["[a/.z é\u{0}]{0,8}", "/?(zookeeper|a)(/[b-d]{1,3}){0,200}"],
    ) {
        if is_plain(&text) {
            prop_assert!(check(&text).is_ok());
            prop_assert!(is_folded(&text) && !text.is_empty());
        }
    }

    #[test]
    fn folding_is_idempotent(text in texts()) {
        let folded = fold(&text);
        prop_assert!(is_folded(&folded));
        prop_assert_eq!(fold(&folded), folded);
    }

    #[test]
    fn a_key_survives_its_text(key in keys()) {
        prop_assert_eq!(&Key::new(key.as_str()).unwrap(), &key);
        prop_assert_eq!(&key.to_string().parse::<Key>().unwrap(), &key);
        prop_assert_eq!(&Key::new(&format!("//{key}//")).unwrap(), &key);
        let segments: Vec<_> = key.segments().collect();
        prop_assert_eq!(segments.join("/"), key.as_str());
    }

    #[test]
    fn below_is_by_segments(
        inner in proptest::collection::vec("[ab-]{1,2}", 0..4),
        dir in proptest::collection::vec("[ab-]{1,2}", 0..3),
    ) {
        let expected = inner.len() > dir.len() && inner.starts_with(&dir);
        let (inner_key, dir_key) = (key(&inner.join("/")), key(&dir.join("/")));
        prop_assert_eq!(inner_key.is_below(&dir_key), expected);
        let rest = inner_key.below(&dir_key).map(str::to_owned);
        prop_assert_eq!(&rest, &expected.then(|| inner[dir.len()..].join("/")));
        let depth = inner_key.depth_below(&dir_key);
        prop_assert_eq!(depth, expected.then(|| inner.len() - dir.len()));
        if let Some(rest) = rest {
            prop_assert_eq!(dir_key.join(&rest).unwrap(), inner_key);
        }
    }

    #[test]
    fn order_is_that_of_the_bytes(a in keys(), b in keys()) {
        prop_assert_eq!(a.cmp(&b), a.as_str().as_bytes().cmp(b.as_str().as_bytes()));
    }

    #[test]
    fn every_way_in_agrees(text in prop_oneof![texts(), "\\PC*", ".*"]) {
        let told = |result: Result<Key>| result.map_err(|error| error.to_string());
        let expected = told(Key::new(&text));
        prop_assert_eq!(&told(Key::try_from(Arc::<str>::from(text.as_str()))), &expected);
        prop_assert_eq!(&told(text.parse()), &expected);
        prop_assert_eq!(&told(text.as_str().into_key()), &expected);
        prop_assert_eq!(&told((&text).into_key()), &expected);
        prop_assert_eq!(&told(text.into_key()), &expected);
    }

    #[test]
    fn a_key_is_never_longer_than_the_limit(text in "[a/é]{480,560}") {
        let length = fold(&text).len();
        prop_assert_eq!(Key::new(&text).is_ok(), length <= MAX_KEY_BYTES, "{}", length);
    }
}
