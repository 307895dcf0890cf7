use crate::command::{Done, cargo, run, work_dir};
use crate::images;

/// What can be measured, and what names a running server of it, in place of one in a container.
const SUBJECTS: &[(&str, Option<&str>)] =
    &[("consul", Some("LIBKV_TEST_CONSUL")), ("embedded", None), ("etcd", Some("LIBKV_TEST_ETCD"))];

/// Builds the measurements as a user's program would be, and runs them.
pub(crate) fn run_all(args: &[String]) -> Done {
    let known = SUBJECTS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let unknown = || format!("what is to be measured? It can be: {known}");
    let (subject, options) = args.split_first().ok_or_else(unknown)?;
    let found = SUBJECTS.iter().find(|(name, _)| name == subject);
    let (_, running) = found.ok_or_else(unknown)?;
    let mut bench = cargo(&["run", "--quiet", "--release", "--package", "libkv-bench", "--"]);
    bench.arg(subject);
    match running {
        Some(running) if std::env::var_os(running).is_none() => {
            bench.envs(images::prepare()?);
        }
        Some(_) => {}
        // The folder of what cargo builds is on a disk, which one for temporary files may not be.
        None => {
            bench.arg("--dir").arg(work_dir()?);
        }
    }
    bench.args(options);
    run(bench)
}
