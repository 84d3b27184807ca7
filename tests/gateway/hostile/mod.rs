//! Messages that no client and no upstream should send, over raw sockets, in front of an upstream
//! that notes every byte: each with the tests that hold what must come of it.
//! `tests/house/hostile.rs` proves that the tests of these tables are there.
//!
//! | Case | Tests | Besides |
//! |---|---|---|
//! | 1. A length beside a transfer coding | `hostile/framing::a_length_beside_a_transfer_coding_is_refused` | |
//! | 2. A transfer coding that is nearly `chunked` | `hostile/framing::a_transfer_coding_that_is_not_chunked_to_the_letter_is_refused` | |
//! | 3. Two transfer codings | `hostile/framing::more_than_one_transfer_coding_is_refused` | |
//! | 4. Two lengths, a list of lengths | `hostile/framing::two_lengths_are_refused` | The same length twice is one (RFC 9110 section 8.6) |
//! | 5. A length that is no number | `hostile/framing::a_length_that_is_no_number_is_refused` | |
//! | 6. HTTP/1.0 with a transfer coding | `hostile/framing::a_transfer_coding_in_http_1_0_is_refused` | |
//! | 7. HTTP/1.0 with a body and no length | `hostile/framing::a_body_without_a_length_in_http_1_0_is_none` | |
//! | 8. A body where none is usual | `hostile/framing::a_body_on_any_method_is_a_body` | |
//! | 9. An own answer to a request whose body is unread | `hostile/bodies::an_unread_body_never_becomes_the_next_request`, `closing::what_comes_behind_the_last_request_does_not_take_its_answer_away`, `closing::an_upload_without_end_ends_its_connection_after_its_answer` | |
//! | 10. A chunk size that is no number | `hostile/chunks::a_chunk_size_that_is_no_number_is_400_and_ends_the_upload` | Zeros before a size are digits |
//! | 11. A bare CR or LF in a chunk line | `hostile/chunks::a_bare_cr_or_lf_in_a_chunk_line_is_400` | |
//! | 12. Chunk extensions of 64 KiB and 16 MB | `hostile/chunks::chunk_extensions_have_a_bound` | |
//! | 13. Trailers that pass for fields | `hostile/chunks::trailers_of_requests_end_here`, `hostile/http2::trailers_of_http_2_end_here` | |
//! | 14. 100 000 trailers | `hostile/chunks::trailers_have_a_bound` | |
//! | 15. Control bytes in a field | `hostile/fields::control_bytes_in_a_field_are_refused` | |
//! | 16. An empty field name | `hostile/fields::empty_names_blanks_behind_names_and_folded_lines_are_refused` | |
//! | 17. A blank behind a field name | `hostile/fields::empty_names_blanks_behind_names_and_folded_lines_are_refused` | |
//! | 18. A folded line | `hostile/fields::empty_names_blanks_behind_names_and_folded_lines_are_refused` | |
//! | 19. No host, two hosts, a host that is none | `hostile/targets::a_host_that_is_none_is_refused`, `hostile/http2::pseudo_fields_that_are_none_are_refused` | |
//! | 20. A target at another host or of another protocol | `hostile/targets::only_the_configured_upstream_is_ever_contacted`, `hostile/targets::with_keys_a_foreign_host_still_leads_to_the_configured_upstream` | |
//! | 21. CONNECT, and a target that is an authority | `hostile/methods::connect_and_targets_that_are_an_authority_are_refused`, `hostile/http2::pseudo_fields_twice_late_unknown_or_missing_are_refused` | |
//! | 22. TRACE, and `Max-Forwards` | `hostile/methods::trace_is_refused_however_far_it_may_go`, `hostile/methods::an_options_that_may_go_no_further_is_answered_here` | |
//! | 23. `Connection` names a field of ours | `hostile/fields::connection_nominates_nothing_of_ours`, `hostile/fields::a_nominated_bearer_token_is_repeated_nowhere` | |
//! | 24. A client's own session | `hostile/fields::what_a_client_says_is_its_session_is_replaced` | |
//! | 25. A name with `_` | `hostile/fields::names_with_underscores_pass_for_nothing` | |
//! | 26. Fields that tell of an origin | `hostile/fields::what_a_client_says_of_where_it_comes_from_is_set_anew` | |
//! | 27. The client's key | `access::a_key_opens_the_door_from_every_place_and_never_travels_on`, `nothing_leaks::the_most_talkative_log_holds_no_secret_and_no_key` | |
//! | 28. A key in an odd place or form | `hostile/keys::a_key_in_an_odd_place_or_form_opens_nothing` | The same key twice is the same key |
//! | 29. A request without a key behind a good one | `hostile/keys::a_request_without_a_key_behind_a_good_one_is_refused` | |
//! | 30. A preflight | `hostile/keys::a_preflight_is_not_sent_with_the_session` | |
//! | 31. `Expect: 100-continue` without a key | `hostile/keys::no_100_is_said_to_who_shows_no_key` | |
//! | 32. An odd expectation | `hostile/connections::an_odd_expectation_desynchronises_nothing`, `hostile/connections::an_expectation_without_a_body_waits_for_nothing` | |
//! | 33. `Upgrade: h2c` | `hostile/upgrades::an_upgrade_to_http_2_is_not_passed_on` | |
//! | 34. Bytes before a 101 | `hostile/upgrades::what_comes_before_a_101_is_the_next_request`, `upgrades::bytes_pass_both_ways_one_by_one_and_none_before_the_answer` | |
//! | 35. An upgrade with a body | `hostile/upgrades::an_upgrade_with_a_body_is_an_ordinary_request` | |
//! | 36. A 101 that nobody asked for | `hostile/upgrades::a_101_that_nobody_asked_for_is_a_502` | |
//! | 37. A path with two readings | `grants::no_spelling_of_an_ungranted_path_arrives`, `local_answers::a_path_that_can_be_read_in_two_ways_is_refused`, `local_answers::closed_endpoints_of_m_files_are_closed_in_every_spelling` | |
//! | 38. A fragment in the target | `hostile/targets::a_fragment_in_the_target_is_refused` | In HTTP/2 it is dropped before anything is decided, and never sent |
//! | 39. A query that looks like a path | `hostile/targets::the_query_is_no_part_of_the_path` | |
//! | 40. Heads without end | `hostile/heads::heads_have_bounds` | |
//! | 41. Slow heads, slow bodies, idle connections | `protocols::a_connection_without_a_request_is_closed_after_its_time`, `replay::a_client_that_stops_in_the_middle_of_its_body_gets_408`, `pace::a_body_that_does_not_go_on_gets_408_and_its_connection_ends`, `pace::over_http2_a_body_that_does_not_go_on_gets_408_and_others_go_on`, `pace::a_client_that_takes_nothing_of_its_answer_is_cut_and_gives_everything_back`, `pace::over_http2_a_stream_that_takes_nothing_is_reset_and_others_go_on`, `pace::a_head_that_began_during_a_request_has_no_longer_than_any_other`, `pace::the_beginning_of_http2_has_no_longer_than_any_head`, `closing::an_upload_that_is_stuck_after_its_answer_ends_its_connection` | |
//! | 42. An early end | `hostile/bodies::what_breaks_off_is_never_whole`, `early_answers::an_upload_that_breaks_off_does_not_cut_its_answer`, `early_answers::over_http2_an_upload_that_breaks_off_does_not_cut_its_answer` | |
//! | 43. A bad request behind a good one | `hostile/heads::after_a_bad_request_nothing_more_is_answered`, `hostile/connections::pipelined_requests_are_answered_in_order_and_once` | |
//! | 44. HTTP/2 messages that are none | `hostile/http2::fields_that_http_2_must_not_have_are_refused`, `hostile/http2::pseudo_fields_that_are_none_are_refused`, `hostile/http2::pseudo_fields_twice_late_unknown_or_missing_are_refused`, `hostile/http2::a_length_that_is_not_kept_is_never_a_whole_request`, `hostile/http2::trailers_of_http_2_end_here`, `hostile/http2::frames_that_are_none_end_the_connection` | Pseudo fields in trailers go the way of all trailers |
//! | 45. HTTP/2 floods | `hostile/floods::requests_that_are_reset_at_once_end_the_connection`, `hostile/floods::requests_that_are_reset_one_by_one_end_the_connection`, `hostile/floods::requests_that_make_us_reset_them_end_the_connection`, `hostile/floods::a_head_without_end_ends_the_connection`, `hostile/floods::pieces_of_nothing_end_the_connection`, `hostile/floods::a_head_that_unpacks_to_megabytes_is_refused`, `hostile/floods::questions_of_the_connection_are_answered_no_faster_than_they_are_read`, `hostile/floods::priorities_are_passed_over`, `hostile/floods::streams_beyond_the_bound_are_refused`, `hostile/floods::an_answer_that_is_not_taken_is_not_gathered` | |
//! | 46. An answer whose end is ambiguous | `hostile/upstream::an_answer_that_is_none_is_a_typed_502`, `hostile/upstream::a_truncated_answer_is_a_broken_transfer` | |
//! | 47. Bytes behind an answer | `hostile/upstream::bytes_after_an_answer_never_answer_another_request`, `hostile/upstream::an_answer_that_nobody_asked_for_answers_nobody` | |
//! | 48. A truncated answer | `hostile/upstream::a_truncated_answer_is_a_broken_transfer` | |
//! | 49. An answer without end, or that is none | `hostile/upstream::an_answer_that_is_none_is_a_typed_502`, `hostile/upstream::informational_answers_are_not_the_answer_and_have_a_bound` | |
//! | 50. Fields of the upstream's connection | `hostile/upstream::fields_of_the_upstreams_connection_stay_here` | |
//! | 51. An answer that shows the session | `nothing_leaks::header_fields_that_hold_the_session_are_masked_in_every_form`, `searched_bodies::an_endpoint_that_nobody_marked_shows_no_session_value`, `messages::fields_of_the_upstreams_connection_stay_here` | |
//! | 52. A redirect | `hostile/upstream::a_redirect_is_the_clients_to_follow`, `messages::a_stripped_prefix_is_taken_off_and_put_back`, `verdicts::a_redirect_to_the_login_page_leads_to_a_login_and_a_replay` | |
//! | 53. A token that is none | `hostile/sessions::a_token_that_no_field_may_hold_is_injected_nowhere`, `login_answers::a_token_that_is_none_is_refused` | A number of JSON is a text of digits |
//! | 54. A login's answer without end | `hostile/sessions::a_login_answer_without_end_is_refused_at_a_bound`, `login_answers::a_compression_bomb_as_a_login_answer_is_refused` | |
//! | 55. A login that fails | `lock_out::a_wrong_password_costs_one_login_and_everybody_is_told_the_same`, `lock_out::a_throttled_login_waits_as_long_as_the_vendor_says_and_costs_no_attempt`, `single_login::a_login_that_hangs_is_given_up_once_and_not_sent_again_blindly` | |
//! | 56. Many first requests | `single_login::many_cold_requests_cost_one_login` | |
//! | 57. Sending again | `replay::a_write_whose_answer_is_lost_is_not_sent_again`, `replay_once::nothing_is_sent_again_after_the_first_byte_of_an_answer` | |
//! | 58. A real 403 | `verdicts::a_forbidden_object_of_m_files_is_the_clients_answer`, `verdicts::a_page_with_403_costs_one_probe_and_no_login_while_the_session_lives` | |
//! | 59. A session of another account or client | `hostile/sessions::two_accounts_at_one_upstream_never_share_a_session`, `scopes::each_client_has_a_session_of_its_own_where_the_route_says_so` | |
//! | 60. A shared cache | `hostile/sessions::an_answer_of_a_session_is_private_where_the_upstream_says_nothing` | |
//! | 61. An upstream's name that resolves to this machine | `reach_names::a_name_that_leads_to_this_machine_is_refused_unless_that_is_allowed`, `reach_names::a_name_that_is_rebound_to_this_machine_gets_nothing` | |
//! | 62. TLS of an upstream | `protocols::a_login_is_never_sent_to_an_upstream_with_the_wrong_certificate`, `ways_refused::no_byte_of_a_login_is_sent_where_the_handshake_is_refused`, `ways_refused::an_upstream_that_speaks_in_the_clear_before_the_handshake_gets_no_login` | |
//! | 63. Text that would write a log | `hostile/logs::no_client_writes_lines_or_escapes_into_the_log`, `audit_hostile::no_text_in_a_line_does_anything_to_a_terminal` | |
//! | 64. Secrets in what is told | `nothing_leaks::the_most_talkative_log_holds_no_secret_and_no_key`, `nothing_leaks::debug_of_a_running_gateway_shows_no_secret` | |
//! | 65. The admin port by way of the data port | `admin/doors::no_listener_for_clients_leads_there`, `admin/doors::an_upstream_that_is_the_admin_api_is_a_fault`, `admin/doors::the_port_wants_the_token_our_name_and_our_own_pages`, `admin/doors::what_changes_something_is_sent_as_json` | |
//! | 66. Open redirects | `hostile/targets::no_answer_leads_elsewhere_because_the_target_says_so` | |
//! | 67. PROXY protocol from anybody | `hostile/heads::a_proxy_protocol_header_from_anybody_is_no_http`, `proxied::a_header_of_a_peer_that_is_not_listed_is_refused` | |
//! | 68. Whose rate it is | `hostile/sessions::a_rate_is_its_clients_whatever_fields_say` | |
//! | 69. Files that others can write | `settings::a_secret_file_that_others_can_write_is_refused` | No secret is an argument of a command |
//! | 70. Signals, full disks, moved clocks | `stop::running_requests_end_and_then_every_session_is_logged_out`, `audit_chain::a_full_disk_leaves_a_chain_that_holds`, `restart::without_a_record_no_login_is_sent_unless_the_operator_wants_it`, `stop_unasked::connections_that_have_said_nothing_do_not_hold_the_stop`, `stop_unasked::over_http2_a_request_that_crosses_the_farewell_is_answered`, `reload_load::two_hundred_reloads_under_load_cost_no_request_and_no_login` | No state is kept outside the process but in its files |
//!
//! # What a plain proxy over the same library gets wrong
//!
//! | Area | Tests | Besides |
//! |---|---|---|
//! | 1. A list of transfer codings, forwarded as it came | `hostile/framing::more_than_one_transfer_coding_is_refused` | |
//! | 2. A method of 20 KB | `hostile/heads::heads_have_bounds` | |
//! | 3. A target without a slash, or that is an authority | `hostile/targets::only_the_configured_upstream_is_ever_contacted`, `hostile/methods::connect_and_targets_that_are_an_authority_are_refused` | |
//! | 4. CONNECT and TRACE | `hostile/methods::connect_and_targets_that_are_an_authority_are_refused`, `hostile/methods::trace_is_refused_however_far_it_may_go` | |
//! | 5. Hosts that are none | `hostile/targets::a_host_that_is_none_is_refused` | |
//! | 6. Absolute forms | `hostile/targets::only_the_configured_upstream_is_ever_contacted` | |
//! | 7. Paths before rules | `grants::no_spelling_of_an_ungranted_path_arrives` | |
//! | 8. Hop-by-hop fields and `Upgrade` | `hostile/fields::connection_nominates_nothing_of_ours`, `hostile/upgrades::an_upgrade_to_http_2_is_not_passed_on` | |
//! | 9. Fields that tell of an origin | `hostile/fields::what_a_client_says_of_where_it_comes_from_is_set_anew` | |
//! | 10. A body that stops | `replay::a_client_that_stops_in_the_middle_of_its_body_gets_408` | |
//! | 11. A 101 unasked, nominated fields, cookies and echoed tokens of answers | `hostile/upgrades::a_101_that_nobody_asked_for_is_a_502`, `hostile/upstream::fields_of_the_upstreams_connection_stay_here`, `messages::fields_of_the_upstreams_connection_stay_here`, `nothing_leaks::header_fields_that_hold_the_session_are_masked_in_every_form` | |
//! | 12. The client's broken chunks told as the upstream's fault | `hostile/chunks::a_chunk_size_that_is_no_number_is_400_and_ends_the_upload` | |
//! | 13. HTTP/2 to an upstream of HTTP/1.1 | `hostile/http2::pseudo_fields_twice_late_unknown_or_missing_are_refused` | |

