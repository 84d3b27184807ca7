//! Sessions with short-lived tokens are prolonged by their refresh token, each of which is good for
//! one use.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use doorward::emulator::Vendor;
use doorward::telemetry::Event;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;

use crate::harness::{Scene, until, within, write};
use crate::puppet::{Puppet, Reply};

/// Renewed 30 s ahead of its end.
const RECIPE: &str = include_str!("../fixtures/pairs.toml");

/// A server of token pairs.
#[derive(Debug, Default)]
struct Server {
    /// The number of the pair that is good now; nothing: none is.
    pair: Option<u32>,
    pairs: u32,
    logins: u32,
    refreshes: u32,
    /// Refresh tokens that came after they were used up.
    used_twice: u32,
    logouts: u32,
    /// Refreshes are refused.
    refuses: bool,
    /// The access token of the pair with this number is dead; its refresh token is good.
    revoked: Option<u32>,
    /// Answers to refreshes are the test's to give; the pair is another one at once.
    hands_over: bool,
    logout_calls: u32,
    /// How long an access token lives, in seconds; nothing: 300.
    life: Option<u32>,
}

const UNAUTHORIZED: &str = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n";

impl Server {
    fn give(&mut self) -> Reply {
        self.pairs += 1;
        self.pair = Some(self.pairs);
        Reply::json(&pair(self.pairs, self.life.unwrap_or(300)))
    }

    fn answer(&mut self, request: &str) -> Reply {
        let is_current = |text: fn(u32) -> String| {
            self.pair.is_some_and(|number| request.contains(&text(number)))
        };
        if request.starts_with("POST /login") {
            self.logins += 1;
            return self.give();
        }
        if request.starts_with("POST /refresh") {
            let good = is_current(refresh) && !self.refuses;
            self.used_twice += u32::from(!is_current(refresh));
            self.refreshes += 1;
            return match good {
                true if self.hands_over => {
                    self.give();
                    Reply::hand_over(Vec::new())
                }
                true => self.give(),
                false => Reply::keep(UNAUTHORIZED),
            };
        }
        if request.starts_with("POST /logout") {
            self.logout_calls += 1;
            self.logouts += u32::from(is_current(refresh));
            self.pair = self.pair.filter(|number| !request.contains(&refresh(*number)));
            return Reply::json("{}");
        }
        match is_current(access) && self.revoked != self.pair {
            true => Reply::json("{}"),
            false => Reply::keep(UNAUTHORIZED),
        }
    }
}

