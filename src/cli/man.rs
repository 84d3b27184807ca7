//! `doorward man`: the manual pages, made of the description of the command line.

use std::io::{self, Write};
use std::path::PathBuf;

use clap_mangen::Man as Page;

use super::Exit;

/// Print the manual page, or write all of them into a folder
#[derive(Clone, Debug, clap::Args)]
pub struct Man {
    /// Write the pages of all commands into this folder
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

impl Man {
    /// Prints the page of `command` to `out`, or writes all of its pages and prints their folder.
    ///
    /// # Errors
    /// What `out` or the folder refuses.
    pub fn run(&self, command: clap::Command, out: &mut impl Write) -> io::Result<Exit> {
        let Some(directory) = &self.directory else {
            Page::new(command).render(out)?;
            return Ok(Exit::Ok);
        };
        std::fs::create_dir_all(directory)?;
        clap_mangen::generate_to(command, directory)?;
        writeln!(out, "the manual pages are in {}", directory.display())?;
        Ok(Exit::Ok)
    }
}
