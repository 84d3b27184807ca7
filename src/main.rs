//! The `doorward` command: reads the command line, hands it to its command, prints the error chain.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use doorward::app;
use doorward::cli::{self, Exit};
use doorward::diagnosis::Paint;
use doorward::secret::Environment;

/// A request takes a twelfth fewer instructions than with the C library's allocator, which also keeps
/// for ever what a crowd of connections took (`benches/README.md`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Doorward logs in, so that your clients never have to.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Init(cli::init::Init),
    Run(cli::run::Run),
    Exec(cli::exec::Exec),
    Check(cli::check::Check),
    Try(cli::trial::Try),
    Audit(cli::audit::Audit),
    Clear(cli::clear::Clear),
    Explain(cli::explain::Explain),
    Key(cli::key::Key),
    Recipes(cli::recipes::Recipes),
    Schema(cli::schema::Schema),
    Completions(cli::completions::Completions),
    Man(cli::man::Man),
    Status(cli::admin::status::Status),
    Sessions(cli::admin::sessions::Sessions),
    Tap(cli::admin::tap::Tap),
    Dashboard(cli::admin::dashboard::Dashboard),
    Healthcheck(cli::admin::healthcheck::Healthcheck),
    #[cfg(feature = "emulator")]
    Demo(cli::demo::Demo),
    #[cfg(feature = "emulator")]
    Emulate(cli::emulate::Emulate),
}

fn main() -> ExitCode {
    let line = Line::parse();
    let (mut out, mut errors) = (io::stdout().lock(), io::stderr());
    // Nearly every command holds secrets for a while.
    let ended = app::hide_memory().and_then(|()| run(line.command, &mut out, &mut errors));
    match ended {
        Ok(exit) => exit.into(),
        // Whoever read our output has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Ok.into(),
        Err(error) => {
            cli::print_chain(&error, &mut errors);
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command, out: &mut impl Write, errors: &mut impl Write) -> io::Result<Exit> {
    let (environment, paint) = (Environment::Process, paint(&io::stderr()));
    match command {
        Command::Init(init) => init.run(&mut cli::init::Terminal, paint, out, errors),
        Command::Exec(exec) => exec.run(environment, paint, errors),
        Command::Completions(completions) => completions.run(Line::command(), out),
        Command::Man(man) => man.run(Line::command(), out),
        Command::Run(run) => run.run(environment, paint, out, errors),
        Command::Check(check) => check.run(environment, &app::recipe_shape, paint, out, errors),
        Command::Try(trial) => trial.run(environment, self::screen(), out, errors),
        Command::Audit(audit) => audit.run(out, errors),
        Command::Clear(clear) => clear.run(environment, paint, out, errors),
        Command::Explain(explain) => explain.run(environment, paint, out, errors),
        Command::Key(key) => key.run(environment, paint, &mut io::stdin(), out, errors),
        Command::Recipes(recipes) => recipes.run(out, errors),
        Command::Schema(schema) => schema.run(out),
        Command::Status(status) => status.run(environment, shown(), out, errors),
        Command::Sessions(sessions) => sessions.run(environment, shown(), out, errors),
        Command::Tap(tap) => tap.run(environment, shown(), out, errors),
        Command::Dashboard(dashboard) => dashboard.run(environment, shown(), out, errors),
        Command::Healthcheck(healthcheck) => healthcheck.run(environment, out, errors),
        #[cfg(feature = "emulator")]
        Command::Demo(demo) => demo.run(self::paint(&io::stdout()), out, errors),
        #[cfg(feature = "emulator")]
        Command::Emulate(emulate) => emulate.run(out, errors),
    }
}

/// How what a gateway says is shown.
fn shown() -> cli::admin::Shown {
    let out = io::stdout();
    cli::admin::Shown { is_terminal: out.is_terminal(), paint: paint(&out) }
}

/// How the trace of a trial is shown.
fn screen() -> cli::trial::Screen {
    let out = io::stdout();
    let (out_paint, errors_paint) = (paint(&out), paint(&io::stderr()));
    cli::trial::Screen { out: out_paint, errors: errors_paint, live: out.is_terminal() }
}

/// Colours where this is a terminal, unless `NO_COLOR` says otherwise.
fn paint(stream: &impl IsTerminal) -> Paint {
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    match wanted && stream.is_terminal() {
        true => Paint::Coloured,
        false => Paint::Plain,
    }
}
