//! How an operator is asked: on the terminal, and without showing what is secret.

use std::io::{self, IsTerminal, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::secret::SecretText;

/// Ends a line; deletes a letter; ends the input; interrupts.
const LINE_ENDS: [u8; 2] = [b'\n', b'\r'];
const DELETES: [u8; 2] = [0x7f, 0x08];
const INPUT_ENDS: u8 = 0x04;
const INTERRUPTS: u8 = 0x03;

/// The longest secret that is typed, in bytes; what is longer comes by a file.
const SECRET_BYTES_MAX: usize = 4096;

/// Somebody who may be asked.
pub trait Asking {
    /// Whether there is anybody.
    fn can(&self) -> bool;
    /// Tells a line.
    ///
    /// # Errors
    /// When it cannot be written.
    fn tell(&mut self, line: &str) -> io::Result<()>;
    /// Asks for a line; it has no spaces around it.
    ///
    /// # Errors
    /// When there is no answer.
    fn ask(&mut self, question: &str) -> io::Result<String>;
    /// Asks for a line that is not shown.
    ///
    /// # Errors
    /// When there is no answer.
    fn ask_secret(&mut self, question: &str) -> io::Result<SecretText>;
    /// All that comes by standard input, where nobody is asked.
    ///
    /// # Errors
    /// When it cannot be read.
    fn rest(&mut self) -> io::Result<SecretText>;
}

/// The terminal of this process.
#[derive(Debug, Default)]
pub struct Terminal;

impl Asking for Terminal {
    fn can(&self) -> bool {
        io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    fn tell(&mut self, line: &str) -> io::Result<()> {
        writeln!(io::stderr(), "{line}")
    }

    fn ask(&mut self, question: &str) -> io::Result<String> {
        prompt(question)?;
        let mut line = String::new();
        if io::stdin().read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim().to_owned())
    }

    fn ask_secret(&mut self, question: &str) -> io::Result<SecretText> {
        // Before the question: nothing is typed that is still shown.
        let hidden = Hidden::begin()?;
        prompt(&format!("{question} (not shown)"))?;
        let typed = hidden.line();
        drop(hidden);
        writeln!(io::stderr())?;
        typed
    }

    fn rest(&mut self) -> io::Result<SecretText> {
        let mut text = Zeroizing::new(String::new());
        io::stdin().read_to_string(&mut text)?;
        Ok(SecretText::new(text.as_str().to_owned()))
    }
}

fn prompt(question: &str) -> io::Result<()> {
    let mut errors = io::stderr();
    write!(errors, "{question}: ")?;
    errors.flush()
}

/// A terminal that shows nothing of what is typed; as it was before once this is dropped. Keys that
/// would end the process come as bytes: it ends only when the terminal is as it was.
struct Hidden(Termios);

impl Hidden {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut hidden = before.clone();
        hidden.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        tcsetattr(io::stdin(), OptionalActions::Flush, &hidden)?;
        Ok(Self(before))
    }

    fn line(&self) -> io::Result<SecretText> {
        let mut typed = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX));
        let mut input = io::stdin().lock();
        loop {
            let mut byte = [0];
            input.read_exact(&mut byte)?;
            match byte[0] {
                end if LINE_ENDS.contains(&end) => break,
                INTERRUPTS => return Err(io::ErrorKind::Interrupted.into()),
                INPUT_ENDS => return Err(io::ErrorKind::UnexpectedEof.into()),
                delete if DELETES.contains(&delete) => {
                    // The last letter, with all its bytes.
                    while typed.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
                }
                byte if typed.len() < SECRET_BYTES_MAX => typed.push(byte),
                _ => return Err(io::Error::other("this is too long for a secret that is typed")),
            }
        }
        let text = std::str::from_utf8(&typed).map_err(|_| io::ErrorKind::InvalidData)?;
        Ok(SecretText::new(text.to_owned()))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // Where this fails the terminal is gone.
        _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}
