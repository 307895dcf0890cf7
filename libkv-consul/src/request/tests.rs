use super::*;
use libkv_core::FencingToken;

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn names() -> Names {
    Names::below_root(&Key::root())
}

fn put(name: &str, owner: Option<&str>) -> Write {
    let value = Some(Bytes::from_static(b"v"));
    let owner = owner.map(str::to_owned);
    Write { name: name.into(), value, flags: 0, owner, absent: false, bound: None }
}

fn refusal(op: usize, what: &str) -> Refusal {
    Refusal { op, what: what.to_owned() }
}

fn shown(plan: &Plan) -> Vec<String> {
    plan.ops().iter().map(|op| format!("{op:?}")).collect()
}

#[test]
fn every_put_moves_the_index_and_meets_no_session_unseen() {
    let mut plan = Plan::default();
    plan.write(0, &put("a", None));
    assert_eq!(
        shown(&plan),
        [
            "set \"a\" 0 bytes flags 0",
            "check-session \"a\" session \"\"",
            "set \"a\" 1 bytes flags 0"
        ]
    );
    let mut plan = Plan::default();
    plan.write(0, &put("a", Some("s")));
    assert_eq!(
        shown(&plan),
        ["lock \"a\" 0 bytes flags 0 session \"s\"", "lock \"a\" 1 bytes flags 0 session \"s\""]
    );
    // An empty value has something else put before it.
    let mut plan = Plan::default();
    plan.write(0, &Write { value: Some(Bytes::new()), ..put("a", None) });
    assert_eq!(shown(&plan)[0], "set \"a\" 1 bytes flags 0");
    let mut plan = Plan::default();
    let bound = Some(Bound { modified: 7, session: "old".into() });
    plan.write(0, &Write { bound, ..put("a", Some("s")) });
    assert_eq!(
        shown(&plan),
        [
            "check-index \"a\" index 7",
            "unlock \"a\" 0 bytes flags 0 session \"old\"",
            "lock \"a\" 1 bytes flags 0 session \"s\""
        ]
    );
}

#[test]
fn a_refusal_is_told_by_what_was_refused() {
    use ErrorKind::{KeyExists, KeyModified, KeyNotFound, LockLost, PermissionDenied};
    let mut plan = Plan::default();
    let node = holder("l/.lock", "s");
    let fence = Fence::new(CONSUL, key("l"), FencingToken::new(5), node);
    plan.fence(&fence, "txn").unwrap();
    plan.condition(&names(), &key("absent"), Condition::Absent).unwrap();
    plan.condition(&names(), &key("there"), Condition::Exists).unwrap();
    let version = Condition::Version(Version::new(CONSUL, 3));
    plan.condition(&names(), &key("v"), version).unwrap();
    plan.write(0, &put("a", None));
    for (refusals, kind, name) in [
        (vec![(1, "failed session check for key \"l/.lock\"")], LockLost, "l"),
        (vec![(2, "key \"absent\" exists")], KeyExists, "absent"),
        (vec![(3, "key \"there\" doesn't exist")], KeyNotFound, "there"),
        (vec![(4, "failed to check index, key \"v\" doesn't exist")], KeyNotFound, "v"),
        (
            vec![(4, "failed index check for key \"v\", current modify index 4 != 3")],
            KeyModified,
            "v",
        ),
        // The first that is not as it must be counts, and a key that is bound does not count then.
        (
            vec![(3, "key \"there\" doesn't exist"), (6, "failed session check")],
            KeyNotFound,
            "there",
        ),
    ] {
        let refusals: Vec<_> = refusals.iter().map(|(op, what)| refusal(*op, what)).collect();
        let Refused::Failed(error) = plan.explain(&refusals, "txn") else {
            panic!("{refusals:?}");
        };
        assert_eq!((error.kind(), error.key()), (kind, Some(&key(name))), "{refusals:?}");
    }
    let denied = plan.explain(&[refusal(5, "Permission denied")], "txn");
    assert!(matches!(denied, Refused::Failed(error) if error.kind() == PermissionDenied));
    let bound = plan.explain(&[refusal(6, "failed session check for key \"a\"")], "txn");
    assert!(matches!(bound, Refused::Bound(at) if at == [0]));
    let gone = plan.explain(&[refusal(6, "invalid session \"s\"")], "txn");
    assert!(matches!(gone, Refused::SessionGone(what) if what.contains("\"s\"")));
    let late = plan.explain(&[refusal(5, "failed to lock key \"a\" due to lock delay")], "txn");
    assert!(matches!(late, Refused::Delayed));
}

#[test]
fn a_lock_that_is_free_is_told_from_one_that_is_held() {
    let mut plan = Plan::default();
    plan.take_lock("l/.lock", "s", None);
    plan.write(0, &put("l", Some("s")));
    let there = refusal(0, "key \"l/.lock\" exists");
    let held = refusal(1, "failed to lock key \"l/.lock\", lock is already held");
    let free = plan.explain(std::slice::from_ref(&there), "lock");
    assert!(matches!(free, Refused::Stale), "{free:?}");
    for refusals in [vec![there, held.clone()], vec![held]] {
        let taken = plan.explain(&refusals, "lock");
        assert!(matches!(taken, Refused::Taken), "{taken:?}");
    }
}

#[test]
fn zero_is_the_version_of_no_key() {
    assert_eq!(index(Version::new(CONSUL, 0)).unwrap(), NEVER);
    assert_eq!(index(Version::new(CONSUL, 7)).unwrap(), 7);
}
