//! The tables of `tests/gateway/hostile/mod.rs` name tests that are there and that say when they fail.

use super::defects::judge;
use super::text;

const TABLES: &str = "tests/gateway/hostile/mod.rs";

/// A row that no test holds says why.
const NOT_HERE: &str = "Not here: ";

#[test]
fn every_hostile_message_has_a_test_that_says_when_it_fails_or_a_reason() {
    let source = text(TABLES);
    let rows = source.lines().map_while(|line| line.strip_prefix("//!"));
    let rows = rows.filter_map(|line| line.trim().strip_prefix('|')?.strip_suffix('|'));
    let rows = rows.filter(|row| row.starts_with(|first: char| first.is_ascii_whitespace()));
    let mut counts = Vec::new();
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [what, tests, besides] = cells[..] else {
            panic!("{TABLES}: {row} has no three cells")
        };
        let Some((number, what)) = what.split_once(". ") else {
            counts.push(0);
            continue;
        };
        let count = counts.last_mut().unwrap_or_else(|| panic!("{TABLES}: {row} is in no table"));
        *count += 1;
        assert_eq!(number, count.to_string(), "{TABLES}: numbers go up by one");
        assert!(!what.is_empty(), "{TABLES}: {row} says nothing");
        let tests: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        let is_told = besides.strip_prefix(NOT_HERE).is_some_and(|why| !why.is_empty());
        assert_eq!(tests.is_empty(), is_told, "{TABLES}: {number} has tests, or a reason");
        for test in tests {
            if let Err(fault) = judge(test) {
                panic!("{TABLES}: {number}: `{test}` {fault}");
            }
        }
    }
    assert_eq!(counts, [70, 13], "{TABLES}: rows of the tables");
}
