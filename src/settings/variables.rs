//! The environment as a layer: `DOORWARD_LIMITS__CONNECTIONS_MAX=5` is `limits.connections_max =
//! 5`.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Number, Value};

use super::written::Written;
use crate::diagnosis::{Difference, Fault, Faults, Finding, Pointer, Scope, findings};
use crate::secret::Environment;

/// What the name of every variable of ours begins with.
pub const VARIABLE_PREFIX: &str = "DOORWARD_";

/// What stands between the levels: key names have single underscores themselves.
const LEVEL_SEPARATOR: &str = "__";

/// Variables that the configuration does not read: one is the command line's, two are what
/// `doorward exec` tells its command.
const COMMAND_LINE_VARIABLES: [&str; 3] = ["DOORWARD_CONFIG", "DOORWARD_URL", "DOORWARD_KEY"];

/// Kubernetes puts the addresses of services into every container; a service that is called
/// `doorward` must not keep Doorward from starting.
/// Source: <https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>
static SERVICE_LINK: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let ends =
        "SERVICE_HOST|SERVICE_PORT(_.*)?|PORT|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?";
    Regex::new(&format!("^DOORWARD_([A-Z0-9_]*_)?({ends})$")).ok()
});

/// A variable and the value that it sets.
#[derive(Clone, Debug)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) pointer: Pointer,
}

/// All variables as one layer.
pub(super) struct Layer {
    pub(super) variables: Vec<Variable>,
    pub(super) value: Value,
}

impl Variable {
    pub(super) fn fault(&self, message: impl Into<String>) -> Fault {
        Fault::new(format!("environment variable {}", self.name), message)
    }
}

/// Reads the variables; `files` is what the files say, for names that a variable cannot spell.
pub(super) fn read(environment: &Environment, files: &Value, faults: &mut Faults) -> Layer {
    let mut layer = Layer { variables: Vec::new(), value: Value::Object(Map::new()) };
    for (name, text) in environment.with_prefix(VARIABLE_PREFIX) {
        if COMMAND_LINE_VARIABLES.contains(&name.as_str()) || service_link(&name) {
            continue;
        }
        let variable = Variable { pointer: pointer(&name, files), name };
        let Ok(text) = text.into_string() else {
            faults.push(variable.fault("the value of this variable is not UTF-8 text"));
            continue;
        };
        match judged(&variable, text) {
            Ok(value) => {
                set(&mut layer.value, &variable.pointer, value);
                layer.variables.push(variable);
            }
            Err(fault) => faults.push(*fault),
        }
    }
    layer
}

fn service_link(name: &str) -> bool {
    let links = SERVICE_LINK.as_ref();
    !name.contains(LEVEL_SEPARATOR) && links.is_some_and(|links| links.is_match(name))
}

/// Which key a variable sets. The name of an upstream may have capitals and hyphens, which no
/// variable can spell: what the files already name is found without regard to them.
fn pointer(name: &str, files: &Value) -> Pointer {
    let levels = name.strip_prefix(VARIABLE_PREFIX).unwrap_or(name).split(LEVEL_SEPARATOR);
    let (mut pointer, mut holder) = (Pointer::root(), Some(files));
    for level in levels {
        let level = level.to_lowercase();
        let keys = holder.and_then(Value::as_object).into_iter().flat_map(Map::keys);
        let mut alike = keys.filter(|key| key.to_lowercase().replace('-', "_") == level);
        let key = alike.next().cloned().unwrap_or(level);
        holder = holder.and_then(|holder| holder.get(&key));
        pointer = pointer.join(key);
    }
    pointer
}

/// The value that a variable sets: its text, or the number, `true` or `false` that the text says,
/// whichever its key takes. A text stays a text where a text is wanted: `0012345` is no number.
fn judged(variable: &Variable, text: String) -> Result<Value, Box<Fault>> {
    let mut best: Option<Finding> = None;
    for value in readings(text) {
        let mut layer = Value::Object(Map::new());
        set(&mut layer, &variable.pointer, value.clone());
        let found = findings::<Written>(&layer, Scope::Layer);
        // Only what is wrong at or above the variable's own key is its fault.
        match found.into_iter().next() {
            None => return Ok(value),
            // Of two refusals the one that liked the type says more.
            Some(finding) if finding.difference == Difference::WrongKind && best.is_some() => {}
            Some(finding) => best = Some(finding),
        }
    }
    Err(Box::new(refusal(variable, best)))
}

/// What a text may say, the plainest first.
fn readings(text: String) -> Vec<Value> {
    let number = text.parse::<i64>().ok().filter(|number| number.to_string() == text);
    let flag = text.parse::<bool>().ok();
    let fraction = text.parse::<f64>().ok().filter(|_| text.contains('.'));
    let fraction = fraction.and_then(Number::from_f64).map(Value::Number);
    let typed = number.map(Value::from).into_iter().chain(flag.map(Value::from)).chain(fraction);
    let typed: Vec<Value> = typed.collect();
    [Value::String(text)].into_iter().chain(typed).collect()
}

fn refusal(variable: &Variable, finding: Option<Finding>) -> Fault {
    let Some(finding) = finding else {
        return variable.fault("the value of this variable cannot be used");
    };
    let above = finding.pointer != variable.pointer;
    match finding.difference {
        Difference::UnknownKey { meant } => {
            let meant = meant.map(|key| respelt(variable, &finding.pointer, &key));
            variable.fault("no key is set by this variable").did_you_mean(meant)
        }
        Difference::WrongKind if above => {
            let message = format!("`{}` cannot be set by a variable", finding.pointer);
            variable.fault(message).help("lists are set in a file as a whole")
        }
        _ => finding.helps.into_iter().fold(variable.fault(finding.message), Fault::help),
    }
}

/// The variable's name with the level at `pointer` called `key`.
fn respelt(variable: &Variable, pointer: &Pointer, key: &str) -> String {
    let level = pointer.names().count().saturating_sub(1);
    let levels = variable.name.strip_prefix(VARIABLE_PREFIX).unwrap_or(&variable.name);
    let respelt: Vec<String> = levels
        .split(LEVEL_SEPARATOR)
        .enumerate()
        .map(|(at, name)| if at == level { key.to_uppercase() } else { name.to_owned() })
        .collect();
    format!("{VARIABLE_PREFIX}{}", respelt.join(LEVEL_SEPARATOR))
}

fn set(layer: &mut Value, pointer: &Pointer, value: Value) {
    let mut place = layer;
    for name in pointer.names() {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        let Value::Object(entries) = place else { return };
        place = entries.entry(name).or_insert(Value::Null);
    }
    *place = value;
}
