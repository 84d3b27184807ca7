//! Timed cases on the machine's own clock, on loopback, each with an end of its own: `cargo bench
//! --bench load -- NAME`. They fail where a promise does not hold in real time.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]
#![allow(missing_docs, reason = "a bench may end early, and prints")]

mod crowd;
mod fairness;
mod slow;
mod stage;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Cargo adds `--bench`.
    let names: Vec<String> =
        std::env::args().skip(1).filter(|name| !name.starts_with("--")).collect();
    if stage::as_process(&names).is_some() {
        return ExitCode::SUCCESS;
    }
    let cases = [fairness::NAME, slow::HEADS, slow::BODIES, slow::READERS, crowd::NAME];
    if let Some(unknown) = names.iter().find(|name| !cases.contains(&name.as_str())) {
        eprintln!("there is no case `{unknown}`; there are {}", cases.join(", "));
        return ExitCode::from(2);
    }
    let mut exit = ExitCode::SUCCESS;
    for case in cases {
        if !names.is_empty() && !names.iter().any(|name| name == case) {
            continue;
        }
        let ended = match case {
            fairness::NAME => fairness::run(),
            crowd::NAME => crowd::run(),
            slow => slow::run(slow),
        };
        if let Err(why) = ended {
            eprintln!("\n{case}: it does not hold: {why}");
            exit = ExitCode::FAILURE;
        }
    }
    exit
}
