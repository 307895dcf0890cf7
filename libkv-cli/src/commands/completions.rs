use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::app::App;
use crate::args::Cli;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::output::Out;

/// Write the completions of a shell
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// bash, zsh, fish, powershell or elvish
    #[arg(hide_possible_values = true)]
    shell: Shell,
}

impl Completions {
    pub(crate) async fn run(self, app: &App, out: &mut Out) -> Outcome {
        app.format("completions", &[])?;
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "libkv", &mut script);
        out.bytes(&script).await?;
        Ok(Exit::Done)
    }
}
