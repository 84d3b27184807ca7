//! The maps that fields are read into. One takes two pieces of memory, of which the second is large:
//! each thread keeps some for the next messages.

use std::cell::RefCell;

use http::HeaderMap;

/// So many maps are kept by a thread, which hardly ever has more messages at hand at one moment.
const KEPT_MAX: usize = 16;

/// A map with room for more fields is not kept, and none has less.
const FIELDS_MAX: usize = 48;
const FIELDS_MIN: usize = 12;

thread_local! {
    /// Empty ones.
    static KEPT: RefCell<Vec<HeaderMap>> = const { RefCell::new(Vec::new()) };
}

/// An empty map, with room for so many fields at best.
pub fn map(fields: usize) -> HeaderMap {
    let kept = KEPT.with_borrow_mut(Vec::pop);
    kept.unwrap_or_else(|| HeaderMap::with_capacity(fields.max(FIELDS_MIN)))
}

/// Nobody needs this map any more: its fields are dropped, and its memory is kept.
pub fn give_back(mut map: HeaderMap) {
    if (FIELDS_MIN..=FIELDS_MAX).contains(&map.capacity()) {
        map.clear();
        KEPT.with_borrow_mut(|kept| {
            if kept.len() < KEPT_MAX {
                kept.push(map);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header};

    use super::*;

    #[test]
    fn a_map_comes_back_empty_and_neither_large_nor_many_ones_are_kept() {
        let kept = || KEPT.with_borrow(Vec::len);
        let mut maps: Vec<_> = (0..2 * KEPT_MAX).map(|_| map(0)).collect();
        for map in &mut maps {
            map.append(header::COOKIE, HeaderValue::from_static("one"));
            map.append(header::COOKIE, HeaderValue::from_static("two"));
        }
        maps.into_iter().for_each(give_back);
        assert_eq!(kept(), KEPT_MAX);
        let map = map(FIELDS_MAX + 1);
        assert!(map.is_empty() && map.capacity() >= FIELDS_MIN);
        for other in [HeaderMap::new(), HeaderMap::with_capacity(2 * FIELDS_MAX)] {
            give_back(other);
            assert_eq!(kept(), KEPT_MAX - 1);
        }
    }
}
