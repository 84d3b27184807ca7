//! Which resource a request means. The service answers to many spellings of one address: any
//! case, `.aspx` or `.ashx` appended, percent-encoded letters, doubled slashes, dot segments,
//! another verb in `_method`, the whole path in `MFWS.ashx?restPath=`.
//! Source: developer.m-files.com, "Compatibility"; the rest is what IIS does to a path.

use http::Method;
use http::request::Parts;
use percent_encoding::percent_decode_str;

use super::switches::Switches;
use crate::emulator::record::raw_target;

/// A resource and what to do with it.
#[derive(Debug)]
pub struct Address {
    /// The verb, `_method` applied.
    pub method: Method,
    /// The decoded segments below `REST`, in lower case.
    pub resource: Vec<String>,
    /// The decoded query, names in lower case.
    pub query: Vec<(String, String)>,
    /// Path and query as they stood on the wire.
    pub raw: String,
}

/// Why a request has no address here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unaddressed {
    /// Not under `REST`, or not under the virtual directory.
    Elsewhere,
    /// IIS lets this verb not through.
    VerbForbidden,
}

impl Address {
    pub fn of(head: &Parts, switches: &Switches) -> Result<Self, Unaddressed> {
        if switches.iis_strict && matches!(head.method, Method::PUT | Method::DELETE) {
            return Err(Unaddressed::VerbForbidden);
        }
        let mut query = pairs(head.uri.query().unwrap_or_default());
        let mut path = segments(head.uri.path());
        for directory in segments(&switches.sub_directory) {
            if path.is_empty() || path.remove(0) != directory {
                return Err(Unaddressed::Elsewhere);
            }
        }
        let resource = match path.split_first() {
            Some((first, rest)) if first == "rest" => rest.to_vec(),
            Some((first, [])) if first == "mfws.ashx" => rest_path(&mut query)?,
            _ => return Err(Unaddressed::Elsewhere),
        };
        Ok(Self {
            method: method(&head.method, &query),
            resource: without_extension(resource),
            query,
            raw: raw_target(head).to_owned(),
        })
    }

    pub fn value(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The resource as error bodies name it.
    pub fn url(&self) -> String {
        format!("/{}", self.resource.join("/"))
    }
}

fn rest_path(query: &mut Vec<(String, String)>) -> Result<Vec<String>, Unaddressed> {
    let place = query.iter().position(|(name, _)| name == "restpath");
    let (_, path) = place.map(|place| query.remove(place)).ok_or(Unaddressed::Elsewhere)?;
    let (path, more) = path.split_once('?').unwrap_or((&path, ""));
    query.extend(pairs(more));
    let mut resource = segments(path);
    if resource.first().is_some_and(|first| first == "rest") {
        resource.remove(0);
    }
    Ok(resource)
}

fn method(method: &Method, query: &[(String, String)]) -> Method {
    let asked = query.iter().find(|(name, _)| name == "_method").map(|(_, value)| value);
    let asked = asked.and_then(|asked| asked.to_ascii_uppercase().parse().ok());
    match asked {
        Some(asked) if *method == Method::POST => asked,
        _ => method.clone(),
    }
}

fn segments(path: &str) -> Vec<String> {
    let decoded = percent_decode_str(path).decode_utf8_lossy().to_lowercase();
    let mut segments = Vec::new();
    for segment in decoded.split(['/', '\\']) {
        match segment {
            "" | "." => {}
            ".." => _ = segments.pop(),
            _ => segments.push(segment.to_owned()),
        }
    }
    segments
}

fn without_extension(mut resource: Vec<String>) -> Vec<String> {
    if let Some(last) = resource.last_mut() {
        let bare = last.strip_suffix(".aspx").or_else(|| last.strip_suffix(".ashx"));
        if let Some(bare) = bare.map(str::to_owned) {
            *last = bare;
        }
    }
    resource
}

fn pairs(query: &str) -> Vec<(String, String)> {
    let decode =
        |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name).to_lowercase(), decode(value))
        })
        .collect()
}