mod bodies;
mod chunks;
mod connections;
mod fields;
mod floods;
pub mod frames;
mod framing;
mod heads;
mod http2;
mod keys;
mod logs;
mod methods;
mod sessions;
mod targets;
mod upgrades;
pub mod upstream;

use doorward::emulator::Vendor;
use doorward::server::Address;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Scene, Setup, within};
use crate::puppet::{Puppet, Reply};

/// A request that must never be one: it stands where the body of another one is.
const SMUGGLED: &str = "GET /v3/smuggled HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// A request that ends its connection.
const LAST: &str = "GET /v3/last HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

/// A gateway in front of an upstream that answers everything and notes every byte.
pub struct Stage {
    puppet: Puppet,
    scene: Scene,
}

impl Stage {
    async fn open() -> Stage {
        Self::with(|setup| setup).await
    }

    async fn with(set_up: impl FnOnce(Setup) -> Setup) -> Stage {
        let puppet = Puppet::logged_in(|_| Reply::json("{}")).await;
        let scene = set_up(puppet.setup(Vendor::Contentstack)).start().await;
        Stage { puppet, scene }
    }

    /// Sends bytes on a connection of their own and reads to its end, both at once.
    async fn say(&self, bytes: impl AsRef<[u8]>) -> Said {
        let Address::Tcp(address) = self.scene.door().address else { panic!("no TCP") };
        let (mut reading, mut writing) = TcpStream::connect(address).await.unwrap().into_split();
        let said = async {
            let mut said = Vec::new();
            // A reset ends a connection as well as a clean close.
            _ = reading.read_to_end(&mut said).await;
            String::from_utf8_lossy(&said).into_owned()
        };
        // Who closes early is not listened to until the end.
        let writing = async {
            _ = writing.write_all(bytes.as_ref()).await;
            _ = writing.flush().await;
            // Not shut down: an end of the client's side would explain a close.
            writing
        };
        let (said, _writing) = within(async { tokio::join!(said, writing) }).await;
        Said(said)
    }

