//! The queue, and what holds of it whatever happens.

use std::collections::{HashMap, HashSet};
use std::rc::{Rc, Weak};
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const READ: Kind = Kind::Read;
const WRITE: Kind = Kind::Write;

fn start() -> Moment {
    Moment::default() + Duration::from_secs(1000)
}

fn after(milliseconds: u64) -> Moment {
    start() + Duration::from_millis(milliseconds)
}

fn never() -> Moment {
    start() + Duration::from_secs(100_000)
}

fn rate(per_second: u32, burst: u32) -> Option<Rate> {
    Some(Rate { interval: Duration::from_secs(1) / per_second, burst })
}

fn together(rate: Option<Rate>, waiting_max: usize) -> Bounds {
    Bounds { rates: Rates::Together(rate), in_flight_max: None, waiting_max }
}

/// Fails when a client with many requests that wait goes more often than one with few.
#[test]
fn a_greedy_client_starves_nobody() {
    let mut fair = Fair::new(together(rate(10, 1), 2000), start());
    assert_eq!(fair.ask((0, READ), start(), never(), 0), Asked::Go);
    for _ in 0..1000 {
        assert!(matches!(fair.ask((0, READ), start(), never(), 0), Asked::Waits(_)));
    }
    for modest in 1..10 {
        fair.ask((modest, READ), start(), never(), modest);
    }
    let mut gone = Vec::new();
    for tenth in 1..=20 {
        gone.extend(fair.next(after(100 * tenth)));
        assert!(fair.next(after(100 * tenth)).is_none(), "faster than the rate");
    }
    let modest: Vec<_> = gone.iter().filter(|who| **who != 0).collect();
    assert_eq!(modest.len(), 9);
    assert!(gone.iter().take(10).filter(|who| **who == 0).count() <= 1, "{gone:?}");
}

#[test]
fn a_pause_holds_for_everybody() {
    let mut fair = Fair::new(together(None, 10), start());
    fair.pause(None, after(5000));
    fair.pause(None, after(2000));
    assert!(matches!(fair.ask((1, WRITE), start(), never(), 1), Asked::Waits(_)));
    assert_eq!(fair.look_at(), Some(after(5000)));
    assert_eq!(fair.next(after(4000)), None);
    assert_eq!(fair.next(after(5000)), Some(1));
    assert_eq!(fair.ask((1, READ), after(5000), never(), 1), Asked::Go);
}

/// Fails when a request that is too late takes another one's turn.
#[test]
fn who_is_too_late_costs_nothing() {
    let mut fair = Fair::new(together(rate(1, 1), 10), start());
    assert_eq!(fair.ask((0, READ), start(), never(), 0), Asked::Go);
    for (who, deadline) in [(1, 5000), (1, 5000), (2, 5000), (1, 100_000)] {
        fair.ask((who, READ), start(), after(deadline), who);
    }
    assert_eq!(fair.next(after(5000)), Some(1));
    assert_eq!((fair.next(after(5000)), fair.waiting()), (None, 0));
}

/// Fails when a client that fills the queue keeps the others out of it, whatever its requests do.
#[test]
fn a_full_queue_has_room_for_a_client_with_fewer() {
    for rates in [Rates::Together(rate(1, 1)), apart(1, 1)] {
        let bounds = Bounds { rates, in_flight_max: None, waiting_max: 4 };
        let mut fair = Fair::new(bounds, start());
        assert_eq!(fair.ask((0, READ), start(), never(), 0), Asked::Go);
        for request in 1..=4 {
            let asked = fair.ask((0, READ), start(), never(), request);
            assert!(matches!(asked, Asked::Waits(_)));
        }
        assert_eq!(fair.ask((0, READ), start(), never(), 5), Asked::Full);
        assert!(matches!(fair.ask((1, READ), start(), never(), 10), Asked::Waits(_)));
        assert!(matches!(fair.ask((2, READ), start(), never(), 20), Asked::Waits(_)));
        // Nobody is pushed out for one who would then have as many.
        assert_eq!(fair.ask((1, READ), start(), never(), 11), Asked::Full);
        assert_eq!(fair.waiting(), 4);
        let gone: Vec<_> = (1..=5).filter_map(|second| fair.next(after(1000 * second))).collect();
        assert_eq!(gone, [1, 10, 20, 2], "the last ones of the greedy client gave way");
    }
}

