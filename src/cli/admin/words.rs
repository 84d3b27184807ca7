//! Texts of the gateway for a terminal: lengths of time as people say them, tables, and nothing that
//! does anything to the terminal.

use std::io::{self, Write};

pub(super) use crate::admin::answers::in_words as duration;

/// A text in which nothing does anything to a terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|one| if one.is_control() { '\u{fffd}' } else { one }).collect()
}

/// A length of time, or a dash where there is none.
pub(super) fn maybe(milliseconds: Option<u64>) -> String {
    milliseconds.map_or_else(|| "-".to_owned(), duration)
}

/// Prints a table: its columns are as wide as their widest cell, but for the last one.
pub(super) fn table(head: &[&str], rows: &[Vec<String>], out: &mut impl Write) -> io::Result<()> {
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let all = || std::iter::once(&head).chain(rows);
    let width = |column: usize| {
        all().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    for row in all() {
        let last = row.len().saturating_sub(1);
        for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
            match index == last {
                true => writeln!(out, "{}", plain(cell))?,
                false => write!(out, "{:<width$}  ", plain(cell))?,
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_as_people_say_them() {
        for (milliseconds, said) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (59_999, "59 s"),
            (61_000, "1 min 1 s"),
            (3_600_000, "1 h 0 min"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(duration(milliseconds), said);
        }
    }

    /// Fails when a path of a client can move the cursor, or hide a line.
    #[test]
    fn no_cell_does_anything_to_the_terminal() {
        let mut out = Vec::new();
        let rows = vec![vec!["\u{1b}[2J\r/x".to_owned(), "ok\n".to_owned()]];
        table(&["path", "state"], &rows, &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert_eq!(out.lines().count(), 2, "{out:?}");
        assert!(!out.contains('\u{1b}') && !out.contains('\r'), "{out:?}");
    }
}
