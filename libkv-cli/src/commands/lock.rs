use std::ffi::{OsStr, OsString};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use libkv::{Key, LockGuard, LockOptions, StoreExt as _, Wait};
use tokio::time::sleep;

use crate::app::App;
use crate::child::Child;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::input;
use crate::output::say;
use crate::signals::Signals;

/// Run a command while holding a lock
#[derive(Debug, Args)]
#[command(after_help = "\
The command finds the locked key in LIBKV_LOCK_KEY and the fencing token in LIBKV_LOCK_TOKEN. It gets
the signals that are sent to libkv, and its exit code is libkv's. When the lock is lost it gets
SIGTERM, after the time of --grace SIGKILL, and libkv exits with 6.")]
pub(crate) struct Lock {
    /// The key to lock, which need not exist
    #[arg(value_parser = input::key)]
    key: Key,
    /// What the key holds while it is locked; without this the key is left alone
    #[arg(long)]
    value: Option<String>,
    /// How long the lock outlives a holder that is silent [default: the store's own]
    #[arg(long, value_name = "TIME", value_parser = input::duration)]
    ttl: Option<Duration>,
    /// Exit with 5 at once where somebody else holds the lock
    #[arg(long = "try", conflicts_with = "wait")]
    only_try: bool,
    /// Exit with 5 where the lock is not free within this time [default: wait for ever]
    #[arg(long, value_name = "TIME", value_parser = input::duration)]
    wait: Option<Duration>,
    /// How long the command may take to end when the lock is lost
    #[arg(long, value_name = "TIME", value_parser = input::duration, default_value = "10s")]
    grace: Duration,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

impl Lock {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        app.format("lock", &[])?;
        let store = app.open().await?;
        let mut signals = Signals::for_command()?;
        app.warn_of_shutting_out();
        let lock = store.new_lock(&self.key, self.options())?;
        let guard = tokio::select! {
            biased;
            // Dropping the other future gives up the place in the queue.
            signal = signals.next() => return Ok(Exit::by_signal(signal.as_raw())),
            guard = self.acquire(app, &lock) => guard?,
        };
        let ended = self.run_command(app, &guard, &mut signals).await;
        self.release(app, guard, ended).await
    }

    fn options(&self) -> LockOptions {
        let mut options = LockOptions::default();
        options.value = self.value.clone().map(Bytes::from);
        options.ttl = self.ttl;
        options.wait = match (self.only_try, self.wait) {
            (true, _) => Wait::Never,
            (false, Some(longest)) => Wait::AtMost(longest),
            (false, None) => Wait::Forever,
        };
        options
    }

    /// Takes the lock, and says so when that takes a while.
    async fn acquire(&self, app: &App, lock: &libkv::Lock) -> libkv::Result<LockGuard> {
        let acquiring = lock.lock();
        tokio::pin!(acquiring);
        tokio::select! {
            guard = &mut acquiring => return guard,
            () = sleep(PATIENCE) => app.note(format_args!("waiting for the lock {}", self.key)),
        }
        acquiring.await
    }

    /// Runs the command to its end, or until the lock is lost.
    async fn run_command(&self, app: &App, guard: &LockGuard, signals: &mut Signals) -> Outcome {
        let token = guard.token().to_string();
        let env = [
            ("LIBKV_LOCK_KEY", OsStr::new(self.key.as_str())),
            ("LIBKV_LOCK_TOKEN", OsStr::new(&token)),
        ];
        let lost = guard.lost();
        tokio::pin!(lost);
        let mut child = Child::start(&self.command, &env, None)?;
        loop {
            tokio::select! {
                biased;
                reason = &mut lost => {
                    let line = Failure::from(reason).line(app.place().as_deref());
                    say(line.unwrap_or_default());
                    child.end(self.grace).await?;
                    return Ok(Exit::LockLost);
                }
                signal = signals.next() => child.pass(signal),
                ended = child.wait() => return ended,
            }
        }
    }

    /// Releases the lock whatever became of the command.
    async fn release(&self, app: &App, guard: LockGuard, ended: Outcome) -> Outcome {
        match app.bounded("unlock", guard.unlock()).await {
            Ok(()) => ended,
            // It was said already, or the command ended before it could be.
            Err(_) if matches!(ended, Ok(Exit::LockLost)) => ended,
            Err(failure) if failure.exit() == Exit::LockLost => Err(failure),
            Err(failure) => {
                let line = failure.line(app.place().as_deref()).unwrap_or_default();
                say(format_args!("the lock ends with its time to live: {line}"));
                ended
            }
        }
    }
}

/// How long to wait for a lock before saying so.
const PATIENCE: Duration = Duration::from_secs(1);