/// What a login or a refresh is answered.
fn pair(number: u32, life: u32) -> String {
    let (access, refresh) = (access(number), refresh(number));
    format!(r#"{{"access":"{access}","refresh":"{refresh}","expires_in":{life}}}"#)
}

/// The same, with its head.
fn whole_pair(number: u32) -> String {
    let body = pair(number, 300);
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

fn access(number: u32) -> String {
    format!("access-{number:020}-token")
}

fn refresh(number: u32) -> String {
    format!("refresh-{number:020}-token")
}

async fn scene() -> Stage {
    scene_with("", Server::default()).await
}

/// A scene with these lines in the recipe's table `[session]`.
async fn scene_with(session: &str, server: Server) -> Stage {
    scene_of(session, "", server).await
}

const STATE: &str =
    "[state]\npath = \"state\"\nkey = { file = \"state_key\" }\nat_stop = \"keep\"\n";

/// A scene that keeps its sessions at stop.
async fn scene_with_state(server: Server) -> Stage {
    scene_of("", STATE, server).await
}

type Stage = (Scene, Arc<Mutex<Server>>, TempDir, Puppet);

async fn scene_of(session: &str, tables: &str, server: Server) -> Stage {
    let folder = tempfile::tempdir().unwrap();
    let recipe = RECIPE.replace("[session]\n", &format!("[session]\n{session}\n"));
    let recipe = write(folder.path(), "pairs.toml", &recipe);
    let server = Arc::new(Mutex::new(server));
    let puppet = Puppet::start({
        let server = Arc::clone(&server);
        move |request| server.lock().unwrap().answer(request)
    })
    .await;
    let mut setup = puppet.setup(Vendor::Contentstack);
    setup.tables = format!("[timeouts]\nsession_idle = \"1h\"\n{tables}");
    setup.recipe = format!("recipe_file = {recipe:?}");
    (setup.start().await, server, folder, puppet)
}

async fn read(scene: &Scene) -> u16 {
    scene.call("GET", "/x").send().await.status.as_u16()
}

/// Fails when a renewal ahead is a login, or when a refresh token is sent twice.
#[tokio::test]
async fn a_session_is_prolonged_ahead_of_its_end_with_no_login() {
    let (scene, server, _folder, _puppet) = scene().await;
    assert_eq!(read(&scene).await, 200);
    for prolonged in 1..=5 {
        scene.clock.advance(Duration::from_secs(275));
        until("it is prolonged", || server.lock().unwrap().refreshes == prolonged).await;
        until("the next version is used", || server.lock().unwrap().pair == Some(prolonged + 1))
            .await;
        assert_eq!(read(&scene).await, 200);
    }
    {
        let server = server.lock().unwrap();
        assert_eq!((server.logins, server.used_twice, server.logouts), (1, 0, 0), "{server:?}");
    }
    let ended = scene.stop().await;
    assert_eq!(server.lock().unwrap().logouts, 1, "the last version, once");
    let failed = |event: &&Event| matches!(event, Event::Refreshed { outcome: Err(_), .. });
    assert_eq!(ended.events.iter().filter(failed).count(), 0);
}

/// Fails when a session that was found dead is logged in anew, or is prolonged more than once.
#[tokio::test]
async fn a_dead_access_token_costs_one_refresh_and_no_client_an_error() {
    let (scene, server, _folder, _puppet) = scene().await;
    assert_eq!(read(&scene).await, 200);
    for round in 1..=3 {
        // The access token dies early; its refresh token is good.
        scene.clock.advance(Duration::from_secs(100));
        {
            let mut server = server.lock().unwrap();
            server.revoked = server.pair;
        }
        let calls: Vec<_> = (0..50).map(|_| scene.call("GET", "/x").spawn()).collect();
        for call in calls {
            assert_eq!(within(call).await.unwrap().status, 200);
        }
        let server = server.lock().unwrap();
        assert_eq!((server.logins, server.refreshes, server.used_twice), (1, round, 0));
    }
    scene.stop().await;
}

/// Fails when a refused refresh ends in an error, or is tried again with the same token.
#[tokio::test]
async fn a_refused_refresh_falls_back_to_one_login() {
    let (scene, server, _folder, _puppet) = scene().await;
    assert_eq!(read(&scene).await, 200);
    server.lock().unwrap().refuses = true;
    scene.clock.advance(Duration::from_secs(301));
    assert_eq!(read(&scene).await, 200);
    {
        let server = server.lock().unwrap();
        assert_eq!((server.logins, server.refreshes), (2, 1), "{server:?}");
    }
    scene.stop().await;
}

/// Fails when a dead session that could be prolonged waits for ever for somebody who needs it.
#[tokio::test]
async fn a_session_that_nobody_prolongs_is_logged_out_in_the_end() {
    // Too short a life to be prolonged ahead.
    let server = Server { life: Some(5), ..Server::default() };
    let (scene, server, _folder, _puppet) = scene_with("", server).await;
    assert_eq!(read(&scene).await, 200);
    scene.clock.advance(Duration::from_secs(6));
    assert_eq!(read(&scene).await, 200);
    assert_eq!(server.lock().unwrap().refreshes, 1);
    scene.clock.advance(Duration::from_secs(6));
    until("its refresh token is given back", || {
        scene.clock.advance(Duration::from_secs(60));
        server.lock().unwrap().logouts == 1
    })
    .await;
    assert_eq!(server.lock().unwrap().logins, 1);
    scene.stop().await;
}

/// Fails when a login that follows a refused refresh waits for the room that its own session takes.
#[tokio::test]
async fn where_one_session_is_all_a_refused_refresh_makes_room_for_the_login() {
    let (scene, server, _folder, _puppet) = scene_with("sessions_max = 1", Server::default()).await;
    assert_eq!(read(&scene).await, 200);
    server.lock().unwrap().refuses = true;
    scene.clock.advance(Duration::from_secs(275));
    until("it is logged in anew", || server.lock().unwrap().logins == 2).await;
    assert_eq!(read(&scene).await, 200);
    {
        let server = server.lock().unwrap();
        assert_eq!((server.refreshes, server.logouts), (1, 1), "{server:?}");
    }
    scene.stop().await;
}

/// Fails when a word about the version before ends the session that its refresh prolongs: then the
/// living session would be logged out, and nobody at the stop.
#[tokio::test]
async fn a_401_while_the_refresh_is_under_way_leaves_the_session_to_the_refresh() {
    let server = Server { hands_over: true, ..Server::default() };
    let (scene, server, _folder, puppet) = scene_with("", server).await;
    assert_eq!(read(&scene).await, 200);
    scene.clock.advance(Duration::from_secs(275));
    let mut refreshing = puppet.handed_over().await;
    let early = scene.call("GET", "/x").spawn();
    until("the version before is found dead", || {
        scene.events().iter().any(|event| matches!(event, Event::Expired(_)))
    })
    .await;
    refreshing.write_all(whole_pair(2).as_bytes()).await.unwrap();
    drop(refreshing);
    assert_eq!(within(early).await.unwrap().status, 200);
    // Longer than the drain time.
    scene.clock.advance(Duration::from_secs(60));
    assert_eq!(read(&scene).await, 200);
    scene.stop().await;
    let server = server.lock().unwrap();
    assert_eq!((server.logins, server.refreshes), (1, 1), "{server:?}");
    assert_eq!((server.logout_calls, server.logouts), (1, 1), "{server:?}");
}

/// Fails when the known end of the version before takes the session out of the ledger while its
/// refresh is under way.
#[tokio::test]
async fn a_session_that_is_refreshed_at_its_end_stays_in_the_ledger() {
    let server = Server { hands_over: true, ..Server::default() };
    let (mut scene, server, _folder, puppet) = scene_with_state(server).await;
    assert_eq!(read(&scene).await, 200);
    scene.clock.advance(Duration::from_secs(295));
    let mut refreshing = puppet.handed_over().await;
    scene.clock.advance(Duration::from_secs(10));
    let late = scene.call("GET", "/x").spawn();
    until("its known end has come", || {
        scene.events().iter().any(|event| matches!(event, Event::Expired(_)))
    })
    .await;
    refreshing.write_all(whole_pair(2).as_bytes()).await.unwrap();
    drop(refreshing);
    assert_eq!(within(late).await.unwrap().status, 200);
    within(scene.take_app().stop()).await;
    scene.start_again();
    assert_eq!(read(&scene).await, 200);
    let server = server.lock().unwrap();
    assert_eq!((server.logins, server.logout_calls), (1, 0), "{server:?}");
}

/// Fails when a refresh is sent that could not be recorded, or its token given away unused; or when
/// the living session makes room for a login that cannot be recorded either.
#[tokio::test]
async fn a_refresh_that_cannot_be_recorded_costs_neither_its_token_nor_the_session() {
    let (scene, server, _folder, _puppet) =
        scene_of("sessions_max = 1", STATE, Server::default()).await;
    assert_eq!(read(&scene).await, 200);
    // Nothing can be written any more.
    scene.app().close_state().await;
    scene.clock.advance(Duration::from_secs(275));
    until("the refresh is tried", || {
        scene.events().iter().any(|event| matches!(event, Event::StateUnwritable { .. }))
    })
    .await;
    assert_eq!(read(&scene).await, 200);
    // Its end comes, and it waits for the disk: for longer than the drain time.
    for _ in 0..3 {
        scene.clock.advance(Duration::from_secs(60));
        assert_eq!(read(&scene).await, 503);
    }
    let calls = |server: &Server| (server.logins, server.refreshes, server.logout_calls);
    assert_eq!(calls(&server.lock().unwrap()), (1, 0, 0));
    scene.stop().await;
    assert_eq!(calls(&server.lock().unwrap()), (1, 0, 1));
    assert_eq!(server.lock().unwrap().logouts, 1);
}

/// Fails when a refresh token is given up, and a login spent, because the upstream could not be
/// reached for a while.
#[tokio::test]
async fn a_refresh_that_could_not_be_sent_is_sent_when_the_upstream_is_there_again() {
    let (scene, server, _folder, puppet) = scene().await;
    assert_eq!(read(&scene).await, 200);
    let address = puppet.address();
    drop(puppet);
    until("nobody listens", || std::net::TcpStream::connect(address).is_err()).await;
    scene.clock.advance(Duration::from_secs(275));
    until("the refresh is tried", || {
        scene.events().iter().any(|event| matches!(event, Event::Refreshed { outcome: Err(_), .. }))
    })
    .await;
    // Its end comes, too.
    scene.clock.advance(Duration::from_secs(60));
    assert_eq!(read(&scene).await, 502);
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let _puppet = Puppet::behind(listener, {
        let server = Arc::clone(&server);
        move |request| server.lock().unwrap().answer(request)
    });
    scene.clock.advance(Duration::from_secs(60));
    assert_eq!(read(&scene).await, 200);
    let calls = |server: &Server| (server.logins, server.refreshes, server.used_twice);
    assert_eq!(calls(&server.lock().unwrap()), (1, 1, 0));
    scene.stop().await;
    assert_eq!(server.lock().unwrap().logouts, 1);
}
