//! That `doorward audit verify` finds every line of an audit trail that was changed, removed, inserted
//! or moved, and tells that from what crashes and full disks leave.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::process::Stdio;

use doorward::audit::{Hash, Seal, Trail, verify};
use doorward::emulator::Vendor;
use doorward::server::Address;
use doorward::telemetry::{AuditTrouble, Event};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::audit::{AUDIT, TYPES, call, lines, run, stopped, told, trail};
use crate::client::{Call, Door, Record};
use crate::harness::{Scene, Setup, until, within, write};
use crate::leaks::leaks;

/// A trail of two files, as a gateway writes it.
async fn two_files(tables: &str) -> (Scene, [String; 2]) {
    let scene = Setup::of(Vendor::Contentstack).tables(tables).start().await;
    for _ in 0..4 {
        told(&scene, TYPES).await;
    }
    fs::rename(trail(&scene), scene.folder.path().join("1")).unwrap();
    for _ in 0..4 {
        told(&scene, TYPES).await;
    }
    let scene = stopped(scene).await;
    let texts = ["1", "audit.jsonl"].map(|name| scene.folder.path().join(name));
    let texts = texts.map(|path| fs::read_to_string(path).unwrap());
    (scene, texts)
}

/// Something that somebody does to a trail.
#[derive(Clone, Debug)]
enum Mutation {
    Flip { at: usize, bit: u8 },
    Insert { at: usize, byte: u8 },
    Remove { at: usize, bytes: usize },
    RemoveLines { from: usize, count: usize },
    Swap { one: usize, other: usize },
    Repeat { line: usize, before: usize },
}

fn mutations() -> impl Strategy<Value = Mutation> {
    let place = any::<usize>;
    prop_oneof![
        (place(), 0..8u8).prop_map(|(at, bit)| Mutation::Flip { at, bit }),
        (place(), any::<u8>()).prop_map(|(at, byte)| Mutation::Insert { at, byte }),
        (place(), 1..400usize).prop_map(|(at, bytes)| Mutation::Remove { at, bytes }),
        (place(), 1..6usize).prop_map(|(from, count)| Mutation::RemoveLines { from, count }),
        (place(), place()).prop_map(|(one, other)| Mutation::Swap { one, other }),
        (place(), place()).prop_map(|(line, before)| Mutation::Repeat { line, before }),
    ]
}

/// The text after the mutation. Whatever takes away from the end, and only that, cannot be seen:
/// `keep` bytes at the end stay.
fn mutated(text: &str, mutation: &Mutation, keep: usize) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    let open = bytes.len() - keep;
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    let joined = |lines: &[&str]| lines.concat().into_bytes();
    // The last line stays where something behind it would have to show that it is missing.
    let open_lines = lines.len() - usize::from(keep > 0);
    match *mutation {
        Mutation::Flip { at, bit } => bytes[at % open] ^= 1 << bit,
        Mutation::Insert { at, byte } => bytes.insert(at % open, byte),
        Mutation::Remove { at, bytes: count } => {
            let at = at % open;
            bytes.drain(at..(at + count).min(open));
        }
        Mutation::RemoveLines { from, count } => {
            let from = from % open_lines;
            lines.drain(from..(from + count).min(open_lines));
            return joined(&lines);
        }
        Mutation::Swap { one, other } => {
            let count = lines.len();
            lines.swap(one % count, other % count);
            return joined(&lines);
        }
        Mutation::Repeat { line, before } => {
            let copy = lines[line % lines.len()];
            lines.insert(before % lines.len(), copy);
            return joined(&lines);
        }
    }
    bytes
}