    /// Sends bytes that must get one answer with this status, on a connection that is closed then,
    /// and of which the upstream sees nothing.
    #[track_caller]
    fn refused<'s>(
        &'s self,
        bytes: impl AsRef<[u8]> + 's,
        status: &'static str,
    ) -> impl Future<Output = Said> + 's {
        let at = std::panic::Location::caller();
        async move {
            let said = self.say(bytes.as_ref()).await;
            let sent = shown(bytes.as_ref());
            assert_eq!(said.statuses(), [status], "{at}: {sent}: {said:?}");
            let calls = self.puppet.calls();
            assert!(calls.is_empty(), "{at}: {sent}: {calls:?}");
            said
        }
    }

    /// Sends bytes that must be answered with 200; what of them arrived, see [`exact`].
    async fn arrives(&self, bytes: impl AsRef<[u8]>) -> String {
        let bytes = bytes.as_ref();
        let said = self.say(bytes).await;
        assert_eq!(said.statuses(), ["200"], "{}: {said:?}", shown(bytes));
        let mut calls = self.puppet.take_calls();
        assert_eq!(calls.len(), 1, "{}: {calls:?}", shown(bytes));
        exact(&calls.remove(0))
    }
}

/// What a client was told on one connection.
#[derive(Debug)]
struct Said(String);

