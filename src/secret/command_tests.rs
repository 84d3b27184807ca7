//! Commands print secrets in bounds, and what goes wrong with one shows nothing of its output.

use std::path::Path;

use super::*;
use crate::secret::{Source, Taking, Unsealed};

fn shell(script: &str) -> Command {
    Command {
        program: "/bin/sh".into(),
        arguments: vec!["-c".to_owned(), script.to_owned()],
        timeout: Duration::from_secs(30),
        refresh: None,
    }
}

fn read(command: Command) -> Result<Unsealed, SecretError> {
    Source::strict(Place::Command(command)).read(&Environment::given([("PW", "hunter2")]))
}

/// Everything that can be seen of an error.
fn seen(error: &SecretError) -> String {
    format!("{error} {error:?} {:?}", error.remedy())
}

#[test]
fn what_a_command_prints_is_taken_by_the_rules_of_files() {
    assert_eq!(read(shell("printf %s 0012345")).unwrap().text.expose(), "0012345");
    assert_eq!(read(shell("printf %s \"$PW\"")).unwrap().text.expose(), "hunter2");
    let error = read(shell("echo hunter2")).unwrap_err();
    assert!(error.to_string().contains("output of `/bin/sh` ends with a newline"), "{error}");
    assert!(matches!(read(shell("true")), Err(SecretError::Empty(_))));
    let trimmed = Source { place: Place::Command(shell("echo hunter2")), taking: Taking::Trimmed };
    assert_eq!(trimmed.read(&Environment::given([])).unwrap().text.expose(), "hunter2");
}

/// Fails when arguments go through a shell.
#[test]
fn arguments_arrive_as_they_are_written() {
    let command = Command {
        program: "/bin/echo".into(),
        arguments: vec!["-n".to_owned(), "$(id) `id` 'x  y'; true".to_owned()],
        ..shell("")
    };
    assert_eq!(read(command).unwrap().text.expose(), "$(id) `id` 'x  y'; true");
}

#[test]
fn a_command_that_fails_is_an_error_whatever_it_printed() {
    let error = read(shell("printf hunter2; exit 3")).unwrap_err();
    assert!(error.to_string().contains("exit status: 3"), "{error}");
    assert!(!seen(&error).contains("hunter2"), "{}", seen(&error));
    let error = read(shell("kill -9 $$")).unwrap_err();
    assert!(error.to_string().contains("signal: 9"), "{error}");
}

/// Fails when standard error is shown, or when its length stops the command.
#[test]
fn a_secret_on_standard_error_is_counted_and_not_shown() {
    let error = read(shell("printf hunter2 >&2; exit 1")).unwrap_err();
    assert!(error.to_string().contains("on standard error (7 bytes)"), "{error}");
    assert!(!seen(&error).contains("hunter2"), "{}", seen(&error));
    let loud = shell("head -c 1000000 /dev/zero >&2; printf hunter2");
    assert_eq!(read(loud).unwrap().text.expose(), "hunter2");
}

#[test]
fn a_command_that_is_not_there_is_an_error_with_the_systems_reason() {
    let command = Command { program: "/no/such/program".into(), ..shell("") };
    let error = read(command).unwrap_err();
    assert!(error.to_string().contains("`/no/such/program` cannot be run"), "{error}");
    assert!(error.remedy().unwrap().contains("No such file"), "{error:?}");
}

/// Fails when a command that asks for something waits for an answer.
#[test]
fn standard_input_is_closed() {
    assert!(matches!(read(shell("cat")), Err(SecretError::Empty(_))));
}

/// Fails when output is read without a bound, or its writer is waited for.
#[test]
fn output_without_an_end_is_cut_off_at_the_bound() {
    assert!(matches!(read(shell("cat /dev/zero")), Err(SecretError::TooLong(_))));
}

#[test]
fn a_command_is_killed_at_its_timeout() {
    let command = Command { timeout: Duration::from_millis(50), ..shell("exec sleep 1000") };
    let error = read(command).unwrap_err();
    assert!(error.to_string().contains("`/bin/sh` was killed after 50ms"), "{error}");
}