/// Fails when any change, removal, move or repetition in a trail goes unnoticed.
#[tokio::test]
async fn whatever_is_done_to_a_trail_shows() {
    let (scene, texts) = two_files(AUDIT).await;
    let folder = tempfile::tempdir().unwrap();
    let paths = ["1", "2"].map(|name| folder.path().join(name));
    let put = |texts: [&[u8]; 2]| {
        for (path, text) in paths.iter().zip(texts) {
            fs::write(path, text).unwrap();
        }
    };
    put([texts[0].as_bytes(), texts[1].as_bytes()]);
    assert_eq!(run(folder.path(), &["1", "2"]).0, 0);
    let last_hash = verify(&paths, &Seal::Plain, None).unwrap().last_hash;
    let mut runner = TestRunner::new(Config { cases: 2000, ..Config::default() });
    let by_command = std::cell::Cell::new(0);
    runner
        .run(&(0..2usize, mutations()), |(file, mutation)| {
            // The end of the first file is known to the second.
            let keep = if file == 1 { 1 } else { 0 };
            let changed = mutated(&texts[file], &mutation, keep);
            if changed == texts[file].as_bytes() {
                return Ok(());
            }
            let mut both = [texts[0].as_bytes(), texts[1].as_bytes()];
            both[file] = &changed;
            put(both);
            // Lines that are taken from the end alone show only against a known hash.
            let is_shorter = file == 1 && texts[1].as_bytes().starts_with(&changed);
            let known = is_shorter.then_some(last_hash);
            let found = verify(&paths, &Seal::Plain, known);
            // A last line that has lost only its end is whole: a crash leaves that too, and it is
            // told of.
            let is_told = found.as_ref().is_ok_and(|found| !found.cut_off.is_empty());
            let is_whole = changed == texts[file].trim_end().as_bytes();
            prop_assert!(found.is_err() || (is_told && is_whole), "{found:?}");
            if found.is_err() && !is_shorter && by_command.get() < 20 {
                by_command.set(by_command.get() + 1);
                let (exit, said) = run(folder.path(), &["1", "2"]);
                prop_assert_eq!(exit, 1, "{}", said);
            }
            Ok(())
        })
        .unwrap();
    drop(scene);
}

/// Fails when a line may end in another way than it was written.
#[tokio::test]
async fn whatever_is_done_to_the_end_of_a_line_shows() {
    let (scene, texts) = two_files(AUDIT).await;
    let folder = tempfile::tempdir().unwrap();
    let paths = ["1", "2"].map(|name| folder.path().join(name));
    let judge = |file: usize, changed: &[u8]| {
        for (number, path) in paths.iter().enumerate() {
            fs::write(path, if number == file { changed } else { texts[number].as_bytes() })
                .unwrap();
        }
        let found = verify(&paths, &Seal::Plain, None);
        assert!(
            found.is_err(),
            "{file}: ...{:?}: {found:?}",
            &changed[changed.len() - 5..].escape_ascii().to_string()
        );
    };
    for (file, text) in texts.iter().enumerate() {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        // A changed end of the last line of all is that of a line that was cut off.
        let ends = ends.filter(|(at, _)| file == 0 || *at + 1 < text.len());
        for (at, _) in ends {
            for byte in 0..=255 {
                let (before, after) = text.as_bytes().split_at(at);
                judge(file, &[before, &[byte], after].concat());
                if byte != b'\n' {
                    judge(file, &[before, &[byte], &after[1..]].concat());
                }
            }
        }
    }
    drop(scene);
}

/// The trail with one line changed and every hash made anew, as somebody without the key can.
fn made_anew(texts: &[String; 2]) -> [String; 2] {
    let mut previous = Hash::NONE.to_string();
    texts.each_ref().map(|text| {
        let again = |line: &str| {
            let (content, _) = line.split_once(",\"hash\":").unwrap();
            let content = content.replace("\"method\":\"GET\"", "\"method\":\"PUT\"");
            let content = match content.split_once("\"previous\":\"") {
                Some((before, after)) => {
                    format!("{before}\"previous\":\"{previous}{}", &after[64..])
                }
                None => content,
            };
            let hashed = [previous.as_bytes(), content.as_bytes()].concat();
            let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &hashed);
            previous = data_encoding::HEXLOWER.encode(hash.as_ref());
            format!("{content},\"hash\":\"{previous}\"}}\n")
        };
        text.lines().map(again).collect()
    })
}