impl Said {
    /// The statuses of the answers, in order: a smuggled request has one of its own.
    fn statuses(&self) -> Vec<&str> {
        let answers = self.0.split("HTTP/1.").skip(1);
        answers.map(|answer| answer.split(' ').nth(1).unwrap_or_default()).collect()
    }

    /// The codes of Doorward's own answers.
    fn codes(&self) -> Vec<&str> {
        let codes = self.0.split("\"code\":\"").skip(1);
        codes.map(|code| code.split('"').next().unwrap_or_default()).collect()
    }
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(200).collect()
}

/// A call in every byte that is the client's or the session's: the fields that tell of the gateway
/// itself must be there once, and are left out; the others are in alphabetical order.
fn exact(call: &str) -> String {
    let (head, body) = call.split_once("\r\n\r\n").unwrap();
    let (line, fields) = head.split_once("\r\n").unwrap();
    let mut fields: Vec<String> = fields.split("\r\n").map(str::to_owned).collect();
    for ours in ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"]
        .into_iter()
        .chain(["host", "via", "x-request-id", "authtoken", "accept-encoding"])
    {
        let before = fields.len();
        fields.retain(|field| !field.starts_with(&format!("{ours}: ")));
        assert_eq!(before - fields.len(), 1, "{ours}: {call}");
    }
    fields.sort();
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    format!("{line}\r\n{fields}\r\n{body}")
}

/// A request without a body that ends its connection, with further fields, each with its CRLF.
fn get(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n{fields}connection: close\r\n\r\n")
}

/// A request with fields that say how its body ends, its body, and a request behind it.
fn post(framing: &str, body: &str) -> String {
    format!("POST /v3/x HTTP/1.1\r\nhost: localhost\r\n{framing}\r\n\r\n{body}{SMUGGLED}")
}