/// Fails when only the command itself is killed: what it began would go on for ever, one more after
/// each refresh.
#[tokio::test]
async fn the_children_of_a_command_are_killed_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("child");
    let script = format!("sleep 1000 & echo $! > {0}.new && mv {0}.new {0}; wait", file.display());
    let running = tokio::spawn(async move { shell(&script).run(&Environment::Process).await });
    let child = until(|| std::fs::read_to_string(&file).ok()).await;
    assert!(is_running(child.trim()));
    running.abort();
    until(|| (!is_running(child.trim())).then_some(())).await;
}

/// Fails when what a command leaves in the background keeps its secret back.
#[test]
fn a_command_that_leaves_something_in_the_background_gives_its_secret() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("child");
    // It holds both outputs open, as agents do that do not care.
    let script = format!("sleep 1000 & echo $! > {}; printf hunter2", file.display());
    assert_eq!(read(shell(&script)).unwrap().text.expose(), "hunter2");
    until_dead(&file);
}

/// Fails when a command that ends leaves its children behind, one more after each refresh.
#[test]
fn the_children_of_a_command_that_has_ended_are_killed() {
    let folder = tempfile::tempdir().unwrap();
    for (ending, is_good) in [("exit 1", false), ("kill -9 $$", false), ("printf hunter2", true)] {
        let file = folder.path().join("child");
        let child = "sleep 1000 >/dev/null 2>&1 & echo $!";
        let script = format!("{child} > {}; {ending}", file.display());
        assert_eq!(read(shell(&script)).is_ok(), is_good, "{ending}");
        until_dead(&file);
    }
}

/// Fails when what a command's children print after its end is waited for without a bound.
#[test]
fn a_child_that_goes_on_printing_does_not_hold_up_its_parent() {
    let script = "printf hunter2; while :; do printf x >&2; done & exit 0";
    assert_eq!(read(shell(script)).unwrap().text.expose(), "hunter2");
}

/// Waits until the process whose number is in a file is dead.
/// Fails when half of a line is kept, in which nobody would find a whole secret; when input that is not
/// read is a fault; or when more is printed than the bound says.
#[tokio::test]
async fn what_a_command_says_is_kept_in_whole_lines() {
    let none = Environment::given([]);
    let input = "x".repeat(1024 * 1024);
    let script =
        "i=0; while [ $i -lt 999 ]; do echo hunter2 >&2; i=$((i+1)); done; printf out; exit 3";
    let ended = shell(script).converse(&none, input.as_bytes(), 100).await.unwrap();
    assert_eq!((ended.status.code(), ended.output.as_slice()), (Some(3), &b"out"[..]));
    let errors = String::from_utf8(ended.errors.to_vec()).unwrap();
    assert_eq!(errors, "hunter2\n".repeat(WINDOW_BYTES / 8));
    let long = "printf a >&2; head -c 5000 /dev/zero | tr '\\0' b >&2";
    let ended = shell(long).converse(&none, b"", 100).await.unwrap();
    assert!(ended.errors.is_empty(), "{:?}", ended.errors);
    let more = shell("head -c 102 /dev/zero").converse(&none, b"", 100).await;
    assert!(matches!(more, Err(SecretError::TooLong(_))));
}

fn until_dead(file: &Path) {
    let child = std::fs::read_to_string(file).unwrap();
    let started = std::time::Instant::now();
    while is_running(child.trim()) {
        assert!(started.elapsed() < Duration::from_secs(30), "it is still there");
        std::thread::yield_now();
    }
}

/// Waits until there is something.
async fn until<T>(mut found: impl FnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            match found() {
                Some(found) => return found,
                None => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), looking).await.expect("it never came")
}

/// Whether a process runs; one that is dead and has not been waited for does not.
fn is_running(number: &str) -> bool {
    let status = std::fs::read_to_string(Path::new("/proc").join(number).join("stat"));
    status.is_ok_and(|status| !status.contains(") Z "))
}
