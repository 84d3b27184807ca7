//! The fields of a message that came (RFC 9110 section 5): a list in the order in which they stand in
//! it. A message has a dozen of them, and each is looked at anyway: to go through a list takes less
//! than to keep a map of it. Values are places in the head that they came in, so that none is counted,
//! copied or dropped by itself.

use std::borrow::Borrow;
use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

/// What is known to be added to most messages: room for it is made at once.
const ADDED_BYTES: usize = 128;

/// So many fields of ours are put beside those of most messages.
const OURS: usize = 4;

/// The fields of a message. Every value is one that RFC 9110 section 5.5 allows: it came through a
/// parser, or is a [`HeaderValue`].
#[derive(Clone, Default)]
pub struct Fields {
    /// The head that they came in; empty where they came otherwise.
    head: Bytes,
    /// The values of those that do not stand in the head, one behind the other.
    added: Vec<u8>,
    list: Vec<Kept>,
    /// The marks of their names, and of some that have gone: most names that are looked for are not
    /// there, and need not be compared with all that are.
    marks: u64,
}

/// One of them.
#[derive(Clone, Copy)]
pub struct Field<'a> {
    /// Its name.
    pub name: &'a HeaderName,
    /// Its value.
    pub value: &'a [u8],
    /// Whether no table of HTTP/2 may keep it (RFC 7541 section 7.1.3).
    pub is_sensitive: bool,
}

#[derive(Clone)]
struct Kept {
    name: HeaderName,
    value: Place,
    is_sensitive: bool,
}

/// Where a value stands.
#[derive(Clone, Copy)]
struct Place {
    /// Counted through the head and what was added behind it.
    begin: u32,
    length: u32,
}

/// The fields that a parser finds in a head that was read, one after the other.
pub struct Found {
    /// Where in memory the head begins.
    begin: usize,
    /// Where in it the last value ends.
    end: usize,
    fields: Fields,
}

impl<'a> Field<'a> {
    /// One with a value of ours.
    pub fn of(name: &'a HeaderName, value: &'a HeaderValue) -> Self {
        Self { name, value: value.as_bytes(), is_sensitive: value.is_sensitive() }
    }

    /// Its value, for a library that wants one; nothing where it is none.
    pub fn to_value(self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_bytes(self.value).ok()?;
        value.set_sensitive(self.is_sensitive);
        Some(value)
    }
}

impl Found {
    /// None yet of this head, with room for so many.
    pub fn of(head: &[u8], fields: usize) -> Self {
        Self { begin: head.as_ptr().addr(), end: 0, fields: Fields::with_room(fields) }
    }

    /// Puts one behind the others.
    ///
    /// # Errors
    /// When `value` stands before the head, or 4 GiB behind its beginning.
    pub fn push(&mut self, name: HeaderName, value: &[u8]) -> Result<(), Elsewhere> {
        debug_assert!(HeaderValue::from_bytes(value).is_ok(), "a parser found what is no value");
        // An empty one may stand anywhere.
        let begin = match value.is_empty() {
            true => Some(0),
            false => value.as_ptr().addr().checked_sub(self.begin),
        };
        let begin = begin.ok_or(Elsewhere)?;
        let value = Place::new(begin, value.len()).ok_or(Elsewhere)?;
        self.end = self.end.max(begin + value.length as usize);
        self.fields.push(Kept { name, value, is_sensitive: false });
        Ok(())
    }

    /// The fields of `head`, which is the one that they were found in.
    ///
    /// # Errors
    /// When one of them stands behind it.
    pub fn within(self, head: Bytes) -> Result<Fields, Elsewhere> {
        match self.end <= head.len() {
            true => Ok(Fields { head, ..self.fields }),
            false => Err(Elsewhere),
        }
    }
}

/// A value that does not stand in its message's head, or a message of more than 4 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a value stands outside its head")]
pub struct Elsewhere;

