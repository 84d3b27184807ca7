//! `doorward completions`: what a shell needs to complete the command line.

use std::io::{self, Write};

use clap_complete::Shell;

use super::Exit;

/// Print the completions of a shell, to be kept where it looks for them
///
/// For bash: doorward completions bash > /usr/share/bash-completion/completions/doorward
#[derive(Clone, Debug, clap::Args)]
pub struct Completions {
    /// Which shell
    shell: Shell,
}

impl Completions {
    /// Prints those of `command` to `out`.
    ///
    /// # Errors
    /// What `out` refuses.
    pub fn run(&self, mut command: clap::Command, out: &mut impl Write) -> io::Result<Exit> {
        let name = command.get_name().to_owned();
        // It writes to memory first: it panics where it cannot write.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, name, &mut script);
        out.write_all(&script)?;
        Ok(Exit::Ok)
    }
}
