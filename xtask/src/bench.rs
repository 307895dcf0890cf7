use crate::command::{Done, cargo, run, work_dir};

/// What can be measured.
const SUBJECTS: &[&str] = &["embedded"];

/// Builds the measurements as a user's program would be, and runs them.
pub(crate) fn run_all(args: &[String]) -> Done {
    let subject = args.split_first().filter(|(name, _)| SUBJECTS.contains(&name.as_str()));
    let (subject, options) = subject
        .ok_or_else(|| format!("what is to be measured? It can be: {}", SUBJECTS.join(", ")))?;
    let mut bench = cargo(&["run", "--quiet", "--release", "--package", "libkv-bench", "--"]);
    // The folder of what cargo builds is on a disk, which a folder for temporary files may not be.
    bench.arg(subject).arg("--dir").arg(work_dir()?).args(options);
    run(bench)
}
