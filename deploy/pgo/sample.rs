//! What layout.py tries BOLT out on: panics that are caught, a table of jumps, a thread, and places told by line tables.

use std::backtrace::Backtrace;
use std::collections::HashMap;
use std::hint::black_box;
use std::panic;
use std::thread;

const NUMBERS: u64 = 20_000;

#[inline(never)]
fn kind(number: u64) -> &'static str {
    match number % 9 {
        0 => "nothing",
        1 => "one",
        2 | 4 => "even",
        3 => "three",
        5 => "five of them",
        6 => "six",
        7 => panic!("seven"),
        _ => "eight",
    }
}

#[inline(never)]
fn counted(from: u64) -> HashMap<&'static str, u64> {
    let mut counts = HashMap::new();
    for number in from..from + NUMBERS {
        let kind = panic::catch_unwind(|| kind(black_box(number))).unwrap_or("panic");
        *counts.entry(kind).or_default() += 1;
    }
    counts
}

/// The lines of this file that lead here.
#[inline(never)]
fn places() -> Vec<String> {
    let trace = Backtrace::force_capture().to_string();
    let ours = trace.lines().filter_map(|line| line.rsplit_once("sample.rs"));
    ours.map(|(_, place)| place.to_owned()).collect()
}

fn main() {
    panic::set_hook(Box::new(|_| {}));
    let other = thread::spawn(|| counted(NUMBERS));
    let here = counted(0);
    let there = other.join().unwrap_or_default();
    let mut all: Vec<_> = here.into_iter().chain(there).collect();
    all.sort_unstable();
    println!("{all:?} {:?}", places());
}