/// Fails when whoever can write the files of a keyed trail can also make its chain anew.
#[tokio::test]
async fn a_chain_with_a_key_cannot_be_made_anew() {
    const KEY: &str = "a key of thirty-two bytes, or more";
    let keyed = format!("{AUDIT}key = {{ file = \"audit_key\" }}\n");
    for (tables, exits) in [(AUDIT, [0, 0]), (keyed.as_str(), [0, 1])] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "audit_key", KEY);
        let path = folder.path().join("audit_key");
        let tables = tables.replace("audit_key", path.to_str().unwrap());
        let (scene, texts) = two_files(&tables).await;
        let is_keyed = exits[1] == 1;
        let key = ["--key-file", path.to_str().unwrap()];
        let verify = || {
            let files = ["1", "audit.jsonl"];
            let arguments = if is_keyed { [&key[..], &files].concat() } else { files.to_vec() };
            run(scene.folder.path(), &arguments)
        };
        assert_eq!(verify().0, exits[0]);
        if is_keyed {
            let secrets = [KEY.to_owned()];
            let (exit, said) = run(scene.folder.path(), &["1"]);
            assert_eq!((exit, said.contains("sealed with a key")), (1, true), "{said}");
            let leaked = leaks(&secrets, texts.concat().as_bytes()).len();
            assert_eq!(leaked, 0, "the key stands in the trail");
        }
        for (name, text) in ["1", "audit.jsonl"].iter().zip(made_anew(&texts)) {
            write(scene.folder.path(), name, &text);
        }
        let (exit, said) = verify();
        assert_eq!(exit, exits[1], "{said}");
    }
}

/// Fails when a trail does not go on after a crash at any byte, when that passes for tampering, or
/// when something that was written before is lost by it.
#[tokio::test]
async fn a_trail_goes_on_after_a_crash_at_any_byte() {
    let scene = Setup::of(Vendor::Contentstack).tables(AUDIT).start().await;
    told(&scene, TYPES).await;
    let scene = stopped(scene).await;
    let whole = fs::read(trail(&scene)).unwrap();
    let path = scene.folder.path().join("crash");
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let line = doorward::audit::cleared("cms", "editor", "quarantined", 3);
        // Twice: what closes the half line is whole itself.
        for _ in 0..2 {
            let mut trail = Trail::open(&path, Seal::Plain).unwrap();
            trail.append(std::slice::from_ref(&line)).unwrap();
        }
        let found = verify(std::slice::from_ref(&path), &Seal::Plain, None);
        let found = found.unwrap_or_else(|broken| panic!("cut at {length}: {broken}"));
        let before = &whole[..length];
        let ended = before.iter().filter(|byte| **byte == b'\n').count() as u64;
        let is_whole = before.ends_with(b"}");
        let is_cut = !matches!(before.last(), None | Some(b'\n')) && !is_whole;
        assert_eq!(found.cut_off.len(), usize::from(is_cut), "cut at {length}");
        let header = u64::from(ended == 0 && !is_whole);
        let about_the_cut = u64::from(is_cut && header == 0);
        let expected = ended + u64::from(is_whole) + header + about_the_cut + 2;
        assert_eq!(found.lines, expected, "cut at {length}");
        // Not even what the crash left can be changed later.
        if is_cut {
            let mut bytes = fs::read(&path).unwrap();
            bytes[length - 1] ^= 1;
            fs::write(&path, bytes).unwrap();
            let found = verify(std::slice::from_ref(&path), &Seal::Plain, None);
            assert!(found.is_err(), "cut at {length}: {found:?}");
        }
    }
}

/// Fails when the next start does not close what a crash has cut off.
#[tokio::test]
async fn a_crash_is_told_apart_from_tampering() {
    let scene = Setup::of(Vendor::Contentstack).tables(AUDIT).start().await;
    told(&scene, TYPES).await;
    let mut scene = stopped(scene).await;
    let length = fs::metadata(trail(&scene)).unwrap().len();
    OpenOptions::new().write(true).open(trail(&scene)).unwrap().set_len(length - 40).unwrap();
    let (exit, said) = run(scene.folder.path(), &["audit.jsonl"]);
    assert_eq!(exit, 0, "{said}");
    assert!(said.contains("cut off    audit.jsonl:"), "{said}");
    scene.start_again();
    told(&scene, TYPES).await;
    let scene = stopped(scene).await;
    let (exit, said) = run(scene.folder.path(), &["audit.jsonl"]);
    assert_eq!(exit, 0, "{said}");
    assert!(said.contains("cut off    audit.jsonl:"), "{said}");
    let text = fs::read_to_string(trail(&scene)).unwrap();
    assert!(text.contains("\"event\":\"cut_off\""), "{text}");
}