fn apart(reads: u32, writes: u32) -> Rates {
    Rates::Apart { reads: rate(reads, 1), writes: rate(writes, 1) }
}

/// Fails when writes that wait hold up reads with tokens left, or the other way round.
#[test]
fn reads_and_writes_that_count_apart_do_not_wait_for_each_other() {
    let bounds = Bounds { rates: apart(10, 1), in_flight_max: Some(100), waiting_max: 10 };
    let mut fair = Fair::new(bounds, start());
    assert_eq!(fair.ask((0, WRITE), start(), never(), "write"), Asked::Go);
    assert!(matches!(fair.ask((0, WRITE), start(), never(), "write"), Asked::Waits(_)));
    assert_eq!(fair.ask((0, READ), start(), never(), "read"), Asked::Go);
    assert!(matches!(fair.ask((0, READ), start(), never(), "read"), Asked::Waits(_)));
    assert_eq!(fair.look_at(), Some(after(100)), "a read is due first");
    assert_eq!((fair.next(after(100)), fair.next(after(100))), (Some("read"), None));
    assert_eq!(fair.next(after(1000)), Some("write"));
    // A pause of writes is none of reads.
    fair.pause(Some(WRITE), after(9000));
    assert_eq!(fair.ask((0, READ), after(2000), never(), "read"), Asked::Go);
    assert!(matches!(fair.ask((0, WRITE), after(2000), never(), "write"), Asked::Waits(_)));
}

/// Fails when many of one kind take every place that becomes free, or when one that comes takes a
/// place that another one waits for.
#[test]
fn places_go_to_reads_and_writes_by_turns() {
    let rates = Rates::Apart { reads: None, writes: None };
    let bounds = Bounds { rates, in_flight_max: Some(1), waiting_max: 10 };
    let mut fair = Fair::new(bounds, start());
    assert_eq!(fair.ask((0, READ), start(), never(), READ), Asked::Go);
    for kind in [READ, READ, READ, WRITE] {
        fair.ask((0, kind), start(), never(), kind);
    }
    fair.ended();
    assert!(matches!(fair.ask((1, WRITE), start(), never(), WRITE), Asked::Waits(_)));
    let mut gone = Vec::new();
    for _ in 0..5 {
        gone.extend(fair.next(start()));
        assert_eq!(fair.next(start()), None, "there is one place");
        fair.ended();
    }
    assert_eq!(gone, [READ, WRITE, READ, WRITE, READ]);
}

/// Fails when a client is told of the next token where others with as many requests come first.
#[test]
fn a_turn_comes_after_those_that_are_first() {
    let mut fair = Fair::new(together(rate(10, 1), 100), start());
    fair.ask((0, READ), start(), never(), 0);
    for _ in 0..50 {
        fair.ask((0, READ), start(), never(), 0);
    }
    assert_eq!(fair.turn_at((1, READ)), after(200), "after one of the other client");
    fair.ask((1, READ), start(), never(), 1);
    assert_eq!(fair.turn_at((1, READ)), after(400));
    assert_eq!(fair.turn_at((0, READ)), after(5200));
}

#[derive(Clone, Debug)]
enum Act {
    Ask(Who, Kind, Option<u64>),
    End,
    Leave(prop::sample::Index),
    Pause(Option<Kind>, u64),
}

