//! Puts the layers on top of each other, files first, environment last, and remembers which layer
//! each value came from.

use std::path::{Path, PathBuf};

use config::{Config, File, FileFormat};
use serde_json::{Map, Value};

use super::variables::{self, Variable};
use super::written::Written;
use crate::diagnosis::{
    Difference, Document, Fault, Faults, Finding, Place, Pointer, Scope, findings,
};
use crate::secret::Environment;

/// The largest configuration file, in bytes. One that is larger is some other file.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Where the configuration comes from, the least important first.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Files in the order in which they were given. Each must exist.
    pub files: Vec<PathBuf>,
    /// Variables that begin with `DOORWARD_` override the files; secrets may refer to others.
    pub environment: Environment,
}

/// All layers and what they come to.
#[derive(Clone)]
pub(super) struct Layers {
    documents: Vec<Document>,
    variables: Vec<Variable>,
    merged: Value,
    /// What could not be used of the merged value and was taken out of it.
    broken: Vec<Pointer>,
}

impl Layers {
    /// Reads and merges all layers; adds every fault of structure to `faults`. Nothing comes back
    /// where a layer cannot even be read.
    pub(super) fn read(sources: &Sources, faults: &mut Faults) -> Option<Self> {
        let files = with_folder(&sources.files, faults);
        let documents: Vec<Document> =
            files.iter().filter_map(|path| faults.take(read_document(path))).collect();
        // Each file is judged by itself, so that a fault is found even where a later layer covers
        // it.
        for document in &documents {
            faults.extend(document.judge_layer::<Written>());
        }
        let nothing = Value::Object(Map::new());
        let from_files = merge(&documents, &nothing).unwrap_or_else(|_| nothing.clone());
        let layer = variables::read(&sources.environment, &from_files, faults);
        let merged = faults.take(merge(&documents, &layer.value))?;
        if documents.len() < files.len() {
            return None;
        }
        let mut layers = Self { documents, variables: layer.variables, merged, broken: Vec::new() };
        layers.judge(faults);
        Some(layers)
    }

    /// Judges the whole for what is missing and for what only the layers together make wrong.
    fn judge(&mut self, faults: &mut Faults) {
        let clean = faults.is_empty();
        for finding in findings::<Written>(&self.merged, Scope::Whole) {
            let missing = finding.difference == Difference::MissingKey;
            // A fault that a layer has by itself is already told.
            if clean || missing {
                faults.push(self.found(finding.clone()));
            }
            if !missing {
                self.take_out(finding.pointer);
            }
        }
    }

    /// Takes an unusable value out, so that the rest can still be judged for its meaning.
    fn take_out(&mut self, mut pointer: Pointer) {
        self.broken.push(pointer.clone());
        while let (Some(holder), Some(name)) = (pointer.parent(), pointer.name()) {
            if let Some(Value::Object(entries)) = self.merged.pointer_mut(holder.as_str()) {
                entries.remove(&name);
                return;
            }
            // Without one element the others of a list would have the wrong positions: the whole
            // list goes.
            pointer = holder;
        }
    }

    /// What the layers say together, rid of what cannot be used; nothing where that leaves a
    /// table without what makes it one.
    pub(super) fn written(&self) -> Option<Written> {
        serde_json::from_value(self.merged.clone()).ok()
    }

