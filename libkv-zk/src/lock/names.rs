//! Names of a lock's nodes, and the order of its queue. Nothing here waits.

use crate::paths::{child, lock_sequence};

const PREFIX: &str = "_c_";
const GUID: usize = 36;
const MARK: &str = "-value";

/// A locked key's node, and the name of one attempt at its lock.
#[derive(Debug, Clone)]
pub(super) struct Site {
    pub(super) path: String,
    guid: String,
}

impl Site {
    /// Names a new attempt.
    pub(super) fn new(path: String) -> Self {
        Self { path, guid: new_guid() }
    }

    /// What the server puts the number of a lock node after.
    pub(super) fn node_prefix(&self) -> String {
        format!("{PREFIX}{}-lock-", self.guid)
    }

    /// Whether a child is a node that this attempt made.
    pub(super) fn is_own(&self, name: &str) -> bool {
        name.starts_with(&self.node_prefix())
    }

    /// The name of the mark beside a lock's value.
    pub(super) fn mark_name(&self) -> String {
        format!("{PREFIX}{}{MARK}", self.guid)
    }

    pub(super) fn child(&self, name: &str) -> String {
        child(&self.path, name)
    }
}

pub(super) fn is_mark_name(name: &str) -> bool {
    let parts = name.strip_prefix(PREFIX).and_then(|rest| rest.split_at_checked(GUID));
    parts.is_some_and(|(_, rest)| rest == MARK)
}

/// The names of lock nodes that were made before a number, the youngest first.
///
/// Numbers that have run over are younger than those before.
pub(super) fn older(names: &[String], number: i32) -> Vec<&str> {
    let distance = |name: &String| Some(number.wrapping_sub(lock_sequence(name)?));
    let mut older: Vec<_> = names
        .iter()
        .filter_map(|name| Some((distance(name).filter(|distance| *distance > 0)?, name.as_str())))
        .collect();
    older.sort_unstable();
    older.into_iter().map(|(_, name)| name).collect()
}

/// A name that nobody else has: a random UUID.
fn new_guid() -> String {
    const VERSION: (u128, u128) = (0xf << 76, 4 << 76);
    const VARIANT: (u128, u128) = (0b11 << 62, 0b10 << 62);
    let random = fastrand::u128(..) & !VERSION.0 & !VARIANT.0 | VERSION.1 | VARIANT.1;
    let hex = format!("{random:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: i32) -> String {
        format!("{}{number:010}", Site::new("/lock".into()).node_prefix())
    }

    #[test]
    fn a_guid_is_a_random_uuid_and_names_what_is_found_again() {
        let guid = new_guid();
        assert_ne!(guid, new_guid());
        let parts: Vec<_> = guid.split('-').map(str::len).collect();
        assert_eq!((parts, guid.len()), (vec![8, 4, 4, 4, 12], GUID));
        assert!(&guid[14..15] == "4" && "89ab".contains(&guid[19..20]), "{guid}");
        let site = Site { path: "/lock".into(), guid };
        let (name, mark) = (format!("{}0000000012", site.node_prefix()), site.mark_name());
        assert_eq!((lock_sequence(&name), lock_sequence(&mark)), (Some(12), None));
        assert!(site.is_own(&name) && !site.is_own(&mark) && !site.is_own(&node(12)));
        assert!(
            is_mark_name(&mark)
                && !is_mark_name(&name)
                && !is_mark_name("_c_-value")
                && !is_mark_name("value")
        );
    }

    #[test]
    fn those_in_front_are_older_and_the_next_one_is_first() {
        let kazoo = "0f8fad5bd9cb469fa16570867728950e__lock__0000000003".to_owned();
        let names = [node(9), node(2), "data".to_owned(), kazoo, node(10), node(5)];
        let front = |number| older(&names, number);
        assert_eq!(front(9), [&*names[5], &*names[3], &*names[1]]);
        assert_eq!(front(3), [&*names[1]]);
        assert!(front(2).is_empty());
    }

    #[test]
    fn numbers_that_ran_over_are_younger() {
        let names = [node(i32::MAX), node(i32::MIN), node(i32::MIN + 1)];
        assert_eq!(older(&names, i32::MIN + 1), [&*names[1], &*names[0]]);
        assert_eq!(older(&names, i32::MIN), [&*names[0]]);
        assert!(older(&names, i32::MAX).is_empty());
    }
}