impl Fields {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// None yet, with room for so many and for some of ours.
    fn with_room(fields: usize) -> Self {
        Self { list: Vec::with_capacity(fields + OURS), ..Self::default() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// All of them, in their order.
    pub fn iter(&self) -> Iter<'_> {
        Iter { fields: self, list: self.list.iter() }
    }

    /// The same, with all that there is to each.
    pub fn whole(&self) -> impl Iterator<Item = Field<'_>> {
        self.list.iter().map(|Kept { name, value, is_sensitive }| Field {
            name,
            value: self.value(*value),
            is_sensitive: *is_sensitive,
        })
    }

    /// The names of all of them; one that comes twice stands here twice.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.list.iter().map(|field| &field.name)
    }

    /// The values of all fields of a name.
    pub fn get_all<'a, N>(&'a self, name: N) -> impl DoubleEndedIterator<Item = &'a [u8]> + Clone
    where
        N: Borrow<HeaderName> + Clone + 'a,
    {
        let list = self.candidates(name.borrow());
        let fields = list.iter().filter(move |field| field.name == *name.borrow());
        fields.map(|field| self.value(field.value))
    }

    /// The value of the first field of a name.
    pub fn get(&self, name: impl Borrow<HeaderName>) -> Option<&[u8]> {
        let list = self.candidates(name.borrow());
        let field = list.iter().find(|field| field.name == *name.borrow())?;
        Some(self.value(field.value))
    }

    /// The same, where it is [`text`].
    pub fn text(&self, name: impl Borrow<HeaderName>) -> Option<&str> {
        self.get(name).and_then(text)
    }

    /// Whether there is a field of a name.
    pub fn contains(&self, name: impl Borrow<HeaderName>) -> bool {
        self.candidates(name.borrow()).iter().any(|field| field.name == *name.borrow())
    }

    /// Puts one behind the others.
    pub fn append(&mut self, name: HeaderName, value: impl Borrow<HeaderValue>) {
        let (value, is_sensitive) = self.add(value.borrow());
        self.push(Kept { name, value, is_sensitive });
    }

    /// Puts one in the place of all others of its name.
    pub fn insert(&mut self, name: HeaderName, value: impl Borrow<HeaderValue>) {
        let (value, is_sensitive) = self.add(value.borrow());
        match self.candidates(&name).iter().position(|field| field.name == name) {
            None => self.push(Kept { name, value, is_sensitive }),
            Some(first) => {
                let mut index = 0;
                self.list.retain_mut(|field| {
                    let at = index;
                    index += 1;
                    if at == first {
                        (field.value, field.is_sensitive) = (value, is_sensitive);
                    }
                    at <= first || field.name != name
                });
            }
        }
    }

    /// Removes all of a name.
    pub fn remove(&mut self, name: impl Borrow<HeaderName>) {
        if self.contains(name.borrow()) {
            self.list.retain(|field| field.name != *name.borrow());
        }
    }

    /// Removes those that are not to stay.
    pub fn retain(&mut self, mut stays: impl FnMut(&HeaderName, &[u8]) -> bool) {
        let Self { head, added, list, .. } = self;
        list.retain(|field| stays(&field.name, field.value.of(head, added)));
    }

    /// Puts a value in the place of each that is to go.
    pub fn replace(&mut self, goes: impl Fn(&[u8]) -> bool, value: impl Borrow<HeaderValue>) {
        for index in 0..self.list.len() {
            if self.list.get(index).is_some_and(|field| goes(self.value(field.value))) {
                let (value, is_sensitive) = self.add(value.borrow());
                if let Some(field) = self.list.get_mut(index) {
                    (field.value, field.is_sensitive) = (value, is_sensitive);
                }
            }
        }
    }

    fn push(&mut self, field: Kept) {
        self.marks |= mark(&field.name);
        self.list.push(field);
    }

    /// All of them, or none where no name has the same mark.
    fn candidates(&self, name: &HeaderName) -> &[Kept] {
        match self.marks & mark(name) {
            0 => &[],
            _ => &self.list,
        }
    }

    fn value(&self, place: Place) -> &[u8] {
        place.of(&self.head, &self.added)
    }

    fn add(&mut self, value: &HeaderValue) -> (Place, bool) {
        if self.added.capacity() == 0 {
            self.added.reserve(ADDED_BYTES);
        }
        let place = Place::new(self.head.len() + self.added.len(), value.len());
        self.added.extend_from_slice(value.as_bytes());
        // Nobody adds so much.
        (place.unwrap_or(Place { begin: 0, length: 0 }), value.is_sensitive())
    }
}

