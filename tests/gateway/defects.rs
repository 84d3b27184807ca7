//! What other gateways get wrong with login sessions, and what the vendors' rules ask for: each
//! with the tests that hold it, here or in another file, and the mechanism that they would miss.
//! `tests/house/defects.rs` proves that the tests of these tables are there.
//!
//! # Defects of other gateways
//!
//! | Defect | Tests | Notices the removal of |
//! |---|---|---|
//! | 1. A wrong password is tried by every request | `lock_out::a_wrong_password_costs_one_login_and_everybody_is_told_the_same` | the quarantine in `Guard::admit`, the shared flight |
//! | 2. The client that began a login takes it away with it | `defects::a_client_that_leaves_in_the_middle_of_a_login_harms_nobody_then_or_later`, `single_login::a_client_that_leaves_in_the_middle_of_a_login_does_not_cancel_it` | the task that a flight has of its own |
//! | 3. Each late 401 costs a login | `defects::expired_answers_that_trickle_in_cost_one_login`, `single_login::a_late_expiry_does_not_drop_a_newer_session` | the comparison of generations in `Inner::expire` |
//! | 4. A replay carries the session that was refused | `defects::a_replay_carries_another_session_or_is_not_made`, `replay_once::late_answers_to_an_older_session_are_replayed_on_the_current_one_without_a_login` | the new session for the second sending |
//! | 5. A missing permission is taken for an expiry | `defects::a_refused_write_is_the_clients_answer_and_is_sent_once`, `verdicts::a_forbidden_object_of_m_files_is_the_clients_answer` | the recipe's vetoes |
//! | 6. Without a session requests go on as they are | `defects::after_a_failed_login_nothing_is_sent_without_a_session` | the early return without a session |
//! | 7. A download that began by replay is cut | `streams::a_large_slow_download_that_began_by_replay_completes`, `refresh::the_old_session_is_logged_out_after_its_last_request` | the answer's body outside the request's time, the hold on its session |
//! | 8. A slow login is begun again | `single_login::a_login_that_takes_20_s_is_one_login` | the shared flight |
//! | 9. One upstream's login holds up the others | `single_login::a_login_that_hangs_at_one_upstream_leaves_the_others_untouched` | a gate for each account, and the login in a task of its own |
//! | 10. Accounts, or an edited secret, share a session | `hostile/sessions::two_accounts_at_one_upstream_never_share_a_session`, `restart::a_session_of_another_secret_is_closed_at_the_start` | the account and the fingerprint in `SessionKey` |
//! | 11. The first answer is lost where no replay is made | `replay::beyond_the_bound_the_first_answer_passes_whole_with_the_reason`, `replay_once::a_first_answer_in_the_middle_of_an_upload_reaches_the_client_whole` | the first answer as the last word |
//! | 12. A secret is told by answers, logs or `Debug` | `nothing_leaks::the_most_talkative_log_holds_no_secret_and_no_key`, `nothing_leaks::debug_of_a_running_gateway_shows_no_secret`, `nothing_leaks::header_fields_that_hold_the_session_are_masked_in_every_form` | `SecretText`, the masks |
//! | 13. A cold start answers 401 | `defects::a_cold_request_waits_for_the_login_and_is_answered_by_the_upstream`, `single_login::a_wait_ends_at_the_requests_deadline_and_the_login_goes_on` | the wait for the flight |
//! | 14. A login that hangs is waited for without end | `single_login::a_login_that_hangs_is_given_up_once_and_not_sent_again_blindly` | the login's own deadline |
//! | 15. The background goes on after a refusal | `refresh::after_a_refused_renewal_nothing_is_sent_in_the_background` | the guard before renewals |
//! | 16. A login without room is repeated in a storm | `defects::a_429_that_means_no_room_starts_no_storm_of_logins`, `lock_out::a_throttled_login_waits_as_long_as_the_vendor_says_and_costs_no_attempt` | the pause of `slots_full` |
//! | 17. A late write of the state brings a session back | `defects::a_session_whose_logout_has_begun_is_never_used_by_a_later_start`, `src/state/tests.rs::what_was_deleted_stays_deleted_whatever_is_replaced_later` | the record before the logout, `Change::Replace` |
//! | 18. A login whose answer was lost is sent again | `single_login::a_login_whose_answer_is_lost_is_not_repeated_before_its_pause`, `restart::a_login_that_a_crash_cut_off_is_counted_and_listed` | the pause of `answer_lost`, the record before the login |
//!
//! # What the vendors' rules ask for
//!
//! | Invariant | Tests | Notices the removal of |
//! |---|---|---|
//! | 1. Many first requests cost one login | `single_login::many_cold_requests_cost_one_login` | the shared flight |
//! | 2. A death under many requests costs one login, no error, no doubled write | `single_login::a_session_killed_under_many_requests_costs_one_login_and_no_client_an_error` | replay, the comparison of generations |
//! | 3. A wrong password never reaches the vendor's lock | `lock_out::a_wrong_password_costs_one_login_and_everybody_is_told_the_same`, `lock_out::a_refusal_that_nobody_classified_never_costs_more_than_the_budget` | the lock-out guard |
//! | 4. No byte of a token, cookie or password gets out | `nothing_leaks::endpoints_that_show_the_session_show_a_placeholder`, `nothing_leaks::header_fields_that_hold_the_session_are_masked_in_every_form`, `searched_bodies::an_endpoint_that_nobody_marked_shows_no_session_value`, `searched_bodies::a_value_over_the_edges_of_chunks_is_replaced`, `nothing_leaks::trailers_do_not_carry_the_session_out`, `nothing_leaks::the_most_talkative_log_holds_no_secret_and_no_key` | the masks, `SecretText` |
//! | 5. Three gateways share 20 tokens in peace | `three_gateways::three_gateways_on_one_account_with_room_never_end_each_others_sessions`, `three_gateways::three_gateways_on_one_slot_do_not_fight_for_ever` | the count of deaths and its pauses |
//! | 6. A refusal that is about something else costs no login | `verdicts::a_forbidden_object_of_m_files_is_the_clients_answer`, `verdicts::contentstacks_401s_about_something_else_are_the_clients_answers`, `verdicts::a_wrong_org_and_a_missing_privilege_are_the_clients_answers` | the recipes' vetoes |
//! | 7. A stop leaves no session open | `stop::running_requests_end_and_then_every_session_is_logged_out`, `stop::a_login_under_way_at_the_stop_leaves_no_session_open` | the logouts at stop |

