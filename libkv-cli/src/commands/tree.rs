use std::collections::BTreeMap;

use clap::Args;
use libkv::{Key, ListOptions, Store as _};

use crate::app::App;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::input;
use crate::output::{Out, Style};

/// Draw the keys below a directory as a tree
#[derive(Debug, Args)]
#[command(after_help = "A name with a slash behind it holds no value itself.")]
pub(crate) struct Tree {
    /// Where to look; / is everything
    #[arg(value_parser = input::directory, default_value = "/", hide_default_value = true)]
    dir: Key,
}

impl Tree {
    pub(crate) async fn run(self, app: &App, out: &mut Out) -> Outcome {
        app.format("tree", &[])?;
        let store = app.open().await?;
        let mut listing = store.list_opts(&self.dir, ListOptions::default().with_keys_only());
        let mut top = Node::default();
        while let Some(pair) = app.next_pair(&mut listing).await? {
            top.add(pair.key.below(&self.dir).unwrap_or_default());
        }
        out.line(out.style.directory(&self.dir)).await?;
        let strokes = if out.is_terminal() { &BOXES } else { &ASCII };
        let mut lines = Vec::new();
        top.draw("", strokes, out.style, &mut lines);
        for line in lines {
            out.line(line).await?;
        }
        Ok(Exit::Done)
    }
}

/// A name in the tree. Depth is bounded by the length of a key.
#[derive(Debug, Default)]
struct Node {
    is_stored: bool,
    /// By name. A map, because a key and those below it may stand apart: `a`, `a-b`, `a/c`.
    below: BTreeMap<String, Self>,
}

impl Node {
    fn add(&mut self, path: &str) {
        let (name, rest) = match path.split_once('/') {
            Some((name, rest)) => (name, Some(rest)),
            None => (path, None),
        };
        let node = self.below.entry(name.to_owned()).or_default();
        match rest {
            Some(rest) => node.add(rest),
            None => node.is_stored = true,
        }
    }

    fn draw(&self, indent: &str, strokes: &Strokes, style: Style, lines: &mut Vec<String>) {
        for (place, (name, node)) in (1..).zip(&self.below) {
            let is_last = place == self.below.len();
            let (branch, deeper) = if is_last { strokes.last } else { strokes.middle };
            let shown = match node.is_stored {
                true => style.key(name),
                false => style.directory(format_args!("{name}/")),
            };
            lines.push(format!("{indent}{branch}{shown}"));
            node.draw(&format!("{indent}{deeper}"), strokes, style, lines);
        }
    }
}

/// What leads to a name, and what leads past it to the names below.
struct Strokes {
    middle: (&'static str, &'static str),
    last: (&'static str, &'static str),
}

const BOXES: Strokes = Strokes {
    middle: ("\u{251c}\u{2500}\u{2500} ", "\u{2502}   "),
    last: ("\u{2514}\u{2500}\u{2500} ", "    "),
};
const ASCII: Strokes = Strokes { middle: ("|-- ", "|   "), last: ("`-- ", "    ") };

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(keys: &[&str]) -> String {
        let mut top = Node::default();
        keys.iter().for_each(|key| top.add(key));
        let mut lines = Vec::new();
        top.draw("", &ASCII, Style::default(), &mut lines);
        lines.join("\n")
    }

    #[test]
    fn a_key_with_keys_below_is_one_name_wherever_it_sorts() {
        assert_eq!(
            drawn(&["a", "a-b", "a/c", "d/e/f"]),
            "\
|-- a
|   `-- c
|-- a-b
`-- d/
    `-- e/
        `-- f"
        );
        assert_eq!(drawn(&[]), "");
    }
}
