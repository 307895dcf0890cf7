use std::collections::BTreeMap;

use libkv::{Key, ListOptions, Store};
use serde::Serialize;

use crate::app::App;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::output::{Format, Out};

use super::plan::Plan;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Change {
    New,
    Changed,
    Same,
    /// In the store and not in what is read; an import leaves it there.
    Gone,
}

#[derive(Debug, Serialize)]
struct Row<'a> {
    change: Change,
    key: &'a str,
}

/// Shows what the import would do, key by key.
pub(super) async fn show(
    app: &App,
    store: &dyn Store,
    plan: &Plan,
    format: Format,
    out: &mut Out,
) -> Outcome {
    let mut changes: BTreeMap<Key, Change> = BTreeMap::new();
    changes.extend(plan.entries.iter().map(|entry| (entry.key.clone(), Change::New)));
    let mut listing = store.list_opts(plan.dir(), ListOptions::default());
    loop {
        let pair = match app.next_pair(&mut listing).await {
            Ok(Some(pair)) => pair,
            Ok(None) => break,
            Err(failure) if failure.exit() == Exit::NotFound => break,
            Err(failure) => return Err(failure),
        };
        let change = match plan.entry(&pair.key) {
            Some(entry) if entry.value == pair.value => Change::Same,
            Some(_) => Change::Changed,
            None => Change::Gone,
        };
        changes.insert(pair.key, change);
    }
    if format.is_json() {
        let rows = changes.iter().map(|(key, change)| Row { change: *change, key: key.as_str() });
        let rows: Vec<_> = rows.collect();
        out.forms(format, &rows).await?;
        return Ok(Exit::Done);
    }
    for (key, change) in &changes {
        let (style, word) = (out.style, change.word());
        let word = match change {
            Change::New | Change::Changed => style.came(word),
            Change::Same => style.faint(word),
            Change::Gone => style.went(word),
        };
        out.line(format!("{word}  {key}")).await?;
    }
    Ok(Exit::Done)
}

impl Change {
    /// Of one width, for a column.
    fn word(self) -> &'static str {
        match self {
            Self::New => "new    ",
            Self::Changed => "changed",
            Self::Same => "same   ",
            Self::Gone => "gone   ",
        }
    }
}
