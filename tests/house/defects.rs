//! The tables of `tests/gateway/defects.rs` name tests that are there and that say when they fail.

use super::text;

const TABLES: &str = "tests/gateway/defects.rs";

/// The rows of each of the tables: number, tests.
fn tables() -> Vec<Vec<(usize, Vec<String>)>> {
    let source = text(TABLES);
    let lines = source.lines().map_while(|line| line.strip_prefix("//!"));
    let (mut tables, mut open) = (Vec::new(), None);
    for line in lines.map(str::trim) {
        match (&mut open, line.strip_prefix('|')) {
            (None, Some(row)) if row.starts_with("---") => open = Some(Vec::new()),
            (Some(table), Some(row)) => table.push(parse(row)),
            (_, None) => tables.extend(open.take()),
            (None, Some(_)) => {}
        }
    }
    tables.extend(open);
    tables
}

fn parse(row: &str) -> (usize, Vec<String>) {
    let cells: Vec<&str> = row.trim_end_matches('|').split('|').map(str::trim).collect();
    let [what, tests, mechanism] = cells[..] else { panic!("{TABLES}: {row} has no three cells") };
    assert!(!mechanism.is_empty(), "{TABLES}: {row} names no mechanism");
    let (number, what) = what.split_once(". ").unwrap_or_else(|| panic!("{row} has no number"));
    assert!(!what.is_empty(), "{TABLES}: {row} says nothing");
    let tests: Vec<String> = tests.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    assert!(!tests.is_empty(), "{TABLES}: {row} names no test");
    (number.parse().unwrap_or_else(|_| panic!("{row} has no number")), tests)
}

#[test]
fn every_defect_and_every_invariant_has_a_test_that_says_when_it_fails() {
    let tables = tables();
    let counts: Vec<usize> = tables.iter().map(Vec::len).collect();
    assert_eq!(counts, [18, 7], "{TABLES}: rows of the tables");
    for table in tables {
        for (position, (number, tests)) in table.into_iter().enumerate() {
            assert_eq!(number, position + 1, "{TABLES}: numbers go up by one");
            for test in tests {
                if let Err(fault) = judge(&test) {
                    panic!("{TABLES}: {number}: `{test}` {fault}");
                }
            }
        }
    }
}

/// Whether `file::name` is a test with a line that says when it fails.
pub fn judge(test: &str) -> Result<(), &'static str> {
    let (file, name) = test.rsplit_once("::").ok_or("has no file")?;
    let path = match file.ends_with(".rs") {
        true => file.to_owned(),
        false => format!("tests/gateway/{file}.rs"),
    };
    judge_in(&text(&path), name)
}

fn judge_in(source: &str, name: &str) -> Result<(), &'static str> {
    let lines: Vec<&str> = source.lines().map(str::trim_start).collect();
    let head = format!("fn {name}()");
    let is_head = |line: &&str| line.trim_start_matches("async ").starts_with(&head);
    let at = lines.iter().position(is_head).ok_or("is not there")?;
    let above = lines[..at].iter().rev();
    let above: Vec<&&str> =
        above.take_while(|line| line.starts_with("///") || line.starts_with("#[")).collect();
    let is_test = |line: &&&str| line.starts_with("#[test]") || line.starts_with("#[tokio::test");
    if !above.iter().any(is_test) {
        return Err("is no test");
    }
    let said = above.iter().any(|line| line.starts_with("///") && line.contains("Fails when "));
    said.then_some(()).ok_or("does not say when it fails")
}

#[test]
fn a_test_that_is_missing_or_says_nothing_is_found_out() {
    let said = "/// Fails when x.\n#[tokio::test]\nasync fn a() {}\n";
    assert_eq!(judge_in(said, "a"), Ok(()));
    assert_eq!(judge_in(said, "b"), Err("is not there"));
    assert_eq!(judge_in("/// Fails when x.\nfn a() {}\n", "a"), Err("is no test"));
    let silent = format!("{said}\n/// Does x.\n#[test]\nfn b() {{}}\n");
    assert_eq!(judge_in(&silent, "b"), Err("does not say when it fails"));
}