    /// The files, and the folder in which there may be more.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<_> =
            self.documents.iter().map(|document| document.name().to_owned()).collect();
        files.extend(files.first().map(|first| folder_beside(first)));
        files
    }

    /// What the layers say together, as one text: the same whatever is written in which order.
    pub(super) fn canonical(&self) -> String {
        let mut text = String::new();
        write_canonical(&self.merged, &mut text);
        text
    }

    /// Whether a fault of structure at, above or below `pointer` may have changed what is there.
    pub(super) fn broken(&self, pointer: &str) -> bool {
        let touches =
            |broken: &Pointer| below(broken.as_str(), pointer) || below(pointer, broken.as_str());
        self.broken.iter().any(touches)
    }

    /// Whether it is sure what a whole section holds: nothing in it is broken, and no section has
    /// a misspelt name.
    pub(super) fn sure(&self, section: &str) -> bool {
        let top = |broken: &Pointer| broken.names().count() == 1;
        !self.broken(section) && !self.broken.iter().any(top)
    }

    /// The merged value, for looking at every text in it.
    pub(super) fn merged(&self) -> &Value {
        &self.merged
    }

    /// The files.
    pub(super) fn documents(&self) -> impl Iterator<Item = &Document> {
        self.documents.iter()
    }

    /// What has set the value at `pointer`: the variable, else the file and the line.
    pub(super) fn set_by(&self, pointer: &str) -> Result<String, (String, Option<usize>)> {
        if let Some(variable) = self.variable(pointer) {
            return Ok(variable.name.clone());
        }
        let document = self.document(pointer);
        let name = document.map(|document| document.name().display().to_string());
        let line = document.and_then(|document| document.key_line(pointer));
        Err((name.unwrap_or_default(), line))
    }

    /// The folder that a relative path at `pointer` is relative to: that of its file; for a
    /// variable the working directory.
    pub(super) fn folder(&self, pointer: &str) -> PathBuf {
        let document = match self.variable(pointer) {
            Some(_) => None,
            None => self.document(pointer),
        };
        let folder = document.and_then(|document| document.name().parent());
        folder.map(Path::to_owned).unwrap_or_default()
    }

    /// A fault at a value.
    pub(super) fn fault(&self, pointer: &str, message: impl Into<String>) -> Fault {
        self.placed(pointer, message.into(), |document, message| document.fault(pointer, message))
    }

    /// A fault at a key.
    pub(super) fn key_fault(&self, pointer: &str, message: impl Into<String>) -> Fault {
        let at_key = |document: &Document, message| document.key_fault(pointer, message);
        self.placed(pointer, message.into(), at_key)
    }

    /// A fault at a value that must not be shown.
    pub(super) fn secret_fault(&self, pointer: &str, message: impl Into<String>) -> Fault {
        let hidden = |document: &Document, message| document.secret_fault(pointer, message);
        self.placed(pointer, message.into(), hidden)
    }

    /// A fault at a key whose value must not be shown.
    pub(super) fn secret_key_fault(&self, pointer: &str, message: impl Into<String>) -> Fault {
        let hidden = |document: &Document, message| document.secret_key_fault(pointer, message);
        self.placed(pointer, message.into(), hidden)
    }

    fn found(&self, finding: Finding) -> Fault {
        let Finding { pointer, place, message, helps, .. } = finding;
        let fault = match place {
            Place::Key => self.key_fault(pointer.as_str(), message),
            Place::Value => self.fault(pointer.as_str(), message),
        };
        helps.into_iter().fold(fault, Fault::help)
    }

    fn placed(
        &self,
        pointer: &str,
        message: String,
        in_document: impl Fn(&Document, String) -> Fault,
    ) -> Fault {
        if let Some(variable) = self.variable(pointer) {
            return variable.fault(message);
        }
        match self.document(pointer) {
            Some(document) => in_document(document, message),
            None => match self.variables.iter().find(|set| below(set.pointer.as_str(), pointer)) {
                Some(variable) => variable.fault(message),
                None => Fault::new("configuration", message),
            },
        }
    }

    /// The variable that set the value at `pointer`.
    fn variable(&self, pointer: &str) -> Option<&Variable> {
        self.variables.iter().find(|variable| variable.pointer.as_str() == pointer)
    }

    /// The file that has the last word at `pointer` or at the nearest place that holds it.
    fn document(&self, pointer: &str) -> Option<&Document> {
        let mut holders: Vec<&Document> = Vec::new();
        let mut candidates: Vec<&Document> = self.documents.iter().collect();
        let mut at = Pointer::root();
        for name in Pointer::from(pointer).names() {
            at = at.join(name);
            candidates.retain(|document| document.holds(at.as_str()));
            let Some(last) = candidates.last().copied() else { break };
            // Tables are merged; of anything else only the last one counts.
            if !matches!(last.value().pointer(at.as_str()), Some(Value::Object(_))) {
                candidates = vec![last];
            }
            holders.clone_from(&candidates);
        }
        holders.last().copied().or(self.documents.first())
    }
}

