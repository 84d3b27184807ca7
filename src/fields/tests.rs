//! Lists of fields, beside what a map makes of the same.

use http::header;
use proptest::prelude::*;

use super::*;

fn shown(fields: &Fields) -> Vec<(&str, &str)> {
    fields.iter().map(|(name, value)| (name.as_str(), text(value).unwrap())).collect()
}

fn value(text: &str) -> HeaderValue {
    text.parse().unwrap()
}

/// `a: 1`, `b: `, `a: 2`, the way a parser gives them.
fn parsed() -> Fields {
    let head = Bytes::from_static(b"a: 1\r\nb: \r\na: 2\r\n\r\n");
    let mut found = Found::of(&head, 3);
    for (name, at) in [("a", 3..4), ("b", 9..9), ("a", 14..15)] {
        found.push(HeaderName::from_static(name), &head[at]).unwrap();
    }
    found.within(head).unwrap()
}

const A: HeaderName = HeaderName::from_static("a");
const B: HeaderName = HeaderName::from_static("b");

#[test]
fn fields_stay_in_their_order_and_are_found_by_name() {
    let fields = parsed();
    assert_eq!(shown(&fields), [("a", "1"), ("b", ""), ("a", "2")]);
    assert_eq!(fields.get_all(A).collect::<Vec<_>>(), [b"1", b"2"]);
    assert_eq!(fields.get_all(&A).next_back(), Some(b"2".as_slice()));
    assert_eq!((fields.get(A), fields.text(B)), (Some(b"1".as_slice()), Some("")));
    assert_eq!(fields.get(header::HOST), None);
    assert!(fields.contains(&B) && !fields.contains(header::HOST));
    assert_eq!((fields.len(), fields.is_empty()), (3, false));
}

#[test]
fn a_value_takes_the_place_of_all_others_of_its_name() {
    let mut fields = parsed();
    fields.insert(A, value("three"));
    assert_eq!(shown(&fields), [("a", "three"), ("b", "")]);
    fields.insert(header::VIA, value("x"));
    fields.append(A, value(""));
    assert_eq!(shown(&fields), [("a", "three"), ("b", ""), ("via", "x"), ("a", "")]);
    fields.replace(<[u8]>::is_empty, value("*"));
    assert_eq!(shown(&fields), [("a", "three"), ("b", "*"), ("via", "x"), ("a", "*")]);
    fields.remove(A);
    fields.remove(header::HOST);
    assert_eq!(shown(&fields), [("b", "*"), ("via", "x")]);
    fields.retain(|name, value| name == B && value == b"*");
    assert_eq!(shown(&fields), [("b", "*")]);
}

#[test]
fn what_does_not_stand_in_the_head_is_not_found_there() {
    let bytes = Bytes::from_static(b"a: 12");
    let head = bytes.slice(1..4);
    let mut found = Found::of(&head, 1);
    assert_eq!(found.push(A, &bytes[..1]), Err(Elsewhere), "before it");
    found.push(A, &bytes[3..4]).unwrap();
    assert_eq!(shown(&found.within(head.clone()).unwrap()), [("a", "1")]);
    let mut found = Found::of(&head, 1);
    found.push(A, &bytes[3..5]).unwrap();
    assert_eq!(found.within(head), Err(Elsewhere), "behind it");
}

/// Fails when a table of HTTP/2 keeps what it must not.
#[test]
fn what_is_sensitive_stays_so() {
    let (plain, mut secret) = (value("plain"), value("canary"));
    secret.set_sensitive(true);
    let mut fields = parsed();
    fields.append(A, &secret);
    fields.insert(B, &secret);
    fields.insert(header::VIA, &plain);
    let sensitive = |fields: &Fields| {
        let of_field = |field: Field<'_>| {
            let value = field.to_value().unwrap();
            assert_eq!(value.is_sensitive(), field.is_sensitive);
            assert_eq!(value, field.value);
            field.is_sensitive
        };
        fields.whole().map(of_field).collect::<Vec<_>>()
    };
    assert_eq!(sensitive(&fields), [false, true, false, true, false]);
    // Grouped by name.
    let again = Fields::from(HeaderMap::from(fields.clone()));
    assert_eq!(sensitive(&again), [false, false, true, true, false]);
    fields.replace(|value| value == b"1", &secret);
    fields.insert(B, &plain);
    assert_eq!(sensitive(&fields), [true, false, false, true, false]);
    assert!(Field::of(&A, &secret).is_sensitive && !Field::of(&A, &plain).is_sensitive);
}

#[test]
fn nothing_but_names_is_shown() {
    let fields = Fields::from_iter([(A, value("canary"))]);
    let shown = format!("{fields:?} {:?}", fields.whole().next());
    assert!(shown.contains("\"a\"") && !shown.contains("canary"), "{shown}");
}

#[test]
fn a_text_is_visible_ascii() {
    assert_eq!(text(b"a\tb ~"), Some("a\tb ~"));
    for other in [b"caf\xc3\xa9".as_slice(), b"\xff", b"a\nb", b"\x7f"] {
        assert_eq!(text(other), None, "{other:?}");
    }
}

proptest! {
    /// Whatever is asked of it, it is what a map would be.
    #[test]
    fn it_is_a_map_that_keeps_the_order(
        steps in prop::collection::vec((0..5_u8, 0..4_usize, "[ -~]{0,6}"), 0..24),
    ) {
        const NAMES: [&str; 4] = ["accept", "cookie", "x-a", "x-b"];
        let (mut fields, mut map) = (parsed(), HeaderMap::new());
        let mut list = vec![(A, value("1")), (B, value("")), (A, value("2"))];
        map.append(A, value("1"));
        map.append(B, value(""));
        map.append(A, value("2"));
        for (step, name, text) in steps {
            let name = HeaderName::from_static(NAMES[name]);
            let value = value(&text);
            match step {
                0 => fields.insert(name.clone(), &value),
                1 => fields.remove(&name),
                _ => fields.append(name.clone(), &value),
            }
            match list.iter().position(|(known, _)| *known == name) {
                Some(first) if step == 0 => {
                    list[first].1 = value.clone();
                    let behind = list.split_off(first + 1);
                    list.extend(behind.into_iter().filter(|(known, _)| *known != name));
                }
                _ if step == 1 => list.retain(|(known, _)| *known != name),
                _ => list.push((name.clone(), value.clone())),
            }
            match step {
                0 => drop(map.insert(name, value)),
                1 => drop(map.remove(name)),
                _ => drop(map.append(name, value)),
            }
        }
        let list: Vec<_> = list.iter().map(|(name, value)| (name, value.as_bytes())).collect();
        prop_assert_eq!(fields.iter().collect::<Vec<_>>(), list);
        prop_assert_eq!(&HeaderMap::from(fields.clone()), &map);
        for name in [A, B, header::HOST].into_iter().chain(NAMES.map(HeaderName::from_static)) {
            prop_assert_eq!(fields.get(&name), map.get(&name).map(HeaderValue::as_bytes));
            prop_assert_eq!(fields.contains(&name), map.contains_key(&name));
            let all = map.get_all(&name).iter().map(HeaderValue::as_bytes);
            prop_assert!(fields.get_all(&name).eq(all), "{}", name);
        }
        prop_assert_eq!(HeaderMap::from(Fields::from(map.clone())), map);
    }
}