use std::path::Path;
use std::time::Duration;

use doorward::emulator::{Credential, Forced, Vendor, contentstack};
use doorward::telemetry::Event;
use serde_json::json;

use crate::harness::{Scene, Setup, until, within, write as write_file};
use crate::restart::{keep_state, put_back};
use crate::vendors::{login_line, logout_line, read, read_line, write, write_line};

/// How many requests with this line the upstream got.
fn sent(scene: &Scene, line: &str) -> usize {
    let records = scene.control().requests();
    let lines = records.iter().map(|record| format!("{} {}", record.method, record.target));
    lines.filter(|sent| sent.contains(line)).count()
}

/// Fails when a login ends with the client that began it, whether others wait for it or nobody
/// does, or when one that was left keeps later logins from being made.
#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_a_login_harms_nobody_then_or_later() {
    for vendor in Vendor::ALL {
        let scene = Scene::of(vendor).await;
        for (logins, others) in [(1, 20), (2, 0)] {
            let login = scene.control().hold(login_line(vendor));
            let leaving = read(&scene).spawn();
            within(login.arrived(1)).await;
            let staying: Vec<_> = (0..others).map(|_| read(&scene).spawn()).collect();
            let ended = requests_ended(&scene);
            leaving.abort();
            until("it is noticed", || requests_ended(&scene) > ended).await;
            login.release();
            for call in staying {
                assert_eq!(within(call).await.unwrap().status, 200, "{vendor}");
            }
            assert_eq!(read(&scene).send().await.status, 200, "{vendor}");
            assert_eq!(scene.control().counters().logins, logins, "{vendor}");
            scene.clock.advance(Duration::from_secs(300));
            assert_eq!(scene.control().expire_sessions(), 1);
        }
        assert_eq!(read(&scene).send().await.status, 200, "{vendor}");
        assert_eq!(scene.control().counters().logins, 3, "{vendor}");
        scene.stop().await;
    }
}

/// How many requests have ended, also because their client left.
fn requests_ended(scene: &Scene) -> usize {
    scene.events().iter().filter(|event| matches!(event, Event::Request(_))).count()
}

/// Answers that come one group after the other, and the requests of each.
const GROUPS: usize = 40;
const GROUP: usize = 5;

/// Fails when a report about an older generation ends the current session, or when its request is
/// not sent again on that.
#[tokio::test]
async fn expired_answers_that_trickle_in_cost_one_login() {
    let scene = Scene::of(Vendor::Contentstack).await;
    assert_eq!(read(&scene).send().await.status, 200);
    scene.control().expire_sessions();
    scene.control().reset_counters();
    let mut groups = Vec::new();
    for number in 0..GROUPS {
        let target = format!("/v3/content_types?group={number:03}");
        let hold = scene.control().hold(&target);
        let call = scene.call("GET", &target).header("api_key", contentstack::API_KEY);
        let calls: Vec<_> = (0..GROUP).map(|_| call.clone().spawn()).collect();
        groups.push((hold, calls));
    }
    for (hold, _) in &groups {
        within(hold.arrived(GROUP)).await;
    }
    for (hold, calls) in groups {
        hold.release();
        for call in calls {
            assert_eq!(within(call).await.unwrap().status, 200);
        }
        scene.clock.advance(Duration::from_millis(50));
    }
    let counters = scene.control().counters();
    assert_eq!(counters.logins, 1);
    assert_eq!(counters.requests_with_dead_credential, (GROUPS * GROUP) as u64);
    assert_eq!(counters.requests_with_live_credential, (GROUPS * GROUP) as u64);
    scene.stop().await;
}

