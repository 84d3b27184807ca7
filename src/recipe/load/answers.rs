//! What is answered in the upstream's place, and to whose login.

use http::StatusCode;

use super::Loader;
use crate::recipe::template::{CLIENT_TOKEN, OF_CLIENT_LOGIN};
use crate::recipe::{ClientLogin, LocalAnswer, PasswordPlace, StepBody, written};

impl<'a> Loader<'a> {
    pub(super) fn local_answer(
        &mut self,
        at: &str,
        answer: &'a written::Answer,
        login: Option<&'a written::ClientLogin>,
    ) -> Option<LocalAnswer> {
        let Some(login) = login else { return self.answer(at, answer) };
        let others_read = self.read.remove(CLIENT_TOKEN);
        self.scope.values.extend(OF_CLIENT_LOGIN);
        let loaded = self.answer(at, answer);
        self.scope.values.clear();
        if !self.read.contains(CLIENT_TOKEN) {
            let message =
                "the answer to a login holds `{{client_token}}`: clients show it from then on";
            self.fault(&format!("{at}/answer"), message);
        }
        if others_read {
            self.read.insert(CLIENT_TOKEN.to_owned());
        }
        let login = self.client_login(&format!("{at}/login"), login);
        loaded.map(|answer| LocalAnswer { login: Some(login), ..answer })
    }

    fn client_login(&mut self, at: &str, login: &written::ClientLogin) -> ClientLogin {
        let places = login.password.iter().enumerate();
        let places = places.filter_map(|(index, place)| {
            self.password_place(&format!("{at}/password/{index}"), place)
        });
        ClientLogin { password: places.collect() }
    }

    fn password_place(
        &mut self,
        at: &str,
        place: &written::PasswordPlace,
    ) -> Option<PasswordPlace> {
        match (&place.json, &place.form, &place.query, &place.header) {
            (Some(pointer), None, None, None) => {
                self.pointer(&format!("{at}/json"), pointer).map(PasswordPlace::Json)
            }
            (None, Some(form), None, None) => Some(PasswordPlace::Form(form.clone())),
            (None, None, Some(query), None) => Some(PasswordPlace::Query(query.to_lowercase())),
            (None, None, None, Some(name)) => {
                self.header_name(&format!("{at}/header"), name).map(PasswordPlace::Header)
            }
            _ => {
                let message = "a place has exactly one of `json`, `form`, `query`, `header`";
                self.fault(at, message);
                None
            }
        }
    }

    fn answer(&mut self, at: &str, answer: &'a written::Answer) -> Option<LocalAnswer> {
        let at = format!("{at}/answer");
        let body = match (&answer.json, &answer.text) {
            (Some(json), None) => StepBody::Json(self.json(&format!("{at}/json"), json)),
            (None, Some(text)) => StepBody::Text(self.template(&format!("{at}/text"), text)),
            (None, None) => StepBody::Empty,
            (Some(_), Some(_)) => {
                self.fault(&at, "an answer has one body: `json` or `text`");
                return None;
            }
        };
        let Ok(status) = StatusCode::from_u16(answer.status) else {
            self.fault(&format!("{at}/status"), "a status code is between 100 and 999");
            return None;
        };
        let headers = self.header_templates(&format!("{at}/headers"), &answer.headers);
        let cookies = answer.set_cookies.iter().enumerate();
        let set_cookies = cookies
            .map(|(index, text)| self.template(&format!("{at}/set_cookies/{index}"), text))
            .collect();
        Some(LocalAnswer { status, headers, set_cookies, body, login: None })
    }
}
