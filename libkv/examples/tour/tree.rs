use std::collections::BTreeMap;

use libkv::{Key, KvPair};

use crate::show::count;

/// How many lines a drawing may have, and how many entries it shows of a folder at each depth.
const MAX_LINES: usize = 24;
const MAX_ENTRIES: [usize; 4] = [12, 3, 2, 1];

/// One segment of the keys and what is below it.
#[derive(Default)]
struct Node<'a> {
    below: BTreeMap<&'a str, Self>,
    /// How many keys end here or below.
    keys: usize,
}

/// Draws keys as a tree, shortened where it is large.
pub(crate) fn draw(pairs: &[KvPair]) -> Vec<String> {
    let mut top = Node::default();
    for pair in pairs {
        top.insert(&pair.key);
    }
    let mut lines = Vec::new();
    top.draw(0, "", MAX_LINES, &mut lines);
    lines
}

impl<'a> Node<'a> {
    fn insert(&mut self, key: &'a Key) {
        self.keys += 1;
        let mut node = self;
        for segment in key.segments() {
            node = node.below.entry(segment).or_default();
            node.keys += 1;
        }
    }

    /// Draws what is below this node in at most `room` lines.
    fn draw(&self, depth: usize, indent: &str, room: usize, lines: &mut Vec<String>) {
        let wanted = MAX_ENTRIES.get(depth).copied().unwrap_or_default();
        let most = wanted.min(room);
        let shown = if self.below.len() <= most { most } else { most.saturating_sub(1) };
        let hidden = self.below.len().saturating_sub(shown);
        let end = lines.len() + room;
        for (at, (name, node)) in self.below.iter().take(shown).enumerate() {
            let is_last = hidden == 0 && at + 1 == self.below.len();
            let (branch, bar) =
                if is_last { ("└── ", "    ") } else { ("├── ", "│   ") };
            if node.below.is_empty() {
                lines.push(format!("{indent}{branch}{name}"));
                continue;
            }
            lines.push(format!("{indent}{branch}{name}/ ({})", count(node.keys, "key")));
            // What comes after this entry keeps a line each.
            let after = self.below.len().min(shown) - at - 1 + hidden.min(1);
            let left = end.saturating_sub(lines.len() + after);
            if left > 1 || left == node.below.len() {
                node.draw(depth + 1, &format!("{indent}{bar}"), left, lines);
            }
        }
        if hidden > 0 {
            lines.push(format!("{indent}└── … and {hidden} more"));
        }
    }
}