/// Fails when the second sending carries what the first one carried, or is made without a newer
/// session.
#[tokio::test]
async fn a_replay_carries_another_session_or_is_not_made() {
    let vendor = Vendor::Contentstack;
    let scene = Scene::of(vendor).await;
    assert_eq!(read(&scene).send().await.status, 200);
    scene.control().expire_sessions();
    scene.control().reset_counters();
    assert!(write(&scene, 1).send().await.status.is_success());
    let credentials = |scene: &Scene| -> Vec<Credential> {
        let records = scene.control().requests().into_iter();
        let writes = records.filter(|record| record.target.contains("/entries"));
        writes.map(|record| record.credential).collect()
    };
    assert_eq!(credentials(&scene), [Credential::Dead, Credential::Live]);
    let issued = scene.control().issued();
    let tokens = issued.iter().filter(|value| value.starts_with("blt"));
    let carried = tokens.filter(|token| scene.control().requests_with(token) == 1);
    assert_eq!(carried.count(), 2, "each sending has a token of its own");

    // Where there is no newer session, there is no second sending.
    scene.clock.advance(Duration::from_secs(300));
    scene.control().expire_sessions();
    scene.control().reset_counters();
    let matching = login_line(vendor).to_owned();
    let broken = Forced { matching, times: 10, status: Some(503), ..Forced::default() };
    scene.control().force(broken).unwrap();
    let answer = write(&scene, 2).send().await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (503, "login_held_back"));
    assert_eq!(credentials(&scene), [Credential::Dead]);
    assert_eq!(scene.control().counters().writes, 0);
    scene.stop().await;
}

/// Fails when a missing permission is taken for an expiry: the write would be sent twice.
#[tokio::test]
async fn a_refused_write_is_the_clients_answer_and_is_sent_once() {
    for (vendor, status, body) in [
        (Vendor::Contentstack, 401, json!({ "error_code": 161, "error_message": "no access" })),
        (Vendor::ThoughtSpot, 403, json!({ "code": 10023, "debug": "not allowed" })),
        (
            Vendor::MFiles,
            403,
            json!({ "Status": 403, "IsLoggedToApplication": true, "IsLoggedToVault": true }),
        ),
    ] {
        let scene = Scene::of(vendor).await;
        assert_eq!(read(&scene).send().await.status, 200);
        scene.control().reset_counters();
        let refused = Forced {
            matching: write_line(vendor).to_owned(),
            status: Some(status),
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: body.to_string(),
            ..Forced::default()
        };
        scene.control().force(refused).unwrap();
        let answer = write(&scene, 1).send().await;
        assert_eq!((answer.status.as_u16(), answer.json()), (status, body), "{vendor}");
        assert_eq!(sent(&scene, write_line(vendor)), 1, "{vendor}");
        assert_eq!(sent(&scene, login_line(vendor)), 0, "{vendor}");
        // The session goes on, and what it writes is written once.
        assert!(write(&scene, 1).send().await.status.is_success(), "{vendor}");
        let counters = scene.control().counters();
        assert_eq!((counters.logins, counters.writes), (0, 1), "{vendor}");
        scene.stop().await;
    }
}

/// Fails when a request is sent on although there is no session to put into it.
#[tokio::test]
async fn after_a_failed_login_nothing_is_sent_without_a_session() {
    let answered = |status, content_type: &str, body: &str| Forced {
        status: Some(status),
        headers: vec![("content-type".to_owned(), content_type.to_owned())],
        body: body.to_owned(),
        ..Forced::default()
    };
    for vendor in Vendor::ALL {
        for failure in [
            answered(401, "application/json", "{}"),
            answered(418, "text/plain", "a teapot"),
            answered(429, "application/json", "{}"),
            answered(503, "application/json", "{}"),
            answered(200, "text/html", "<html>Sign in</html>"),
            Forced { reset: true, ..Forced::default() },
        ] {
            let scene = Scene::of(vendor).await;
            let matching = login_line(vendor).to_owned();
            scene.control().force(Forced { matching, times: u32::MAX, ..failure }).unwrap();
            for _ in 0..2 {
                let reads = (0..5).map(|_| read(&scene).spawn());
                let writes = (0..5).map(|number| write(&scene, number).spawn());
                for call in reads.chain(writes).collect::<Vec<_>>() {
                    let answer = within(call).await.unwrap();
                    assert!(answer.problem().starts_with("login_"), "{vendor}: {answer:?}");
                }
                scene.clock.advance(Duration::from_secs(120));
            }
            let all = scene.control().requests().len();
            assert!(all > 0 && all == sent(&scene, login_line(vendor)), "{vendor}: {all}");
            assert_eq!(scene.control().counters().requests_without_credential, 0, "{vendor}");
        }
    }
}

