use std::collections::BTreeMap;

use crate::{Case, ELSEWHERE, PRESENT, SUITES};

/// The contract's text, from the root of the workspace.
const TEXT: &str = include_str!("../../CONTRACT.md");

const CASES: &[Case] = crate::conformance!(table);

/// The engines and groups that a tag may name, with the backends they stand for.
const SERVERS: &[&str] = &["etcd", "consul", "zk"];

/// A numbered sentence of the contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentence {
    /// Its number, such as `4.12`.
    pub number: String,
    /// The backends that can show it; none means every backend.
    pub backends: Vec<String>,
    /// Whether it is an explanation that no test can show.
    pub reason: bool,
    /// What it says, on one line.
    pub text: String,
}

/// A sentence with what shows it.
#[derive(Debug, Clone)]
pub struct Row {
    /// The sentence.
    pub sentence: Sentence,
    /// The cases and tests, with the backend in front where it is a backend's own test.
    pub shown_by: Vec<String>,
    /// The backends it waits for, where none of its own is in this workspace.
    pub waits_for: Vec<String>,
}

impl Row {
    /// Whether a sentence that must be shown is not.
    pub fn is_missing(&self) -> bool {
        !self.sentence.reason && self.waits_for.is_empty() && self.shown_by.is_empty()
    }
}

/// The sentences of the contract, in order.
pub fn sentences() -> Vec<Sentence> {
    let mut sentences: Vec<Sentence> = Vec::new();
    let mut open = false;
    for line in TEXT.lines() {
        if let Some(sentence) = line.strip_prefix("- **").and_then(parse) {
            sentences.push(sentence);
            open = true;
        } else if let (true, Some(more), Some(last)) =
            (open, line.strip_prefix("  "), sentences.last_mut())
        {
            last.text.push(' ');
            last.text.push_str(more.trim());
        } else {
            open = false;
        }
    }
    sentences
}

/// Parses what follows `- **`.
fn parse(line: &str) -> Option<Sentence> {
    let (number, rest) = line.split_once("** ")?;
    let (tags, text) = match rest.strip_prefix('(').and_then(|rest| rest.split_once(") ")) {
        Some((tags, text)) => (tags, text),
        None => ("", rest),
    };
    let tags: Vec<&str> = tags.split(',').map(str::trim).filter(|tag| !tag.is_empty()).collect();
    let mut backends = Vec::new();
    for tag in &tags {
        match *tag {
            "reason" => {}
            "servers" => backends.extend(SERVERS.iter().map(|name| (*name).to_owned())),
            name => backends.push(name.to_owned()),
        }
    }
    Some(Sentence {
        number: number.to_owned(),
        backends,
        reason: tags.contains(&"reason"),
        text: text.to_owned(),
    })
}

/// Every sentence with what shows it.
pub fn table() -> Vec<Row> {
    let mut shown: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for case in CASES {
        for number in case.numbers {
            shown.entry(number).or_default().push(case.name.to_owned());
        }
    }
    for test in ELSEWHERE {
        for number in test.numbers {
            shown.entry(number).or_default().push(format!("{}: {}", test.backend, test.test));
        }
    }
    let row = |sentence: Sentence| {
        let here = |name: &String| PRESENT.contains(&name.as_str());
        let waits = !sentence.backends.is_empty() && !sentence.backends.iter().any(here);
        Row {
            shown_by: shown.get(sentence.number.as_str()).cloned().unwrap_or_default(),
            waits_for: if waits { sentence.backends.clone() } else { Vec::new() },
            sentence,
        }
    };
    sentences().into_iter().map(row).collect()
}

/// What is wrong with the contract's table: sentences without a case, and cases that name numbers
/// which do not exist.
pub fn check() -> Vec<String> {
    let table = table();
    let known = |number: &str| table.iter().any(|row| row.sentence.number == number);
    let unknown = |name: &str, numbers: &[&str]| -> Vec<String> {
        let wrong = numbers.iter().filter(|number| !known(number));
        wrong.map(|number| format!("{name} names {number}, which is no sentence")).collect()
    };
    let mut faults: Vec<String> = table
        .iter()
        .filter(|row| row.is_missing())
        .map(|row| format!("{} has no case: {}", row.sentence.number, row.sentence.text))
        .collect();
    faults.extend(CASES.iter().flat_map(|case| unknown(case.name, case.numbers)));
    faults.extend(ELSEWHERE.iter().flat_map(|test| unknown(test.test, test.numbers)));
    faults
}

/// The full names of the tests that the table counts on: each case for each suite of this
/// workspace, and the backends' own tests.
pub fn test_names() -> Vec<String> {
    let cases = SUITES
        .iter()
        .flat_map(|suite| CASES.iter().map(move |case| format!("{suite}::{}", case.name)));
    cases.chain(ELSEWHERE.iter().map(|test| test.test.to_owned())).collect()
}
