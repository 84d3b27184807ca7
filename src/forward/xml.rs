//! Session values in XML bodies: the text of an element, which is made where it is missing. All else
//! of a body stays as the client has written it, byte for byte.

use std::ops::Range;

use quick_xml::escape::escape;
use quick_xml::events::{BytesDecl, BytesStart, Event};
use quick_xml::reader::Reader;

use super::body::{Placed, Unwritable};
use crate::recipe::Overwrite;
use crate::recipe::element::{Element, ElementPath};

/// The text of a value as it stands in an element; nothing where no XML can hold it (XML 1.0 section
/// 2.2), and where a parser would change it.
pub(super) fn value(text: &str) -> Option<String> {
    let is_none = |one: char| one.is_control() || matches!(one, '\u{fffe}' | '\u{ffff}');
    (!text.contains(is_none)).then(|| escape(text).into_owned())
}

/// The body with the value as the text of every element at the end of `way`.
///
/// # Errors
/// A body that is no XML without entities of its own, one whose root is another, one in which an
/// element is missing that has no name in the way, and one that becomes longer than `bytes_max`.
pub(super) fn written(
    body: &[u8],
    way: &ElementPath,
    placed: Placed<'_>,
    bytes_max: usize,
) -> Result<Vec<u8>, Unwritable> {
    let text = std::str::from_utf8(body).map_err(|_| Unwritable::NotUtf8)?;
    let way = way.elements();
    let mut writing = Writing { text, way, placed, open: Vec::new(), done: 0 };
    let mut written = String::with_capacity(text.len() + placed.value.len() + 256);
    // The mark stands before the declaration, and is nobody's text.
    let start = text.strip_prefix('\u{feff}').map_or(0, |rest| text.len() - rest.len());
    let rest = text.get(start..).unwrap_or_default();
    // The reader would leave out another one, and not count it.
    if rest.starts_with('\u{feff}') {
        return Err(Unwritable::NoXml);
    }
    let mut reader = Reader::from_str(rest);
    reader.config_mut().check_comments = true;
    let mut depth = 0_usize;
    let mut has_root = false;
    loop {
        let begin = start + position(&reader);
        let event = reader.read_event().map_err(|_| Unwritable::NoXml)?;
        let at = begin..start + position(&reader);
        match event {
            Event::Start(_) | Event::Empty(_) if depth == 0 && has_root => {
                return Err(Unwritable::NoXml);
            }
            Event::Start(tag) => {
                has_root = true;
                writing.start(&tag, depth, at.end)?;
                depth += 1;
            }
            Event::Empty(tag) => {
                has_root = true;
                writing.empty(&tag, depth, at, &mut written)?;
            }
            Event::End(_) => {
                depth = depth.checked_sub(1).ok_or(Unwritable::NoXml)?;
                writing.end(depth, at.start, &mut written)?;
            }
            Event::Decl(declaration) if begin == start => is_utf8(&declaration)?,
            Event::Decl(_) => return Err(Unwritable::NoXml),
            Event::DocType(_) => return Err(Unwritable::OwnEntities),
            Event::GeneralRef(name) if !is_of_xml(&name) => return Err(Unwritable::OwnEntities),
            Event::Text(outside) if depth == 0 => {
                if !outside.trim_ascii().is_empty() {
                    return Err(Unwritable::NoXml);
                }
            }
            Event::CData(_) | Event::GeneralRef(_) if depth == 0 => return Err(Unwritable::NoXml),
            Event::Text(_)
            | Event::CData(_)
            | Event::GeneralRef(_)
            | Event::Comment(_)
            | Event::PI(_) => {}
            Event::Eof if depth == 0 && has_root => break,
            Event::Eof => return Err(Unwritable::NoXml),
        }
        if written.len() > bytes_max {
            return Err(Unwritable::TooLong);
        }
    }
    written.push_str(text.get(writing.done..).unwrap_or_default());
    Ok(written.into_bytes())
}

fn position(reader: &Reader<&[u8]>) -> usize {
    usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX)
}

/// What a declaration says of the bytes (XML 1.0 section 4.3.3).
fn is_utf8(declaration: &BytesDecl<'_>) -> Result<(), Unwritable> {
    match declaration.encoding() {
        None => Ok(()),
        Some(Ok(name)) if name.eq_ignore_ascii_case("utf-8") => Ok(()),
        Some(_) => Err(Unwritable::NotUtf8),
    }
}

