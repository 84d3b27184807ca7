//! What the demonstration tells at its start: where everything is, and `curl` lines that work when
//! pasted.

use std::io::{self, Write};

use super::configuration::prefix;
use super::page::Page;
use super::stage::Stage;
use crate::cli::ink::{Colour, coloured};
use crate::diagnosis::Paint;
use crate::emulator::{Call, Emulator};

/// Prints it.
///
/// # Errors
/// What `out` refuses.
pub(super) fn print(
    stage: &Stage,
    page: Option<&Page>,
    paint: Paint,
    out: &mut impl Write,
) -> io::Result<()> {
    let doorward = format!("http://{}", stage.address());
    let version = env!("CARGO_PKG_VERSION");
    writeln!(out, "doorward {version}: a demo that stays on this machine\n")?;
    if !stage.taken_ports().is_empty() {
        let taken: Vec<_> = stage.taken_ports().iter().map(ToString::to_string).collect();
        writeln!(out, "Already taken, so free ports stand in for them: {}\n", taken.join(", "))?;
    }
    let file = stage.configuration_file();
    writeln!(out, "{:<14}{doorward}  configured by {}", "Doorward", file.display())?;
    for emulator in stage.emulators() {
        let (vendor, origin) = (emulator.vendor(), emulator.origin());
        let name = vendor.name();
        writeln!(out, "{name:<14}{origin}  an emulator, behind {doorward}{}", prefix(vendor))?;
    }
    if let (Some(page), Some(socket)) = (page, stage.admin_socket()) {
        let minutes = Page::minutes();
        writeln!(
            out,
            "\nIn a browser: sessions, logins and requests as they happen. The link opens once, within \
             {minutes} minutes.\n  {}\nAnother one, or the same in a terminal:\n  \
             doorward dashboard --socket {socket}\n  doorward status --socket {socket}",
            page.link(),
            socket = socket.display(),
        )?;
    }
    writeln!(
        out,
        "\nPaste these into another terminal: none holds a password, a token or a cookie."
    )?;
    for emulator in stage.emulators() {
        calls(emulator, &format!("{doorward}{}", prefix(emulator.vendor())), paint, out)?;
    }
    writeln!(out, "\n{ANNOUNCEMENT}")?;
    out.flush()
}

/// The last line before the live view.
const ANNOUNCEMENT: &str = "What happens, as it happens (Ctrl-C stops):";

fn calls(emulator: &Emulator, url: &str, paint: Paint, out: &mut impl Write) -> io::Result<()> {
    let demonstration = emulator.vendor().demonstration();
    writeln!(out, "\n{}: {}", emulator.vendor(), demonstration.sessions)?;
    let mut show = |purpose: &str, line: &str| {
        let purpose = coloured(paint, Colour::Grey, &format!("# {purpose}"));
        writeln!(out, "  {purpose}\n  {line}")
    };
    for call in &demonstration.reads {
        show(call.purpose, &curl(url, call))?;
    }
    show(demonstration.write.purpose, &curl(url, &demonstration.write))?;
    let kill = format!("{CURL} -X POST {}/__admin/expire {JSON} -d '{{}}'", emulator.origin());
    show(KILL, &kill)?;
    let login = &demonstration.local_login;
    let purpose = format!("{}: Doorward answers it itself, whatever the account", login.purpose);
    show(&purpose, &curl(url, login))
}

const KILL: &str =
    "kill the session on the server: the next call finds it dead, logs in and is sent again";

/// Without a progress bar, and with a line's end after the answer.
const CURL: &str = r"curl -sw '\n'";

const JSON: &str = "-H 'content-type: application/json'";

/// A call as a line for a shell.
fn curl(url: &str, call: &Call) -> String {
    let mut words = vec![CURL.to_owned()];
    if call.method != http::Method::GET {
        words.extend(["-X".to_owned(), call.method.to_string()]);
    }
    words.push(quoted(&format!("{url}{}", call.target)));
    for (name, value) in call.headers {
        words.extend(["-H".to_owned(), quoted(&format!("{name}: {value}"))]);
    }
    if !call.body.is_empty() {
        words.extend([JSON.to_owned(), "-d".to_owned(), quoted(call.body)]);
    }
    words.join(" ")
}

/// A word as a POSIX shell takes it literally.
fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-._/:".contains(letter);
    match word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_reaches_the_program_as_it_is() {
        assert_eq!(quoted("http://127.0.0.1:7400/a_b"), "http://127.0.0.1:7400/a_b");
        assert_eq!(quoted("http://127.0.0.1:7400/a?b=c"), "'http://127.0.0.1:7400/a?b=c'");
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
    }
}
