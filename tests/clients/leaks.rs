//! The search for session material and passwords in what a client saw, in every form that a value
//! takes on its way: as it is, base64, percent, JSON.

/// The values of `secrets` of which some form is in `bytes`, with the name of the first such form.
pub fn leaks<'a>(secrets: &'a [String], bytes: &[u8]) -> Vec<(&'a str, &'static str)> {
    // What is no text becomes replacement characters; whatever is text stays as it is.
    let text = String::from_utf8_lossy(bytes);
    let leaked = |secret: &'a String| {
        let found = forms(secret).into_iter().find(|(_, form)| text.contains(form));
        found.map(|(name, _)| (secret.as_str(), name))
    };
    secrets.iter().filter_map(leaked).collect()
}

fn forms(secret: &str) -> Vec<(&'static str, String)> {
    use data_encoding::{BASE64, BASE64URL, HEXLOWER, HEXUPPER};
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

    let percent = utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string();
    let json = serde_json::to_string(secret).unwrap();
    let mut forms = vec![
        ("plain", secret.to_owned()),
        ("json", json.trim_matches('"').to_owned()),
        ("percent", percent.replace("%2E", ".").replace("%2D", "-").replace("%5F", "_")),
        ("percent, everything", percent.clone()),
        ("percent, small letters", lower_percent(&percent)),
        ("form", percent.replace("%20", "+")),
        ("hex", HEXLOWER.encode(secret.as_bytes())),
        ("hex", HEXUPPER.encode(secret.as_bytes())),
    ];
    // Inside a longer base64 text a value starts at one of three places; the characters that also
    // hold a neighbour's bits are cut off.
    for before in 0..3 {
        let shifted = [&[0; 2][..before], secret.as_bytes()].concat();
        let from = (before * 8).div_ceil(6);
        let to = shifted.len() * 8 / 6;
        forms.push(("base64", BASE64.encode(&shifted)[from..to].to_owned()));
        forms.push(("base64url", BASE64URL.encode(&shifted)[from..to].to_owned()));
    }
    forms
}

fn lower_percent(percent: &str) -> String {
    let mut small = 0;
    percent
        .chars()
        .map(|character| match (character, small) {
            ('%', _) => {
                small = 2;
                character
            }
            (_, 0) => character,
            _ => {
                small -= 1;
                character.to_ascii_lowercase()
            }
        })
        .collect()
}

#[test]
fn every_form_of_a_secret_is_found() {
    use data_encoding::BASE64;

    let secret = "p\"w%&=+é-with-marks".to_owned();
    let secrets = [secret.clone()];
    let seen = [
        secret.clone(),
        serde_json::json!({ "password": secret }).to_string(),
        "password=p%22w%25%26%3D%2B%C3%A9-with-marks&rememberme=false".to_owned(),
        "password=p%22w%25%26%3d%2b%c3%a9%2dwith%2dmarks".to_owned(),
        BASE64.encode(format!("user:{secret}").as_bytes()),
        BASE64.encode(format!("ab:{secret} and more").as_bytes()),
        BASE64.encode(format!("a:{secret}!").as_bytes()),
    ];
    for text in seen {
        assert!(!leaks(&secrets, text.as_bytes()).is_empty(), "not found in {text}");
    }
    assert!(leaks(&secrets, b"p-with-marks").is_empty());
}