/// Whether a reference means the same in every document (XML 1.0 sections 4.1 and 4.6).
fn is_of_xml(name: &str) -> bool {
    name.starts_with('#') || ["amp", "lt", "gt", "quot", "apos"].contains(&name)
}

/// A body as it is read and written anew.
struct Writing<'t> {
    text: &'t str,
    way: &'t [Element],
    placed: Placed<'t>,
    /// The elements that are open and on the way, from the root on.
    open: Vec<Open>,
    /// As much of the text as was written.
    done: usize,
}

/// An element on the way.
struct Open {
    /// Its prefix with the colon, or nothing.
    prefix: String,
    /// Where its content begins.
    content: usize,
    /// Whether it has an element.
    has_any: bool,
    /// Whether one of them is on the way.
    has_next: bool,
}

impl Writing<'_> {
    /// What a tag at this depth, behind which `content` begins, is on the way.
    ///
    /// # Errors
    /// A root that is not.
    fn on_the_way(
        &mut self,
        tag: &BytesStart<'_>,
        depth: usize,
        content: usize,
    ) -> Result<Option<Open>, Unwritable> {
        if depth != self.open.len() {
            return Ok(None);
        }
        let Some(wanted) = self.way.get(depth) else { return Ok(None) };
        let parent = self.open.last_mut();
        let is_first = parent.as_ref().is_none_or(|parent| !parent.has_any);
        let name = tag.name();
        let fits = match &wanted.name {
            None => is_first,
            Some(wanted) => name.local_name().as_ref() == wanted,
        };
        match parent {
            None if !fits => return Err(Unwritable::NoElement),
            None => {}
            Some(parent) => {
                parent.has_any = true;
                parent.has_next |= fits;
            }
        }
        let prefix =
            name.prefix().map(|prefix| format!("{}:", prefix.as_ref())).unwrap_or_default();
        Ok(fits.then_some(Open { prefix, content, has_any: false, has_next: false }))
    }

    fn start(
        &mut self,
        tag: &BytesStart<'_>,
        depth: usize,
        content: usize,
    ) -> Result<(), Unwritable> {
        let open = self.on_the_way(tag, depth, content)?;
        self.open.extend(open);
        Ok(())
    }

    fn end(&mut self, depth: usize, end: usize, written: &mut String) -> Result<(), Unwritable> {
        if depth >= self.open.len() {
            return Ok(());
        }
        let Some(open) = self.open.pop() else { return Ok(()) };
        let there = self.text.get(open.content..end).unwrap_or_default();
        match self.content(&open, depth, there)? {
            Some(content) if depth + 1 == self.way.len() => {
                self.replace(open.content..end, &content, written);
            }
            Some(content) => self.replace(open.content..open.content, &content, written),
            None => {}
        }
        Ok(())
    }

    fn empty(
        &mut self,
        tag: &BytesStart<'_>,
        depth: usize,
        at: Range<usize>,
        written: &mut String,
    ) -> Result<(), Unwritable> {
        let Some(open) = self.on_the_way(tag, depth, at.end)? else { return Ok(()) };
        if let Some(content) = self.content(&open, depth, "")? {
            let name = tag.name().as_ref().to_owned();
            let slash = at.end.saturating_sub("/>".len());
            self.replace(slash..at.end, &format!(">{content}</{name}>"), written);
        }
        Ok(())
    }

    /// What goes into an element on the way at this depth, once it has ended: the value, or what is
    /// missing.
    fn content(
        &self,
        open: &Open,
        depth: usize,
        there: &str,
    ) -> Result<Option<String>, Unwritable> {
        let missing = self.way.get(depth + 1..).unwrap_or_default();
        match (missing, self.placed.overwrite) {
            ([], Overwrite::IfAbsent) if there != self.placed.placeholder => Ok(None),
            ([], _) => Ok(Some(self.placed.value.to_owned())),
            _ if open.has_next => Ok(None),
            (missing, _) => self.made(missing, &open.prefix).map(Some),
        }
    }

    /// Elements that are not there, one in the other, with the value in the last.
    fn made(&self, missing: &[Element], prefix: &str) -> Result<String, Unwritable> {
        let (mut tags, mut ends) = (String::new(), String::new());
        let mut prefix = prefix;
        for Element { name, namespace } in missing {
            let name = name.as_ref().ok_or(Unwritable::NoElement)?;
            match namespace {
                // Without a prefix, so that none of the client's has to be known.
                Some(namespace) => {
                    prefix = "";
                    tags += &format!("<{name} xmlns=\"{}\">", escape(namespace.as_str()));
                }
                None => tags += &format!("<{prefix}{name}>"),
            }
            ends.insert_str(0, &format!("</{prefix}{name}>"));
        }
        Ok(tags + self.placed.value + &ends)
    }

    fn replace(&mut self, range: Range<usize>, by: &str, written: &mut String) {
        written.push_str(self.text.get(self.done..range.start).unwrap_or_default());
        written.push_str(by);
        self.done = range.end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES_MAX: usize = 64 * 1024;

    fn put(way: &str, overwrite: Overwrite, body: &str) -> Result<String, Unwritable> {
        let (way, value) = (ElementPath::parse(way).unwrap(), value("a&<b>\u{e9}").unwrap());
        let placed = Placed { value: &value, overwrite, placeholder: "shown" };
        let body = written(body.as_bytes(), &way, placed, BYTES_MAX)?;
        Ok(String::from_utf8(body).unwrap())
    }

    const TEXT: &str = "a&amp;&lt;b&gt;\u{e9}";
    const SESSION: &str = "/Envelope/Header/{urn:x?a&b}Session/id";

    /// Fails when an element that is there is not set, or anything else comes out otherwise than its
    /// client has written it.
    #[test]
    fn an_element_is_set_and_all_else_stays_as_it_is_written() {
        for (body, expected) in [
            (
                "\u{feff}<?xml version='1.0' encoding=\"UTF-8\"?>\r\n<!-- <Envelope> --><s:Envelope \
                 a='>'><s:Header><x:Other><id>1</id></x:Other><Session\t><id k=\"/>\" >old<b/>\
                 <![CDATA[</id>]]></id ></Session></s:Header><s:Body>&amp;&#10; \u{e4}</s:Body>\
                 </s:Envelope>\n<?p i?>",
                format!(
                    "\u{feff}<?xml version='1.0' encoding=\"UTF-8\"?>\r\n<!-- <Envelope> -->\
                     <s:Envelope a='>'><s:Header><x:Other><id>1</id></x:Other><Session\t>\
                     <id k=\"/>\" >{TEXT}</id ></Session></s:Header><s:Body>&amp;&#10; \u{e4}\
                     </s:Body></s:Envelope>\n<?p i?>"
                ),
            ),
            (
                "<Envelope><Header><y:Session><y:id n='/'/></y:Session></Header></Envelope>",
                format!(
                    "<Envelope><Header><y:Session><y:id n='/'>{TEXT}</y:id></y:Session></Header>\
                     </Envelope>"
                ),
            ),
            // However often it is there.
            (
                "<Envelope><Header><Session><id>1</id><id>2</id></Session><Session/></Header>\
                 <Header/><id>3</id></Envelope>",
                format!(
                    "<Envelope><Header><Session><id>{TEXT}</id><id>{TEXT}</id></Session><Session>\
                     <id>{TEXT}</id></Session></Header><Header><Session xmlns=\"urn:x?a&amp;b\">\
                     <id>{TEXT}</id></Session></Header><id>3</id></Envelope>"
                ),
            ),
        ] {
            assert_eq!(put(SESSION, Overwrite::Always, body), Ok(expected), "{body}");
        }
        let own = "<Envelope><Header><Session><id/></Session></Header></Envelope>";
        assert_eq!(put(SESSION, Overwrite::IfAbsent, own), Ok(own.to_owned()));
        let shown = own.replace("<id/>", "<id>shown</id>");
        let ours = own.replace("<id/>", &format!("<id>{TEXT}</id>"));
        assert_eq!(put(SESSION, Overwrite::IfAbsent, &shown), Ok(ours));
    }

    /// Fails when what is missing is made in another place, or in another namespace than its parent's
    /// or its own.
    #[test]
    fn what_is_missing_is_made_first_in_its_parent() {
        let made = format!("<Session xmlns=\"urn:x?a&amp;b\"><id>{TEXT}</id></Session>");
        for (body, expected) in [
            (
                "<s:Envelope xmlns:s='urn:s'> <s:Body/></s:Envelope>",
                format!(
                    "<s:Envelope xmlns:s='urn:s'><s:Header>{made}</s:Header> <s:Body/></s:Envelope>"
                ),
            ),
            ("<Envelope/>", format!("<Envelope><Header>{made}</Header></Envelope>")),
            (
                "<s:Envelope><t:Header >\n<O/></t:Header></s:Envelope>",
                format!("<s:Envelope><t:Header >{made}\n<O/></t:Header></s:Envelope>"),
            ),
            (
                "<s:Envelope><s:Header><y:Session/></s:Header></s:Envelope>",
                format!(
                    "<s:Envelope><s:Header><y:Session><y:id>{TEXT}</y:id></y:Session></s:Header>\
                     </s:Envelope>"
                ),
            ),
        ] {
            assert_eq!(put(SESSION, Overwrite::Always, body), Ok(expected.clone()), "{body}");
            assert_eq!(put(SESSION, Overwrite::IfAbsent, body), Ok(expected), "{body}");
        }
    }

    #[test]
    fn a_star_is_the_first_element_whatever_its_name() {
        let put = |way, body| put(way, Overwrite::Always, body);
        assert_eq!(
            put("/m/*/value", "<m>t<!-- --><p><value><i>1</i></value></p><p><value/></p></m>"),
            Ok(format!("<m>t<!-- --><p><value>{TEXT}</value></p><p><value/></p></m>"))
        );
        assert_eq!(
            put("/e/Body/*/{}sid", "<e><Body><u:call><x/></u:call></Body></e>"),
            Ok(format!("<e><Body><u:call><sid xmlns=\"\">{TEXT}</sid><x/></u:call></Body></e>"))
        );
        assert_eq!(put("/*", "<m>1</m>"), Ok(format!("<m>{TEXT}</m>")));
        assert_eq!(put("/m/*/value", "<m/>"), Err(Unwritable::NoElement));
        assert_eq!(put("/m/params/*", "<m></m>"), Err(Unwritable::NoElement));
    }

    /// Fails when a request would be sent without its session, or with one that its upstream does not
    /// see.
    #[test]
    fn a_body_that_is_no_plain_xml_takes_no_value() {
        use Unwritable::{NoElement, NoXml, NotUtf8, OwnEntities};
        for (body, expected) in [
            ("", NoXml),
            ("{}", NoXml),
            ("<Envelope>", NoXml),
            ("<Envelope></envelope>", NoXml),
            ("</Envelope>", NoXml),
            ("<Envelope/><Envelope/>", NoXml),
            ("<Envelope/>text", NoXml),
            ("text<Envelope/>", NoXml),
            ("\u{feff}\u{feff}<Envelope a='>'/>", NoXml),
            ("<Envelope/>&amp;", NoXml),
            ("<Envelope/><![CDATA[x]]>", NoXml),
            ("<Envelope><!-- -- --></Envelope>", NoXml),
            ("<Envelope> & </Envelope>", NoXml),
            (" <?xml version='1.0'?><Envelope/>", NoXml),
            ("<Envelope><Header", NoXml),
            ("<Other/>", NoElement),
            ("<envelope/>", NoElement),
            ("<!DOCTYPE Envelope><Envelope/>", OwnEntities),
            ("<!DOCTYPE E [<!ENTITY a 'b'>]><Envelope>&a;</Envelope>", OwnEntities),
            ("<!doctype E SYSTEM 'http://x/'><Envelope/>", OwnEntities),
            ("<Envelope>&nbsp;</Envelope>", OwnEntities),
            ("<?xml version='1.0' encoding='ISO-8859-1'?><Envelope/>", NotUtf8),
            ("<?xml version='1.0' encoding='UTF-16'?><Envelope/>", NotUtf8),
        ] {
            assert_eq!(put(SESSION, Overwrite::Always, body), Err(expected), "{body}");
        }
        let way = ElementPath::parse("/a").unwrap();
        let placed = Placed { value: "t", overwrite: Overwrite::Always, placeholder: "shown" };
        assert_eq!(written(b"<a>\xe4</a>", &way, placed, BYTES_MAX), Err(NotUtf8));
        for text in ["\0", "a\nb", "\u{7f}", "\u{ffff}"] {
            assert_eq!(value(text), None, "{text:?}");
        }
    }

    /// Fails when a short body becomes one that fills the memory, or a deep one overflows the stack.
    #[test]
    fn many_elements_do_not_take_more_than_fits() {
        let many = |count| format!("<Envelope>{}</Envelope>", "<Header/>".repeat(count));
        assert_eq!(put(SESSION, Overwrite::Always, &many(5000)), Err(Unwritable::TooLong));
        assert!(put(SESSION, Overwrite::Always, &many(500)).is_ok());
        let deep = format!("<a>{}{}</a>", "<b>".repeat(2000), "</b>".repeat(2000));
        let expected = format!("<a><c>{TEXT}</c>{}", &deep["<a>".len()..]);
        assert_eq!(put("/a/c", Overwrite::Always, &deep), Ok(expected));
    }
}
