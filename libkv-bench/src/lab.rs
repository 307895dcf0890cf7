use std::error::Error;
use std::future::Future;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::place;
use crate::table::{Aim, Line, Unit};

/// What a measurement ends in.
pub(crate) type Done<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// How many threads a runtime has here, whatever the machine has.
pub(crate) const WORKERS: usize = 2;

/// With fewer rounds than these a median says nothing.
const FEWEST_ROUNDS: usize = 5;

/// What a turn found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) figure: f64,
    /// The processor's seconds for one operation, of all threads of this process.
    pub(crate) cpu: Option<f64>,
}

impl From<f64> for Sample {
    fn from(figure: f64) -> Self {
        Self { figure, cpu: None }
    }
}

impl Sample {
    /// Takes a turn of so many operations, and the processor's time with it.
    pub(crate) fn with_cpu(ops: usize, turn: impl FnOnce() -> Done<f64>) -> Done<Self> {
        let before = place::cpu_time();
        let figure = turn()?;
        Ok(Self { figure, cpu: Some((place::cpu_time() - before) / ops as f64) })
    }
}

/// Runs the measurements and shows each when it is complete.
#[derive(Debug)]
pub(crate) struct Lab {
    runtime: Runtime,
    rounds: usize,
    only: String,
    met: Vec<bool>,
}

impl Lab {
    pub(crate) fn new(rounds: usize, only: String) -> Done<Self> {
        if rounds == 0 {
            return Err("nothing is measured in no rounds".into());
        }
        Ok(Self { runtime: runtime()?, rounds, only, met: Vec::new() })
    }

    /// Whether a line whose name begins like this may be wanted.
    pub(crate) fn wants_some_of(&self, section: &str) -> bool {
        section.starts_with(&self.only) || self.only.starts_with(section)
    }

    pub(crate) fn handle(&self) -> &Handle {
        self.runtime.handle()
    }

    /// Runs a task on the runtime's own threads.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        task: impl Future<Output = Done<T>> + Send + 'static,
    ) -> Done<T> {
        self.runtime.block_on(self.runtime.spawn(task))?
    }

    /// Runs a task on this thread, which is none of the runtime's.
    pub(crate) fn run_outside<T>(&self, task: impl Future<Output = Done<T>>) -> Done<T> {
        self.runtime.block_on(task)
    }

    /// Measures both in turn, once to warm up and then round by round, and shows the line.
    pub(crate) fn compare<S: Into<Sample>>(
        &mut self,
        name: &str,
        unit: Unit,
        aim: Aim,
        mut ours: impl FnMut(&Self) -> Done<S>,
        mut beside: impl FnMut(&Self) -> Done<S>,
    ) -> Done {
        if !name.starts_with(&self.only) {
            return Ok(());
        }
        ours(self)?;
        beside(self)?;
        let mut line = Line::new(name, unit, aim);
        for _ in 0..self.rounds {
            let (mut our_turns, mut other_turns) = (Vec::new(), Vec::new());
            for _ in 0..unit.turns() {
                our_turns.push(ours(self)?.into());
                other_turns.push(beside(self)?.into());
            }
            line.add(&our_turns, &other_turns);
        }
        println!("{line}");
        self.met.extend(line.is_met());
        Ok(())
    }

    /// How many aims were met.
    pub(crate) fn summary(&self) -> String {
        let met = self.met.iter().filter(|met| **met).count();
        let of = format!("{met} of {} aims met", self.met.len());
        if self.rounds < FEWEST_ROUNDS {
            return format!("{of}, which fewer than {FEWEST_ROUNDS} rounds say nothing about");
        }
        of
    }
}

/// A runtime as a program would have it.
pub(crate) fn runtime() -> Done<Runtime> {
    Ok(Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?)
}
