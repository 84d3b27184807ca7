//! Logins by a program: what it is given and what it is not, what its end means, and that nothing of it
//! stays or is shown.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use doorward::emulator::Vendor;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::doctor::{ON_PAPER, Subject};
use crate::harness::{Scene, until, write};
use crate::puppet::{Puppet, Reply};

const RECIPE: &str = r#"
    name = "helped"
    title = "A session that a program gets"
    account.username = { kind = "login_name" }
    account.password = { kind = "secret" }
    inject = [{ header = "Authorization", value = "Bearer {{token}}" }]
    verdict = [{ when = { status = [401] }, then = "expired" }]
    session.expires = { value = "lives", unit = "seconds" }
    [[login.steps]]
    name = "ask the helper"
    exec = { user = "{{username}}", password = "{{password}}", otp = "" }
    take.token = { json = "/token" }
    take.lives = { json = "/expires_in", optional = true }
    [[refresh.steps]]
    name = "ask it again"
    exec = { token = "{{token}}" }
    take.token = { json = "/token" }
    take.lives = { json = "/expires_in", optional = true }
    [[logout.steps]]
    name = "give it back"
    exec = { token = "{{token}}" }
"#;

/// Keeps what it is given, one file a run, with its arguments and its environment.
const GOOD: &str = r#"
    run=$(ls "$FOLDER" | grep -c '^input')
    cat > "$FOLDER/input$run"
    { env; printf '%s ' "$0" "$@"; } > "$FOLDER/seen$run"
    echo "{\"token\":\"a-token-of-run-$run\",\"expires_in\":600}"
"#;

struct Helped {
    scene: Scene,
    folder: TempDir,
    puppet: Puppet,
}

const PASSWORD: &str = "pass of the helped one";

/// A gateway whose helper is a shell that runs `script`.
async fn helped(script: &str, lines: &str) -> Helped {
    let folder = tempfile::tempdir().unwrap();
    let recipe = write(folder.path(), "helped.toml", RECIPE);
    let puppet = Puppet::start(|_| Reply::json("{}")).await;
    let mut setup = puppet.setup(Vendor::Contentstack);
    setup.user.password = PASSWORD.to_owned();
    setup.recipe = format!("recipe_file = {recipe:?}");
    setup.upstream = helper(&folder, script, lines);
    let scene = setup.start_with(&[("PATH", "/usr/bin:/bin"), ("OTHER_SECRET", "canary")]).await;
    Helped { scene, folder, puppet }
}

fn helper(folder: &TempDir, script: &str, lines: &str) -> String {
    let script = script.replace("$FOLDER", &folder.path().display().to_string());
    let script = write(folder.path(), "helper.sh", &script);
    format!("login_helper = {{ command = [\"/bin/sh\", {script:?}, \"an argument\"]{lines} }}")
}

