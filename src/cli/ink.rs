//! Colours for what is printed, where they are wanted.

use crate::diagnosis::Paint;

/// A colour of the terminal's own palette.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    Green,
    Yellow,
    Red,
    Grey,
}

/// The text in a colour, or as it is.
pub(super) fn coloured(paint: Paint, colour: Colour, text: &str) -> String {
    // Select Graphic Rendition (ECMA-48 section 8.3.117).
    let code = match (paint, colour) {
        (Paint::Plain, _) => return text.to_owned(),
        (Paint::Coloured, Colour::Green) => 32,
        (Paint::Coloured, Colour::Yellow) => 33,
        (Paint::Coloured, Colour::Red) => 31,
        (Paint::Coloured, Colour::Grey) => 90,
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}