fn acts() -> impl Strategy<Value = Vec<(u64, Act)>> {
    let kind = || prop::sample::select(vec![READ, WRITE]);
    let deadline = prop::option::weighted(0.2, 1..500_u64);
    let act = prop_oneof![
        6 => (0..4_u32, kind(), deadline).prop_map(|(who, kind, end)| Act::Ask(who, kind, end)),
        3 => Just(Act::End),
        1 => any::<prop::sample::Index>().prop_map(Act::Leave),
        1 => (prop::option::of(kind()), 1..300_u64).prop_map(|(kind, time)| Act::Pause(kind, time)),
    ];
    prop::collection::vec((0..200_u64, act), 1..200)
}

/// One that waits, and what would wake it.
struct Waits {
    who: Who,
    kind: Kind,
    ticket: u64,
    deadline: Moment,
    wake: Weak<u64>,
}

proptest! {
    /// Whatever happens: never more under way than may be, never more in any window than the rate
    /// and its burst, nobody goes during a pause, no client goes twice while another one of its kind
    /// waits for a first time, nobody is lost, and nothing is left behind.
    #[test]
    fn bounds_hold_in_any_order(
        acts in acts(),
        most in 1..4_u32,
        burst in 1..4_u32,
        is_apart in any::<bool>(),
    ) {
        let rates = match is_apart {
            true => Rates::Apart { reads: rate(10, burst), writes: rate(5, burst) },
            false => Rates::Together(rate(10, burst)),
        };
        let bounds = Bounds { rates, in_flight_max: Some(most), waiting_max: 8 };
        let (mut fair, mut now) = (Fair::new(bounds, start()), start());
        let mut waiting: Vec<Waits> = Vec::new();
        let (mut under_way, mut went, mut number) = (0, Vec::new(), 0_u64);
        let mut paused = HashMap::new();
        // By queue and client: who has gone since this client went or began to wait.
        let mut passed: HashMap<_, HashSet<Who>> = HashMap::new();
        // At the end time passes until everybody has gone.
        let rest = (0..200).map(|_| (200, Act::End));
        for (wait, act) in acts.into_iter().chain(rest) {
            now = now + Duration::from_millis(wait);
            match act {
                Act::Ask(who, kind, end) => {
                    number += 1;
                    let wake = Rc::new(number);
                    let woken_by = Rc::downgrade(&wake);
                    let deadline = end.map_or(never(), |end| now + Duration::from_millis(end));
                    match fair.ask((who, kind), now, deadline, wake) {
                        Asked::Go => {
                            let behind = waiting.iter().any(|one| {
                                let same = rates.kind(one.kind) == rates.kind(kind);
                                one.deadline > now && same
                            });
                            prop_assert!(!behind, "one that came later went first");
                            under_way += 1;
                            went.push((now, kind));
                        }
                        Asked::Waits(ticket) => {
                            let before = waiting.len();
                            waiting.retain(|one| {
                                one.wake.strong_count() > 0 || one.deadline <= now
                            });
                            let late = waiting.iter().filter(|one| one.deadline <= now).count();
                            prop_assert!(waiting.len() >= before.min(7).saturating_sub(late));
                            waiting.retain(|one| one.wake.strong_count() > 0);
                            waiting.push(Waits { who, kind, ticket, deadline, wake: woken_by });
                        }
                        Asked::Full => prop_assert!(waiting.len() >= 8),
                    }
                }
                Act::End if under_way > 0 => { fair.ended(); under_way -= 1; }
                Act::End => {}
                Act::Leave(which) if !waiting.is_empty() => {
                    let one = waiting.swap_remove(which.index(waiting.len()));
                    fair.leave(one.who, one.ticket);
                    prop_assert_eq!(one.wake.strong_count(), 0, "it left something behind");
                }
                Act::Leave(_) => {}
                Act::Pause(kind, time) => {
                    let until = now + Duration::from_millis(time);
                    let kind = kind.and_then(|kind| rates.kind(kind));
                    fair.pause(kind, until);
                    for kind in kinds(kind) {
                        let end = paused.entry(kind.as_str()).or_insert(until);
                        *end = until.max(*end);
                    }
                }
            }
            while let Some(wake) = fair.next(now) {
                waiting.retain(|one| one.wake.strong_count() > 0);
                let place = waiting.iter().position(|one| one.wake.upgrade().as_ref() == Some(&wake));
                prop_assert!(place.is_some(), "{} does not wait", wake);
                let one = waiting.remove(place.unwrap_or_default());
                prop_assert!(one.deadline > now, "it is too late for it");
                let until = paused.get(one.kind.as_str()).copied().unwrap_or_default();
                prop_assert!(until <= now, "it went during a pause");
                let lane = rates.kind(one.kind).map(Kind::as_str);
                passed.remove(&(lane, one.who));
                let others = waiting.iter().filter(|other| {
                    other.who != one.who && rates.kind(other.kind) == rates.kind(one.kind)
                });
                for other in others.map(|other| other.who).collect::<HashSet<_>>() {
                    let by: &mut HashSet<_> = passed.entry((lane, other)).or_default();
                    prop_assert!(by.insert(one.who), "{} was passed twice by {}", other, one.who);
                }
                under_way += 1;
                went.push((now, one.kind));
            }
            waiting.retain(|one| one.wake.strong_count() > 0);
            passed.retain(|(lane, who), _| {
                let waits = |one: &Waits| rates.kind(one.kind).map(Kind::as_str) == *lane;
                waiting.iter().any(|one| one.who == *who && waits(one))
            });
            prop_assert_eq!(fair.waiting(), waiting.len(), "one is lost");
            prop_assert!(under_way <= most);
        }
        prop_assert_eq!(fair.waiting(), 0, "somebody waits for ever");
        while under_way > 0 { fair.ended(); under_way -= 1; }
        prop_assert_eq!(fair.in_flight, 0, "a place is lost");
        prop_assert!(fair.reads.is_clean() && fair.writes.is_clean(), "something is left behind");
        // In any window, the rate and its burst.
        for kind in [READ, WRITE] {
            let same = |(_, other): &&(Moment, Kind)| rates.kind(*other) == rates.kind(kind);
            let counted: Vec<_> = went.iter().filter(same).collect();
            let interval = rates.of(kind).map(|rate| rate.interval).unwrap_or_default();
            for (place, (first, _)) in counted.iter().enumerate() {
                for (more, (last, _)) in counted[place..].iter().enumerate() {
                    let time = last.saturating_since(*first);
                    let may = u128::from(burst) + time.as_nanos() / interval.as_nanos();
                    prop_assert!((more as u128) < may, "{} in {:?}", more + 1, time);
                }
            }
        }
    }
}