impl Helped {
    fn input(&self, run: usize) -> Value {
        serde_json::from_str(&self.read(&format!("input{run}"))).unwrap()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    fn runs(&self) -> usize {
        let runs = self.read("runs");
        runs.lines().count()
    }

    fn authorization(&self) -> Option<String> {
        let request = self.puppet.requests().pop()?;
        let mut lines = request.lines();
        lines.find_map(|line| Some(line.strip_prefix("authorization: ")?.to_owned()))
    }
}

/// Fails when a helper is given more or less than its contract says, when a value is in its arguments or
/// its environment, or when its values do not become a session that is refreshed and given back.
#[tokio::test]
async fn a_helper_logs_in_refreshes_and_logs_out() {
    let helped = helped(GOOD, "").await;
    assert_eq!(helped.scene.call("GET", "/x").send().await.status, 200);
    assert_eq!(helped.authorization().unwrap(), "Bearer a-token-of-run-0");
    let base_url = helped.puppet.origin();
    let login = json!({
        "version": 1,
        "purpose": "login",
        "base_url": base_url,
        "values": { "user": Vendor::Contentstack.seeded_user().login, "password": PASSWORD, "otp": "" },
    });
    assert_eq!(helped.input(0), login);
    let seen = helped.read("seen0");
    for hidden in [PASSWORD, "canary", "OTHER_SECRET", "CARGO_"] {
        assert!(!seen.contains(hidden), "{seen}");
    }
    assert!(seen.contains("PATH=/usr/bin:/bin") && seen.contains("an argument"), "{seen}");

    helped.scene.clock.advance(Duration::from_secs(580));
    until("it is refreshed", || helped.folder.path().join("input1").exists()).await;
    until("the new token is used", || helped.read("seen1").contains("an argument")).await;
    let refresh = json!({
        "version": 1,
        "purpose": "refresh",
        "base_url": base_url,
        "values": { "token": "a-token-of-run-0" },
    });
    assert_eq!(helped.input(1), refresh);
    assert_eq!(helped.scene.call("GET", "/x").send().await.status, 200);

    let Helped { mut scene, folder, .. } = helped;
    let report = scene.take_app().stop().await;
    let logout = fs::read_to_string(folder.path().join("input2")).unwrap();
    let logout: Value = serde_json::from_str(&logout).unwrap();
    assert_eq!(logout["purpose"], "logout");
    assert_eq!(logout["values"]["token"], "a-token-of-run-1");
    assert_eq!((report.confirmed, report.unconfirmed), (1, 0));
}

/// Fails when the end of a helper means something else than its contract says, when a wrong password is
/// tried twice, or when a request goes on without a session.
#[tokio::test]
async fn what_a_helper_ends_with_is_what_becomes_of_the_login() {
    for (ending, codes, cause) in [
        ("exit 77", &["login_refused"][..], ""),
        ("echo '{\"refused\":\"locked\"}'", &["login_refused"], ""),
        ("echo '{\"refused\":\"slots_full\"}'; exit 1", &["login_held_back"], "slots_full"),
        ("echo '{\"retry_after\":40}'; exit 75", &["login_held_back"], "throttled"),
        ("exit 69", &["login_held_back"], "upstream_broken"),
        ("exit 3", &["login_held_back", "login_refused"], ""),
        ("kill -9 $$", &["login_held_back", "login_refused"], ""),
        ("echo no json", &["login_held_back", "login_refused"], ""),
        ("head -c 5000000 /dev/zero", &["login_held_back", "login_refused"], ""),
    ] {
        let helped = helped(&format!("echo >> \"$FOLDER/runs\"\n{ending}"), "").await;
        for _ in 0..3 {
            let answer = helped.scene.call("GET", "/x").send().await;
            assert!(codes.contains(&answer.problem().as_str()), "{ending}: {answer:?}");
            assert!(answer.text().contains(cause), "{ending}: {}", answer.text());
            if ending.contains("40") {
                assert_eq!(answer.one("retry-after"), "40", "{ending}");
            }
        }
        assert_eq!(helped.runs(), 1, "{ending}");
        assert!(helped.puppet.requests().is_empty(), "{ending}");
    }
}

/// Fails when a helper that hangs has no end, or leaves something running that it began.
#[tokio::test]
async fn a_helper_that_hangs_is_killed_with_all_that_it_began() {
    let script = "sleep 1000 & echo $! > \"$FOLDER/child\"\nwait";
    let helped = helped(script, ", timeout = \"500ms\"").await;
    assert_eq!(helped.scene.call("GET", "/x").send().await.problem(), "login_held_back");
    let child: u32 = helped.read("child").trim().parse().unwrap();
    let state = || {
        let stat = fs::read_to_string(PathBuf::from(format!("/proc/{child}/stat")));
        stat.ok().and_then(|stat| stat.rsplit_once(") ")?.1.chars().next())
    };
    until("it is gone", || matches!(state(), None | Some('Z' | 'X'))).await;
}

/// Fails when a helper that cannot be started costs an attempt, or is told as something else.
#[tokio::test]
async fn a_helper_that_is_not_there_is_told_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = write(folder.path(), "helped.toml", RECIPE);
    let puppet = Puppet::start(|_| Reply::json("{}")).await;
    let mut setup = puppet.setup(Vendor::Contentstack);
    setup.recipe = format!("recipe_file = {recipe:?}");
    setup.upstream = "login_helper = { command = [\"./no-such-helper\"] }".to_owned();
    let scene = setup.start().await;
    let answer = scene.call("GET", "/x").send().await;
    assert_eq!(answer.problem(), "upstream_unreachable", "{answer:?}");
    let events = format!("{:?}", scene.events());
    assert!(events.contains("no-such-helper"), "{events}");
}

/// Fails when what a helper says on standard error shows a value, in the log or to `doorward try`, or is
/// not told at all.
#[tokio::test]
async fn what_a_helper_says_is_told_without_a_value() {
    let script = "cat >&2; echo >&2; echo the vault is sealed >&2; exit 3";
    let helped = helped(script, "").await;
    helped.scene.call("GET", "/x").send().await;
    let events = format!("{:?}", helped.scene.events());
    assert!(events.contains("the vault is sealed"), "{events}");
    assert!(!events.contains(PASSWORD), "{events}");

    let mut user = Vendor::Contentstack.seeded_user();
    user.password = PASSWORD.to_owned();
    let recipe = helped.folder.path().join("helped.toml");
    let lines = helper(&helped.folder, script, "");
    let lines = format!("recipe_file = {recipe:?}\n{lines}");
    let origin = helped.puppet.origin();
    let said = Subject::with_recipe(Vendor::Contentstack, &origin, &user, &lines);
    let said = said.tried(ON_PAPER, &[]).await;
    let all = format!("{}{}", said.out, said.errors);
    assert!(all.contains("EXEC login") && all.contains("the vault is sealed"), "{all}");
    assert!(!all.contains(PASSWORD), "{all}");
}
