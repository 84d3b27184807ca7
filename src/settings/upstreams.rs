//! Upstreams: where they are, by which recipe they are spoken to, how they are trusted.

use std::collections::BTreeMap;

use super::addresses::{Origin, Scheme, UrlError, is_loopback};
use super::meaning::{Meaning, shown, under};
use super::reach;
use super::recipes::{Presence, RecipeFault, RecipeReference, RecipeShape};
use super::ways::Encrypted;
use super::{Reach, Upstream, Way, written};
use crate::diagnosis::suggestion;
use crate::secret::Command;

impl Meaning<'_> {
    pub(super) fn upstreams(
        &mut self,
        written: BTreeMap<String, written::Upstream>,
    ) -> BTreeMap<String, Option<Upstream>> {
        if written.is_empty() && self.layers.sure("/upstreams") {
            self.fault("/upstreams", "there is no upstream");
        }
        let mut upstreams = BTreeMap::new();
        for (name, upstream) in written {
            let at = under("/upstreams", &name);
            self.name(&at, &name);
            let meant = self.upstream(&name, &at, upstream);
            upstreams.insert(name, meant);
        }
        upstreams
    }

    fn upstream(&mut self, name: &str, at: &str, written: written::Upstream) -> Option<Upstream> {
        let connect_timeout =
            self.duration(&under(at, "connect_timeout"), &written.connect_timeout);
        let response_timeout =
            self.duration(&under(at, "response_timeout"), &written.response_timeout);
        let idle_timeout = self.duration(&under(at, "idle_timeout"), &written.idle_timeout);
        let place = written.url.as_deref().and_then(|url| self.origin(at, url));
        let way = self.way(name, at, written.unix_socket, written.proxy);
        let reach = reach::Written {
            addresses: written.addresses,
            resolve_every: written.resolve_every,
            allowed_networks: written.allowed_networks,
            ejection: written.ejection,
            circuit: written.circuit,
        };
        let reach = self.reach(at, place.as_ref().map(|(origin, _)| origin), way.as_ref(), reach);
        if let (Some((origin, _)), Some(way)) = (&place, &way) {
            self.plaintext(name, at, (origin, way, &reach), written.danger_plaintext_login);
        }
        let encrypted = place.as_ref().is_none_or(|(origin, _)| origin.scheme == Scheme::Https);
        let encrypted = if encrypted { Encrypted::Yes } else { Encrypted::No("an upstream") };
        let tls = self.tls_to(&under(at, "tls"), written.tls, encrypted);
        let authority =
            written.authority.and_then(|text| self.authority(&under(at, "authority"), text));
        let recipe = self.recipe(at, written.recipe, written.recipe_file);
        let shape = recipe.as_ref().and_then(|recipe| self.shape(at, recipe));
        if let Some(shape) = &shape {
            self.parameters(at, &written.parameters, shape);
        }
        let accounts = self.accounts(at, written.accounts, shape.as_ref());
        let helper = self.login_helper(at, written.login_helper, shape.as_ref());
        let limits = self.limit(&under(at, "limits"), written.limits);
        let upgrades = self.upgrades(&under(at, "upgrades"), written.upgrades);
        let (origin, base_path) = place?;
        Some(Upstream {
            name: name.to_owned(),
            origin,
            base_path,
            recipe: recipe?,
            parameters: written.parameters,
            accounts,
            login_helper: helper,
            authority,
            way: way?,
            tls,
            http2: written.http2,
            streams: written.streams,
            search_bodies: written.search_bodies,
            upgrades,
            limits,
            connect_timeout,
            reach,
            response_timeout,
            idle_timeout,
        })
    }

    pub(super) fn origin(&mut self, at: &str, url: &str) -> Option<(Origin, String)> {
        let at = under(at, "url");
        let error = match Origin::parse(url) {
            Ok(place) => return Some(place),
            Err(error) => error,
        };
        let message = error.to_string();
        let fault = match error {
            UrlError::UserInfo => self
                .layers
                .secret_fault(&at, message)
                .help("what to log in with belongs into the upstream's accounts"),
            UrlError::NotAUrl => {
                self.layers.fault(&at, message).help("for example \"https://api.example.com\"")
            }
            _ => self.layers.fault(&at, message),
        };
        self.faults.push(fault);
        None
    }

    /// Passwords go over TLS or stay on this machine, unless somebody takes the danger on.
    fn plaintext(
        &mut self,
        name: &str,
        at: &str,
        (origin, way, reach): (&Origin, &Way, &Reach),
        danger: bool,
    ) {
        let stays_here = match (way, reach.addresses.as_slice()) {
            (Way::Direct, [_, ..]) => {
                reach.addresses.iter().all(|address| is_loopback(address.ip()))
            }
            (way, _) => way.stays_here(origin),
        };
        if origin.scheme == Scheme::Https || stays_here {
            return;
        }
        if danger {
            self.warnings.push(format!(
                "upstream `{name}`: logins go to {origin} in the clear (danger_plaintext_login)"
            ));
        } else if !self.layers.broken(at) {
            let message = "plain `http` would send the login to another machine in the clear";
            let fault = self.layers.fault(&under(at, "url"), message);
            self.faults.push(fault.help("use `https`, or say `danger_plaintext_login = true`"));
        }
    }

    fn upgrades(&mut self, at: &str, written: Vec<String>) -> Vec<String> {
        for (index, protocol) in written.iter().enumerate() {
            let name = protocol.split('/').next().unwrap_or_default();
            let is_token =
                |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            let parts = protocol.split('/');
            if protocol.matches('/').count() > 1
                || parts.clone().any(|part| part.is_empty() || !part.bytes().all(is_token))
            {
                self.fault(&under(at, &index.to_string()), "this is no protocol's name");
            } else if ["h2c", "h2", "http", "tls"].iter().any(|one| name.eq_ignore_ascii_case(one))
            {
                let message =
                    format!("an upgrade to `{protocol}` would carry requests past every rule");
                self.fault(&under(at, &index.to_string()), message);
            }
        }
        written.iter().map(|protocol| protocol.to_ascii_lowercase()).collect()
    }

    fn recipe(
        &mut self,
        at: &str,
        name: Option<String>,
        file: Option<String>,
    ) -> Option<RecipeReference> {
        match (name, file) {
            (Some(name), None) => Some(RecipeReference::BuiltIn(name)),
            (None, Some(file)) => {
                let path = self.path(&under(at, "recipe_file"), &file);
                if path.is_file() {
                    return Some(RecipeReference::File(path));
                }
                let message = format!("there is no file `{}`", shown(&path));
                self.fault(&under(at, "recipe_file"), message);
                None
            }
            (Some(_), Some(_)) => {
                let message = "only one of `recipe` and `recipe_file` can be given";
                let fault = self.layers.key_fault(&under(at, "recipe_file"), message);
                self.faults.push(fault);
                None
            }
            (None, None) => {
                if !self.layers.broken(at) {
                    let message = format!("missing key `recipe` in `{}`", dotted(at));
                    let fault = self.layers.key_fault(at, message);
                    self.faults.push(
                        fault.help("the name of a built-in recipe, or `recipe_file` for your own"),
                    );
                }
                None
            }
        }
    }

    fn shape(&mut self, at: &str, recipe: &RecipeReference) -> Option<RecipeShape> {
        match ((self.recipes)(recipe), recipe) {
            (Ok(shape), _) => return Some(shape),
            (Err(RecipeFault::Faulty(faults)), _) => self.faults.extend(faults),
            (Err(RecipeFault::Unknown(known)), RecipeReference::BuiltIn(name)) => {
                let message = format!("no built-in recipe is called `{name}`");
                let fault = self.layers.fault(&under(at, "recipe"), message);
                let fault = match suggestion(name, &known) {
                    None => fault.help(format!("the built-in recipes are {}", known.join(", "))),
                    meant => fault.did_you_mean(meant),
                };
                self.faults.push(fault);
            }
            (Err(RecipeFault::Unknown(_)), RecipeReference::File(path)) => {
                let message = format!("there is no recipe in `{}`", shown(path));
                self.fault(&under(at, "recipe_file"), message);
            }
        }
        None
    }

    fn parameters(&mut self, at: &str, written: &BTreeMap<String, String>, shape: &RecipeShape) {
        let at = under(at, "parameters");
        let known: Vec<&str> = shape.parameters.iter().map(|known| known.name.as_str()).collect();
        for name in written.keys().filter(|name| !known.contains(&name.as_str())) {
            let message = format!("the recipe has no parameter `{name}`");
            let fault = self.layers.key_fault(&under(&at, name), message);
            self.faults.push(fault.did_you_mean(suggestion(name, &known)));
        }
        let required = shape.parameters.iter().filter(|one| one.presence == Presence::Required);
        for parameter in required.filter(|parameter| !written.contains_key(&parameter.name)) {
            if !self.layers.broken(&at) {
                let message = format!("the recipe needs the parameter `{}`", parameter.name);
                let fault = self.layers.key_fault(&at, message);
                self.faults
                    .push(fault.help(format!("parameters = {{ {} = \"...\" }}", parameter.name)));
            }
        }
    }
}

impl Meaning<'_> {
    fn login_helper(
        &mut self,
        at: &str,
        written: Option<written::LoginHelper>,
        shape: Option<&RecipeShape>,
    ) -> Option<Command> {
        let helper_at = under(at, "login_helper");
        match (&written, shape) {
            (Some(_), Some(shape)) if !shape.asks_helper => {
                let fault = self.layers.key_fault(&helper_at, "the recipe asks no login helper");
                self.faults.push(fault);
            }
            (None, Some(shape)) if shape.asks_helper && !self.layers.broken(at) => {
                let message = "the recipe asks a login helper: `login_helper` must name it";
                let fault = self.layers.key_fault(at, message);
                let help = "login_helper = { command = [\"/usr/local/lib/doorward/log-in\"] }";
                self.faults.push(fault.help(help));
            }
            _ => {}
        }
        let written = written?;
        let timeout = self.duration(&under(&helper_at, "timeout"), &written.timeout);
        Some(self.program(&under(&helper_at, "command"), written.command, timeout))
    }
}

fn dotted(pointer: &str) -> String {
    crate::diagnosis::Pointer::from(pointer).to_string()
}
