//! What a session puts into requests, and when it ends.

use http::{HeaderMap, HeaderValue, Method, header};

use super::check::Run;
use super::compare;
use super::written::{Carried, Content, Rewritten};
use crate::fields::Fields;
use crate::forward::body::{self, BodyKind};
use crate::forward::inject::Injector;
use crate::login::{self, Material};
use crate::recipe::Injection;

impl Run<'_> {
    pub(super) fn carried(&mut self, at: &str, expected: &Carried, session: &Material) {
        let injector = match Injector::new(self.recipe, session, self.now) {
            Ok(injector) => injector,
            Err(unusable) => return self.differs(at, unusable.to_string()),
        };
        let mut methods = vec![Method::GET, Method::POST];
        for name in expected.method_headers.keys() {
            match Method::try_from(name.as_str()) {
                Ok(method) if methods.contains(&method) => {}
                Ok(method) => methods.push(method),
                Err(_) => self.differs(at, format!("`{name}` is no method")),
            }
        }
        for method in methods {
            let mut headers = HeaderMap::new();
            injector.apply(&method, "/", &mut headers);
            let mut wanted = expected.headers.clone();
            match expected.method_headers.get(method.as_str()) {
                Some(besides) => wanted.extend(besides.clone()),
                None if method.is_safe() => {}
                None => wanted.extend(expected.unsafe_headers.clone()),
            }
            for what in compare::fields(&wanted, &headers) {
                self.differs(at, format!("a {method} {what}"));
            }
            let query = injector.query(&method).collect::<Vec<_>>().join("&");
            if !compare::is_text(&expected.query, &query) {
                self.differs(at, format!("a {method} has other query parameters"));
            }
            // What the client itself says stands where the recipe lets it.
            for (name, value, _) in injector.headers(&method) {
                let mut own = HeaderMap::new();
                own.insert(name, "client".parse().unwrap_or(value.clone()));
                injector.apply(&method, "/", &mut own);
                let is_ours = own.get(name) == Some(value);
                let mut kept = self.file.dropped.kept_headers.iter();
                if is_ours == kept.any(|kept| name == kept.as_str()) {
                    let whose = if is_ours { "not left" } else { "left" };
                    self.differs(at, format!("the header field `{name}` is {whose} to clients"));
                }
            }
        }
        self.base(at, expected, session);
        self.bodies(at, expected, &injector);
        let left = session.expires.map(|end| end.duration_since(self.now).unwrap_or_default());
        let wanted = expected.ends.as_deref().map(crate::recipe::duration);
        match wanted {
            Some(Err(message)) => self.differs(at, message),
            None if left.is_none() => {}
            Some(Ok(wanted)) if left == Some(wanted) => {}
            _ => {
                let left = left.map_or("nobody knows when".to_owned(), |left| {
                    format!("after {} s", left.as_secs())
                });
                self.differs(at, format!("it ends otherwise: {left}"));
            }
        }
    }

    fn base(&mut self, at: &str, expected: &Carried, session: &Material) {
        let base = match login::base(self.recipe, &session.values) {
            Ok(base) => base.map(|site| site.to_string()),
            Err(value) => return self.differs(at, format!("`{value}` leads nowhere")),
        };
        if base != expected.base_url {
            let told = base.unwrap_or_else(|| "the upstream itself".to_owned());
            self.differs(at, format!("requests go elsewhere: to {told}"));
        }
    }

    /// What becomes of the bodies of clients' requests.
    fn bodies(&mut self, at: &str, expected: &Carried, injector: &Injector) {
        let recipe = std::sync::Arc::clone(self.recipe);
        let goes_into = |injection: &Injection| BodyKind::of(&injection.into).is_some();
        if expected.bodies.is_empty() && recipe.inject.iter().any(goes_into) {
            self.differs(at, "`bodies` tells what becomes of bodies that the session goes into");
        }
        for (index, Rewritten { method, sent, becomes }) in expected.bodies.iter().enumerate() {
            let at = format!("{at}.bodies[{index}]");
            let Ok(method) = Method::try_from(method.as_str()) else {
                self.differs(at, format!("`{method}` is no method"));
                continue;
            };
            let (content_type, client) = sent.bytes();
            let content_type = HeaderValue::from_static(content_type);
            let headers = Fields::from_iter([(header::CONTENT_TYPE, content_type)]);
            let written = match body::kind(&recipe, &method, &headers) {
                Ok(None) => Ok((None, client)),
                Ok(Some(kind)) => injector
                    .written(&method, kind, &client, usize::MAX)
                    .map(|body| (Some(kind), body)),
                Err(why) => Err(why),
            };
            match written {
                Err(why) => self.differs(at, why.to_string()),
                Ok((kind, body)) if !becomes.is(kind, &body) => {
                    self.differs(at, format!("the body of a {method} becomes another"));
                }
                Ok(_) => {}
            }
        }
    }
}

impl Content {
    /// Its `Content-Type`, and its bytes.
    fn bytes(&self) -> (&'static str, Vec<u8>) {
        match (&self.json, &self.form, &self.xml) {
            (Some(json), ..) => ("application/json", serde_json::to_vec(json).unwrap_or_default()),
            (None, Some(form), _) => {
                ("application/x-www-form-urlencoded", compare::form(form).into_bytes())
            }
            (None, None, Some(xml)) => ("application/xml", xml.clone().into_bytes()),
            (None, None, None) => ("text/plain", Vec::new()),
        }
    }

    /// Whether this is the body, as which `kind` it was written.
    fn is(&self, kind: Option<BodyKind>, body: &[u8]) -> bool {
        let is_written_as = |own: BodyKind| kind.is_none_or(|kind| kind == own);
        match (&self.json, &self.form, &self.xml) {
            (Some(json), ..) if is_written_as(BodyKind::Json) => {
                serde_json::from_slice(body).is_ok_and(|body| compare::is_json(json, &body))
            }
            (None, Some(form), _) if is_written_as(BodyKind::Form) => {
                let fields = compare::pairs(&String::from_utf8_lossy(body));
                form.len() == fields.len()
                    && form.iter().all(|(name, wanted)| {
                        fields.get(name).is_some_and(|value| compare::is_text(wanted, value))
                    })
            }
            (None, None, Some(xml)) if is_written_as(BodyKind::Xml) => {
                compare::is_text(xml, &String::from_utf8_lossy(body))
            }
            _ => false,
        }
    }
}
