//! What is promised of stories: their order, what is left of old ones, and that counts are told once.

use std::thread;

use super::slot::PATH_BYTES_MAX;
use super::*;

/// The start of all clocks here, in seconds since 1970.
const START: u64 = 1_800_000_000;

fn stories(kept_max: usize) -> Stories {
    let stories = Stories::new(kept_max);
    stories.set_wall(Duration::ZERO, UNIX_EPOCH + Duration::from_secs(START));
    stories
}

fn id() -> RequestId {
    RequestIds::default().next()
}

/// A request that ended so many microseconds after the start.
pub(crate) fn note<'a>(id: &'a RequestId, ended: u64, path: &'a str) -> Note<'a> {
    Note {
        ended: Duration::from_micros(ended),
        id,
        client: None,
        peer: None,
        upstream: None,
        account: None,
        method: &Method::GET,
        path,
        decision: Decision::Forwarded,
        status: StatusCode::OK,
        reason: "forwarded",
        generation: None,
        is_replayed: false,
        refused: None,
        is_awaited: false,
        waited: None,
        session_after: None,
        head_after: None,
        took: Duration::from_millis(5),
        body_bytes: 0,
        redacted: 0,
    }
}

fn paths(stories: &Stories) -> Vec<String> {
    stories.newest_first().into_iter().map(|story| story.path).collect()
}

/// What was counted: requests of all, and by the names of upstreams and clients.
#[derive(Debug, Default, PartialEq)]
struct Sums {
    all: u64,
    upstreams: Vec<(String, u64)>,
    clients: Vec<(String, Seen)>,
}

fn counted(stories: &Stories) -> Sums {
    let Sums { mut all, mut upstreams, mut clients } = Sums::default();
    stories.take_counts(
        |upstream, counts| {
            all += counts.requests;
            upstreams.extend(upstream.map(|name| (name.to_string(), counts.requests)));
        },
        |name, seen| clients.push((name.to_string(), seen)),
    );
    Sums { all, upstreams, clients }
}

/// Fails when cores come one behind the other, when more is told than is kept of all together, or when
/// what comes meanwhile moves what was told.
#[test]
fn stories_of_two_cores_are_merged_and_their_numbers_stay() {
    let (stories, ids) = (stories(3), [RequestIds::default(), RequestIds::default()]);
    let books = ids.each_ref().map(|ids| stories.book(ids));
    for (core, ended, path) in [(0, 10, "/a"), (1, 20, "/b"), (1, 30, "/c"), (0, 40, "/d")] {
        let at = books[core].write(note(&ids[core].next(), ended, path));
        let start = UNIX_EPOCH + Duration::from_secs(START);
        assert_eq!(at.duration_since(start).unwrap(), Duration::from_micros(ended));
    }
    assert_eq!(paths(&stories), ["/d", "/c", "/b"]);
    let before = stories.newest_first();
    assert!(before.is_sorted_by(|one, other| one.number > other.number), "{before:?}");
    assert_eq!(before[2].id.as_str(), ids[1].prefix().id(0).as_str());
    // At the same time at both, and twice at one.
    for core in [0, 1, 1] {
        books[core].write(note(&id(), 50, "/e"));
    }
    let after = stories.newest_first();
    assert_eq!(after.len(), 3);
    assert!(after.is_sorted_by(|one, other| one.number > other.number), "{after:?}");
    assert!(after.iter().all(|story| story.number > before[0].number), "{after:?}");
}

/// Fails when the places of a ring are mixed up where it begins anew, or a reader that was overtaken is
/// shown a story in the place of another one.
#[test]
fn the_oldest_makes_room_whatever_is_kept() {
    for kept_max in [1, 2, 63, 64, 65, 200] {
        let (stories, ids) = (stories(kept_max), RequestIds::default());
        let book = stories.book(&ids);
        for number in 1..=500_u64 {
            book.write(note(&ids.next(), number, "/"));
            if number % 50 == 0 {
                let ended: Vec<_> =
                    stories.newest_first().iter().map(|story| story.number >> CORE_BITS).collect();
                let kept = number.min(kept_max as u64);
                let expected: Vec<_> = (number - kept + 1..=number).rev().collect();
                assert_eq!(ended, expected, "{kept_max}");
            }
        }
    }
}

