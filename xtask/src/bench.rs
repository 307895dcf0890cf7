use crate::command::{Done, cargo, run, work_dir};
use crate::images;

/// What can be measured.
const SUBJECTS: &[&str] = &["embedded", "etcd"];
/// Names a running server, in place of one in a container.
const RUNNING_ETCD: &str = "LIBKV_TEST_ETCD";

/// Builds the measurements as a user's program would be, and runs them.
pub(crate) fn run_all(args: &[String]) -> Done {
    let subject = args.split_first().filter(|(name, _)| SUBJECTS.contains(&name.as_str()));
    let (subject, options) = subject
        .ok_or_else(|| format!("what is to be measured? It can be: {}", SUBJECTS.join(", ")))?;
    let mut bench = cargo(&["run", "--quiet", "--release", "--package", "libkv-bench", "--"]);
    bench.arg(subject);
    if subject == "embedded" {
        // The folder of what cargo builds is on a disk, which one for temporary files may not be.
        bench.arg("--dir").arg(work_dir()?);
    } else if std::env::var_os(RUNNING_ETCD).is_none() {
        bench.envs(images::prepare()?);
    }
    bench.args(options);
    run(bench)
}