/// Fails when a change of the bounds loses somebody who waits, or gives more than was left.
#[test]
fn other_bounds_lose_nobody_and_give_nobody_more() {
    let bounds = |rates| Bounds { rates, in_flight_max: None, waiting_max: 10 };
    let mut fair = Fair::new(bounds(apart(1, 1)), start());
    for (kind, request) in [(READ, 1), (WRITE, 2), (READ, 3), (WRITE, 4)] {
        fair.ask((request, kind), start(), never(), request);
    }
    assert_eq!(fair.waiting(), 2);
    // Reads and writes in one queue.
    fair.set(bounds(Rates::Together(rate(1, 5))), start());
    assert_eq!((fair.waiting(), fair.next(start())), (2, None), "a larger burst");
    // And apart again, at another rate.
    fair.set(bounds(apart(10, 5)), start());
    assert_eq!((fair.waiting(), fair.next(start())), (2, None), "by going back");
    let gone: Vec<_> = (1..=2).filter_map(|tenth| fair.next(after(100 * tenth))).collect();
    assert_eq!((gone.len(), fair.waiting()), (2, 0));
    // Without a rate nobody has to wait.
    fair.set(bounds(Rates::Together(None)), after(200));
    assert_eq!(fair.ask((1, READ), after(200), never(), 5), Asked::Go);
}