/// Fails when something of a request is told as another one's.
#[test]
fn a_story_that_is_written_over_leaves_nothing() {
    let (stories, ids) = (stories(1), RequestIds::default());
    let book = stories.book(&ids);
    let upstream = book.upstream(&Arc::from("cms"), [(7, &Arc::from("editor"))]);
    let long = format!("/{}", "é".repeat(PATH_BYTES_MAX));
    let some = Some(Duration::from_millis(3));
    let brew = Method::from_bytes(b"BREW").unwrap();
    let refused = Refused { generation: 4, status: StatusCode::UNAUTHORIZED };
    let first = || Note {
        client: Some((1, Arc::from("alice"))),
        peer: Some(IpAddr::from([192, 0, 2, 1])),
        upstream: Some(upstream),
        account: Some(7),
        method: &brew,
        decision: Decision::Refused,
        status: StatusCode::BAD_GATEWAY,
        generation: Some(5),
        is_replayed: true,
        refused: Some(refused),
        is_awaited: true,
        waited: some,
        session_after: some,
        head_after: some,
        body_bytes: 9,
        redacted: 2,
        ..note(some_id(), 1, &long)
    };
    book.write(first());
    let story = &stories.newest_first()[0];
    assert_eq!((&story.path, &story.method, story.redacted), (&long, &brew, 2));
    assert_eq!((story.refused, story.status, story.generation), (Some(refused), 502, Some(5)));
    assert_eq!((story.client.as_deref(), story.peer.is_some()), (Some("alice"), true));
    let names = (story.upstream.as_deref(), story.account.as_deref());
    assert_eq!(names, (Some("cms"), Some("editor")));
    assert_eq!([story.waited, story.session_after, story.head_after], [some; 3]);
    assert_eq!(stories.awaited(), [(Arc::from("cms"), 5)]);

    for (ended, path) in [(2, "/short"), (3, ""), (4, &*"/x".repeat(PATH_BYTES_MAX / 2))] {
        book.write(first());
        book.write(note(some_id(), ended, path));
        let all = stories.newest_first();
        let [story] = &*all else { panic!("{all:?}") };
        assert_eq!((&*story.path, &story.method), (path, &Method::GET));
        let expected = Story { id: story.id.clone(), ..plain(story.number, story.at, path) };
        assert_eq!(format!("{story:?}"), format!("{expected:?}"));
        assert!(stories.awaited().is_empty());
    }
    // A long path over a longer one, and over none.
    for path in ["/y".repeat(PATH_BYTES_MAX), "/z".repeat(1000), "/w".repeat(PATH_BYTES_MAX)] {
        book.write(note(some_id(), 9, &path));
        assert_eq!(paths(&stories), [path]);
    }
    // One that is as long as a head may be takes no such memory.
    book.write(note(some_id(), 10, &format!("/{}", "é".repeat(30_000))));
    assert_eq!(paths(&stories), [format!("/{}…", "é".repeat(1023))]);
}

fn some_id() -> &'static RequestId {
    static ID: std::sync::LazyLock<RequestId> = std::sync::LazyLock::new(id);
    &ID
}

/// What is told of a request of [`note`].
fn plain(number: u64, at: SystemTime, path: &str) -> Story {
    Story {
        number,
        at,
        id: id(),
        client: None,
        peer: None,
        upstream: None,
        account: None,
        method: Method::GET,
        path: path.to_owned(),
        decision: Decision::Forwarded,
        status: 200,
        reason: "forwarded",
        generation: None,
        replayed: false,
        refused: None,
        awaited: false,
        waited: None,
        session_after: None,
        head_after: None,
        took: Duration::from_millis(5),
        body_bytes: 0,
        redacted: 0,
    }
}

/// Fails when a count is lost between cores or told twice, or an upstream gets another one's after the
/// configuration was read again.
#[test]
fn what_was_counted_is_told_once_and_from_all_cores() {
    let (stories, ids) = (stories(2), RequestIds::default());
    let books = [stories.book(&ids), stories.book(&ids)];
    let (cms, reports): (Arc<str>, Arc<str>) = (Arc::from("cms"), Arc::from("reports"));
    let first = [books[0].upstream(&cms, []), books[1].upstream(&reports, [])];
    for (book, upstream) in books.iter().zip(first) {
        book.write(note(&id(), 1, "/"));
        book.write(Note { upstream: Some(upstream), ..note(&id(), 2, "/") });
    }
    // Another configuration names them in another order.
    let again = [books[1].upstream(&cms, []), books[1].upstream(&reports, [])];
    assert_eq!(again[1], first[1]);
    books[1].write(Note { upstream: Some(again[0]), ..note(&id(), 3, "/") });
    let Sums { all, mut upstreams, .. } = counted(&stories);
    upstreams.sort();
    let expected = [("cms", 1), ("cms", 1), ("reports", 1)];
    assert_eq!(upstreams, expected.map(|(name, count)| (name.to_owned(), count)));
    assert_eq!(all, 5);
    assert_eq!(counted(&stories), Sums::default());
    // What is counted into is exchanged each time.
    for _ in 0..3 {
        books[0].write(Note { upstream: Some(first[0]), ..note(&id(), 4, "/") });
        let upstreams = vec![("cms".to_owned(), 1)];
        assert_eq!(counted(&stories), Sums { all: 1, upstreams, clients: Vec::new() });
    }
}

/// Fails when a client is not known again, or its last request is not the last one.
#[test]
fn each_core_tells_which_clients_it_has_seen() {
    let (stories, ids) = (stories(0), RequestIds::default());
    let (book, alice): (_, Arc<str>) = (stories.book(&ids), Arc::from("alice"));
    for ended in [1, 2, 3] {
        book.write(Note { client: Some((4, Arc::clone(&alice))), ..note(&id(), ended, "/") });
    }
    let ended = Duration::from_micros(3);
    let Sums { all, clients, .. } = counted(&stories);
    assert_eq!((all, clients), (3, vec![("alice".to_owned(), Seen { ended, requests: 3 })]));
    // Where none is kept, none is told.
    assert!(stories.newest_first().is_empty() && stories.awaited().is_empty());
}

/// Fails when a reader is shown a story twice, or out of order, while a core goes on.
#[test]
fn stories_can_be_read_while_a_core_writes() {
    let (stories, ids) = (stories(300), RequestIds::default());
    let book = stories.book(&ids);
    thread::scope(|scope| {
        scope.spawn(|| {
            for ended in 0..20_000 {
                book.write(note(&ids.next(), ended, "/v3/content_types"));
            }
        });
        for _ in 0..50 {
            let all = stories.newest_first();
            assert!(all.is_sorted_by(|one, other| one.number > other.number));
            assert!(all.iter().all(|story| story.path == "/v3/content_types"));
        }
    });
    assert_eq!(stories.newest_first().len(), 300);
}
