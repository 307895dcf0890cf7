use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::{Fixture, Target, log};

/// No case takes this long, unless something hangs where no patience was asked for.
const CASE_LIMIT: Duration = Duration::from_secs(120);

/// A case of the suite.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Its name, as `module::case`.
    pub name: &'static str,
    /// The sentences of the contract that it shows.
    pub numbers: &'static [&'static str],
}

/// A test outside the suite that shows a sentence which only certain backends can show.
#[derive(Debug, Clone, Copy)]
pub struct Elsewhere {
    /// The backend that it runs against.
    pub backend: &'static str,
    /// Its name in the list of the integration tests.
    pub test: &'static str,
    /// The sentences that it shows.
    pub numbers: &'static [&'static str],
}

/// The backends that this workspace has. A sentence tagged with others only waits for them.
pub const PRESENT: &[&str] = &["embedded"];

/// The tests that show a backend's own sentences.
pub const ELSEWHERE: &[Elsewhere] = &[];

/// Runs one case against one backend, in a runtime of its own.
///
/// # Panics
///
/// When the backend breaks the contract.
pub fn run<F: Future<Output = ()>>(
    target: impl Target,
    name: &str,
    case: impl FnOnce(Arc<Fixture>) -> F,
) {
    log::install();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime starts");
    runtime.block_on(async {
        let fixture = Fixture::open(Arc::new(target)).await.expect("the backend opens");
        let fixture = Arc::new(fixture);
        if tokio::time::timeout(CASE_LIMIT, case(fixture.clone())).await.is_err() {
            panic!("{name} took longer than {CASE_LIMIT:?}");
        }
        if let Some(fixture) = Arc::into_inner(fixture) {
            fixture.tear_down().await.expect("what the case left can be removed");
        }
    });
}

/// Lists the cases once. `conformance!(tests for TARGET)` makes a named test of each, and
/// `conformance!(table)` their names with the numbers of the sentences they show.
#[macro_export]
macro_rules! conformance {
    (tests for $target:expr) => {
        $crate::conformance!(@cases tests $target);
    };
    (table) => {
        $crate::conformance!(@cases table ())
    };
    (@tests $target:expr; $($module:ident { $($case:ident [$($number:literal)+])* })*) => {
        $(
            mod $module {
                #[allow(unused_imports, reason = "the target may be named by a full path")]
                use super::*;
                $(
                    #[test]
                    fn $case() {
                        let name = concat!(stringify!($module), "::", stringify!($case));
                        $crate::run($target, name, |fixture| async move {
                            $crate::cases::$module::$case(&fixture).await
                        });
                    }
                )*
            }
        )*
    };
    (@table (); $($module:ident { $($case:ident [$($number:literal)+])* })*) => {
        &[$($($crate::Case {
            name: concat!(stringify!($module), "::", stringify!($case)),
            numbers: &[$($number),+],
        },)*)*]
    };
    (@cases $what:ident $with:tt) => {
        $crate::conformance! { @$what $with;
            keys {
                a_key_is_text_in_segments ["2.1" "2.9"]
            }
            names {
            }
            versions {
            }
            reads {
            }
            writes {
            }
            lists {
            }
            txns {
            }
            lifetimes {
            }
            closing {
            }
            outcomes {
            }
            watches {
            }
            resyncs {
            }
            locks {
            }
            lock_values {
            }
            guards {
            }
            sessions {
            }
            opening {
            }
            capabilities {
            }
        }
    };
}
