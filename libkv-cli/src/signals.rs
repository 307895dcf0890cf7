use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind};

use crate::failure::{Failure, Outcome};

/// The signals that the program answers itself instead of dying of them.
#[derive(Debug)]
pub(crate) struct Signals(Vec<(Signal, unix::Signal)>);

impl Signals {
    /// Those that ask for the end.
    pub(crate) fn ending() -> Outcome<Self> {
        Self::of(&[Signal::INT, Signal::TERM, Signal::HUP])
    }

    /// Those and the ones that mean something to the command that is run.
    pub(crate) fn for_command() -> Outcome<Self> {
        Self::of(&[
            Signal::INT,
            Signal::TERM,
            Signal::HUP,
            Signal::QUIT,
            Signal::USR1,
            Signal::USR2,
        ])
    }

    fn of(signals: &[Signal]) -> Outcome<Self> {
        let ignored = ignored();
        let wanted = signals.iter().filter(|signal| !is_in(ignored, **signal));
        let listen = |signal: &Signal| {
            let listening = unix::signal(SignalKind::from_raw(signal.as_raw()));
            listening.map(|listening| (*signal, listening))
        };
        let listening: Result<Vec<_>, _> = wanted.map(listen).collect();
        Ok(Self(listening.map_err(|error| Failure::io("signals cannot be received", &error))?))
    }

    /// The next one.
    ///
    /// # Cancel safety
    ///
    /// Safe: a signal that nobody took is given next time.
    pub(crate) async fn next(&mut self) -> Signal {
        std::future::poll_fn(|cx| {
            for (signal, listening) in &mut self.0 {
                if listening.poll_recv(cx).is_ready() {
                    return std::task::Poll::Ready(*signal);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}

/// What whoever started us wants to be ignored, such as the hangup under `nohup`. Nothing where the
/// system does not tell.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

fn is_in(mask: u64, signal: Signal) -> bool {
    mask >> (signal.as_raw() - 1) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_counts_signals_from_one() {
        assert!(is_in(0b1, Signal::HUP) && !is_in(0b1, Signal::INT));
        assert!(is_in(1 << 14, Signal::TERM));
    }
}