impl Place {
    fn new(begin: usize, length: usize) -> Option<Self> {
        Some(Self { begin: begin.try_into().ok()?, length: length.try_into().ok()? })
    }

    fn of<'a>(self, head: &'a [u8], added: &'a [u8]) -> &'a [u8] {
        let (begin, length) = (self.begin as usize, self.length as usize);
        let from = match begin.checked_sub(head.len()) {
            None => head.get(begin..),
            Some(begin) => added.get(begin..),
        };
        from.and_then(|from| from.get(..length)).unwrap_or_default()
    }
}

/// All fields of a message.
#[derive(Clone)]
pub struct Iter<'a> {
    fields: &'a Fields,
    list: std::slice::Iter<'a, Kept>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a HeaderName, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let field = self.list.next()?;
        Some((&field.name, self.fields.value(field.value)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.list.size_hint()
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl<'a> IntoIterator for &'a Fields {
    type Item = (&'a HeaderName, &'a [u8]);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl FromIterator<(HeaderName, HeaderValue)> for Fields {
    fn from_iter<I: IntoIterator<Item = (HeaderName, HeaderValue)>>(from: I) -> Self {
        let mut fields = Self::new();
        for (name, value) in from {
            fields.append(name, &value);
        }
        fields
    }
}

impl From<HeaderMap> for Fields {
    fn from(map: HeaderMap) -> Self {
        let bytes = map.values().map(HeaderValue::len).sum::<usize>();
        let mut fields = Self::with_room(map.len());
        fields.added.reserve(bytes + ADDED_BYTES);
        for (name, value) in &map {
            fields.append(name.clone(), value);
        }
        fields
    }
}

impl From<Fields> for HeaderMap {
    fn from(fields: Fields) -> Self {
        let values = Bytes::from(fields.added);
        let mut map = Self::with_capacity(fields.list.len());
        for Kept { name, value: Place { begin, length }, is_sensitive } in fields.list {
            let (begin, length) = (begin as usize, length as usize);
            let value = match begin.checked_sub(fields.head.len()) {
                _ if length == 0 => Bytes::new(),
                None => fields.head.slice(begin..begin + length),
                Some(begin) => values.slice(begin..begin + length),
            };
            // Every value is one.
            if let Ok(mut value) = HeaderValue::from_maybe_shared(value) {
                value.set_sensitive(is_sensitive);
                map.append(name, value);
            }
        }
        map
    }
}

/// The same fields in the same order.
impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Fields {}

/// The name alone: the value may be a secret.
impl fmt::Debug for Field<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.name, out)
    }
}

/// Names alone: values may be secrets.
impl fmt::Debug for Fields {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_set().entries(self.names()).finish()
    }
}

/// One bit of 64, by the length of a name and its first letter.
fn mark(name: &HeaderName) -> u64 {
    let name = name.as_str().as_bytes();
    let first = name.first().map_or(0, |first| usize::from(*first));
    1 << ((name.len() ^ first) % 64)
}

/// A value as a text; nothing unless all of it is visible ASCII, blanks and tabs.
pub fn text(value: &[u8]) -> Option<&str> {
    // Looked at to the end in any case: so many bytes are looked at at once.
    let is_visible = |so_far, byte: &u8| so_far & matches!(byte, b' '..=b'~' | b'\t');
    match value.iter().fold(true, is_visible) {
        true => std::str::from_utf8(value).ok(),
        false => None,
    }
}

#[cfg(test)]
mod tests;