/// Fails when lines are lost without a word, or when requests are not answered although the trail
/// cannot be written.
#[tokio::test]
async fn lines_that_cannot_be_written_are_counted() {
    let scene = Setup::of(Vendor::Contentstack).tables(AUDIT).start().await;
    told(&scene, TYPES).await;
    let path = trail(&scene);
    let first = scene.folder.path().join("1");
    fs::rename(&path, &first).unwrap();
    // Not even root can append to a folder.
    fs::create_dir(&path).unwrap();
    let lost = 3;
    for _ in 0..lost {
        assert_eq!(call(&scene, TYPES).send().await.status, 200);
    }
    let is_event = |is: fn(&AuditTrouble) -> bool| {
        let events = scene.events();
        events.iter().filter(|event| matches!(event, Event::Audit(one) if is(one))).count()
    };
    let unwritable = |one: &AuditTrouble| matches!(one, AuditTrouble::Unwritable { .. });
    until("it is told", || is_event(unwritable) == 1).await;
    let requests = || {
        let events = scene.events();
        events.iter().filter(|event| matches!(event, Event::Request(_))).count()
    };
    until("all requests are reported", || requests() == lost + 1).await;
    fs::remove_dir(&path).unwrap();
    told(&scene, TYPES).await;
    until("it is told", || is_event(|one| matches!(one, AuditTrouble::Lost { .. })) == 1).await;
    let scene = stopped(scene).await;
    let found = verify(&[first.clone(), path.clone()], &Seal::Plain, None).unwrap();
    let written = lines(&first).into_iter().chain(lines(&path));
    let written = written.filter(|line| line["event"] == "request").count() as u64;
    // Those that waited when the folder went have lines.
    assert_eq!(found.lost + written, lost as u64 + 2);
    assert!(found.lost > 0, "{found:?}");
    let (exit, said) = run(scene.folder.path(), &["1", "audit.jsonl"]);
    assert_eq!(exit, 0, "{said}");
    assert!(said.contains(&format!("lost       {} line", found.lost)), "{said}");
    assert_eq!(is_event_count(&scene), 2);
}

fn is_event_count(scene: &Scene) -> usize {
    scene.events().iter().filter(|event| matches!(event, Event::Audit(_))).count()
}

/// The binary with the scene's configuration, and files of at most so many blocks: a write beyond
/// that is cut short and refused, as on a full disk.
async fn run_with_little_disk(folder: &Path, blocks: u32) -> (tokio::process::Child, Door) {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" run -c doorward.toml");
    let mut child = Command::new("sh")
        .args(["-c", &script, env!("CARGO_BIN_EXE_doorward")])
        .current_dir(folder)
        .env_clear()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = loop {
        let line = within(said.next_line()).await.unwrap().unwrap();
        if let Some((address, _)) =
            line.strip_prefix("listening on http://").and_then(|rest| rest.split_once(' '))
        {
            break address.parse().unwrap();
        }
    };
    // Whatever it says later has a place to go.
    tokio::spawn(async move { while let Ok(Some(_)) = said.next_line().await {} });
    (child, Door { address: Address::Tcp(address), authority_pem: None })
}

/// Fails when a disk that takes a part of a line breaks the chain, or when nobody is told.
#[tokio::test]
async fn a_full_disk_leaves_a_chain_that_holds() {
    let scene = stopped(Setup::of(Vendor::Contentstack).tables(AUDIT).start().await).await;
    let folder = scene.folder.path();
    fs::remove_file(trail(&scene)).unwrap();
    let (mut child, door) = run_with_little_disk(folder, 4).await;
    let mut errors = BufReader::new(child.stderr.take().unwrap()).lines();
    let ask = || Call::new(door.clone(), Record::default(), "GET", TYPES).send();
    let full = async {
        while let Some(line) = errors.next_line().await.unwrap() {
            if line.contains("the audit trail cannot be written: its lines are lost") {
                return;
            }
        }
        panic!("nobody was told");
    };
    let asking = async {
        loop {
            ask().await;
        }
    };
    within(async {
        tokio::select! {
            () = full => {}
            () = asking => {}
        }
    })
    .await;
    // An operator makes room.
    fs::rename(trail(&scene), folder.join("1")).unwrap();
    assert_ne!(fs::read(folder.join("1")).unwrap().last(), Some(&b'\n'), "no line was cut off");
    ask().await;
    let id = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
    assert!(within(child.wait()).await.unwrap().success());
    let (exit, said) = run(folder, &["1", "audit.jsonl"]);
    assert_eq!(exit, 0, "{said}");
    assert!(said.contains("cut off    1:") && said.contains("\nlost       "), "{said}");
}
