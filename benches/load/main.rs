//! Timed cases on the machine's own clock, on loopback, each with an end of its own: `cargo bench
//! --bench load -- NAME`. They fail where a promise does not hold in real time.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]
#![allow(missing_docs, reason = "a bench may end early, and prints")]

mod fairness;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Cargo adds `--bench`.
    let names: Vec<String> =
        std::env::args().skip(1).filter(|name| !name.starts_with("--")).collect();
    if let Some(unknown) = names.iter().find(|name| *name != fairness::NAME) {
        eprintln!("there is no case `{unknown}`; there is `{}`", fairness::NAME);
        return ExitCode::from(2);
    }
    match fairness::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("\nit does not hold: {why}");
            ExitCode::FAILURE
        }
    }
}