/// Fails when a request that finds no session is answered before the login has ended.
#[tokio::test]
async fn a_cold_request_waits_for_the_login_and_is_answered_by_the_upstream() {
    for vendor in Vendor::ALL {
        let scene = Scene::of(vendor).await;
        let login = scene.control().hold(login_line(vendor));
        let reads = (0..10).map(|_| read(&scene).spawn());
        let writes = (0..10).map(|number| write(&scene, number).spawn());
        let calls: Vec<_> = reads.chain(writes).collect();
        within(login.arrived(1)).await;
        scene.clock.advance(Duration::from_secs(9));
        login.release();
        for call in calls {
            let answer = within(call).await.unwrap();
            assert!(answer.status.is_success(), "{vendor}: {answer:?}");
        }
        assert_eq!(scene.control().counters().writes, 10, "{vendor}");
        scene.stop().await;
    }
}

/// The built-in recipe, whose 429 on a login means that there is no room.
fn without_room(folder: &Path) -> Setup {
    let recipe = include_str!("../../config/recipes/contentstack.toml");
    let (throttled, full) = ("class = \"throttled\"", "class = \"slots_full\"");
    let text = recipe.replacen(throttled, full, 1);
    assert!(text.contains("[429] }\nclass = \"slots_full\""), "the first rule is that of 429");
    let path = write_file(folder, "full.toml", &text);
    let mut setup = Setup::of(Vendor::Contentstack);
    setup.recipe = format!("recipe_file = {path:?}");
    setup
}

/// Fails when a login without room is tried again before its pause, or costs attempts: the account
/// would then be closed when there is room.
#[tokio::test]
async fn a_429_that_means_no_room_starts_no_storm_of_logins() {
    let folder = tempfile::tempdir().unwrap();
    let scene = without_room(folder.path()).start().await;
    let login = login_line(Vendor::Contentstack);
    let full = Forced {
        matching: login.to_owned(),
        times: u32::MAX,
        status: Some(429),
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: json!({ "error_message": "too many sessions" }).to_string(),
        ..Forced::default()
    };
    scene.control().force(full).unwrap();
    // A quarter of an hour in steps of five seconds.
    for _ in 0..180 {
        for call in (0..5).map(|_| read(&scene).spawn()).collect::<Vec<_>>() {
            let answer = within(call).await.unwrap();
            assert_eq!(answer.problem(), "login_held_back", "{answer:?}");
            assert!(answer.text().contains("slots_full"), "{answer:?}");
        }
        scene.clock.advance(Duration::from_secs(5));
    }
    let sent = sent(&scene, login);
    assert!((2..=31).contains(&sent), "{sent} logins");
    scene.control().clear_forced();
    scene.clock.advance(Duration::from_secs(3600));
    assert_eq!(read(&scene).send().await.status, 200, "the budget was not touched");
    scene.stop().await;
}

/// Fails when the end of a session is not on the disk before its logout is sent: a start that
/// follows would use what has been ended.
#[tokio::test]
async fn a_session_whose_logout_has_begun_is_never_used_by_a_later_start() {
    let tables = "[timeouts]\nsession_idle = \"1h\"\n\
                  [state]\npath = \"state\"\nkey = { file = \"state_key\" }\nat_stop = \"keep\"\n";
    for vendor in Vendor::ALL {
        let mut scene = Setup::of(vendor).tables(tables).start().await;
        assert_eq!(read(&scene).send().await.status, 200, "{vendor}");
        let logout = scene.control().hold(logout_line(vendor));
        scene.clock.advance(Duration::from_secs(2 * 3600));
        within(logout.arrived(1)).await;

        // What a crash in the middle of the logout leaves.
        keep_state(&scene);
        logout.release();
        put_back(&mut scene).await;
        scene.control().reset_counters();
        scene.start_again();

        assert_eq!(read(&scene).send().await.status, 200, "{vendor}");
        assert_eq!(scene.control().counters().logins, 1, "{vendor}");
        let records = || scene.control().requests().into_iter();
        until("the logout is made up for", || {
            records().any(|record| record.credential == Credential::Dead)
        })
        .await;
        for record in records().filter(|record| record.credential == Credential::Dead) {
            let line = format!("{} {}", record.method, record.target);
            assert!(line.contains(logout_line(vendor)), "{vendor}: {line}");
        }
        assert_eq!(sent(&scene, read_line(vendor)), 1, "{vendor}");
    }
}