/// Whether `inner` is `outer` or lies below it.
fn below(inner: &str, outer: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The given files, and after them those of a folder `conf.d` beside the first.
fn with_folder(given: &[PathBuf], faults: &mut Faults) -> Vec<PathBuf> {
    let mut files = given.to_vec();
    let Some(first) = given.first() else { return files };
    let folder = folder_beside(first);
    if !folder.is_dir() {
        return files;
    }
    match std::fs::read_dir(&folder) {
        Err(error) => {
            faults.push(Fault::new(folder, format!("this folder cannot be read: {error}")))
        }
        Ok(entries) => {
            let paths = entries.flatten().map(|entry| entry.path());
            let mut more: Vec<_> =
                paths.filter(|path| path.extension().is_some_and(|end| end == "toml")).collect();
            more.sort();
            files.extend(more);
        }
    }
    files
}

/// The folder of further files beside the first one.
fn folder_beside(first: &Path) -> PathBuf {
    first.parent().unwrap_or(Path::new("")).join("conf.d")
}

/// JSON with the members of objects in the order of their names.
fn write_canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| name.as_str());
            text.push('{');
            for (name, member) in members {
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                write_canonical(member, text);
                text.push(',');
            }
            text.push('}');
        }
        Value::Array(elements) => {
            text.push('[');
            for element in elements {
                write_canonical(element, text);
                text.push(',');
            }
            text.push(']');
        }
        plain => text.push_str(&plain.to_string()),
    }
}

fn read_document(path: &Path) -> Result<Document, Faults> {
    let unreadable = |reason: std::io::Error| match reason.kind() {
        std::io::ErrorKind::NotFound => Fault::new(path, "this file does not exist"),
        _ => Fault::new(path, format!("this file cannot be read: {reason}")),
    };
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(Fault::new(path, "this is not a regular file").into());
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Err(
            Fault::new(path, format!("this file is larger than {FILE_BYTES_MAX} bytes")).into()
        );
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    let text =
        String::from_utf8(bytes).map_err(|_| Fault::new(path, "this file is not UTF-8 text"))?;
    Document::parse(path, text).map(|document| document.keeping_private(of_an_account))
}

/// Whether something belongs to an account: the names of its fields are the recipe's, and any of
/// them may hold a secret that should not be there. Where a secret is kept may be shown.
fn of_an_account(pointer: &Pointer) -> bool {
    let names: Vec<String> = pointer.names().collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    match names.as_slice() {
        ["upstreams", _, "accounts", _, _, "file" | "env" | "credential"] => false,
        ["upstreams", _, "accounts", ..] => true,
        _ => false,
    }
}

/// Merges with the `config` crate: tables key by key, anything else as a whole. Values keep their
/// types on the way; none of that crate's conversions is ever reached.
fn merge(documents: &[Document], variables: &Value) -> Result<Value, Faults> {
    // The crate's messages repeat values and have no place; the files are known to parse.
    let failed = || Faults::from(Fault::new("configuration", "the layers cannot be merged"));
    let variables = toml::to_string(variables).map_err(|_| failed())?;
    let texts = documents.iter().map(Document::text).chain([variables.as_str()]);
    let builder = texts.fold(Config::builder(), |builder, text| {
        builder.add_source(File::from_str(text, FileFormat::Toml))
    });
    builder.build().and_then(Config::try_deserialize).map_err(|_| failed())
}
