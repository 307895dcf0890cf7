//! Prints every sentence of the contract with the cases that show it, and fails when a sentence of
//! a backend that is here has none. With `names`: the full names of the tests that it counts on.

#![allow(clippy::print_stdout, reason = "this program prints a table")]

use std::process::ExitCode;

use integration_tests::{Row, check, table, test_names};

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("names") {
        for name in test_names() {
            println!("{name}");
        }
        return ExitCode::SUCCESS;
    }
    let table = table();
    for row in &table {
        print_row(row);
    }
    let count = |which: fn(&Row) -> bool| table.iter().filter(|row| which(row)).count();
    println!(
        "\n{} sentences: {} shown, {} explain, {} wait for their backend, {} missing",
        table.len(),
        count(|row| !row.shown_by.is_empty()),
        count(|row| row.shown_by.is_empty() && row.sentence.reason),
        count(|row| row.shown_by.is_empty() && !row.waits_for.is_empty()),
        count(Row::is_missing),
    );
    let faults = check();
    for fault in &faults {
        println!("{fault}");
    }
    if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print_row(row: &Row) {
    let sentence = &row.sentence;
    let tags = match (sentence.reason, sentence.backends.is_empty()) {
        (true, _) => "explains".to_owned(),
        (false, true) => "every backend".to_owned(),
        (false, false) => sentence.backends.join(", "),
    };
    println!("{} [{tags}] {}", sentence.number, sentence.text);
    for shown in &row.shown_by {
        println!("      {shown}");
    }
    if row.shown_by.is_empty() && !row.waits_for.is_empty() {
        println!("      waits for {}", row.waits_for.join(", "));
    }
    if row.is_missing() {
        println!("      MISSING");
    }
}
