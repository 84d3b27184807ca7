//! The walk: one request, straight through. The only way back is the second sending, and its bound
//! is a constant.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};

use super::authorize::{self, Asked, Read};
use super::body::{Content, ReplyBody};
use super::conceal::Concealment;
use super::deadlines::overdue;
use super::deliver::Delivery;
use super::ending::Ending;
use super::error::Problem;
use super::force::{Destination, Serving};
use super::incoming::Incoming;
use super::inspect::{Extent, Looked};
use super::local_login::{self, Login};
use super::message::{Answer, Head};
use super::parse::{self, Call};
use super::places::{place, scope};
use super::prepare::{self, Prepared};
use super::record::{self, Record};
use super::throttle;
use super::tunnel::{self, Agreed, Offered, Tunnel, Wanted};
use super::upload::Upload;
use super::{Core, Peer, authenticate, extended_connect, reply};
use crate::access::revoked::Revocation;
use crate::access::{Access, Asking, Issued};
use crate::clock::Moment;
use crate::forward::replay::{Refusal, Replay};
use crate::forward::verdict::Verdict;
use crate::forward::{hop, location};
use crate::recipe::pattern::Pointer;
use crate::recipe::{EndpointRule, ReplayPolicy};
use crate::route::{Reading, Route};
use crate::session::{
    self, Account, Aliveness, Doubt, Evidence, Hold, Mechanism, Scope, Session, SessionKey,
    Upstream,
};
use crate::shield::{self, Redactor};
use crate::telemetry::Trigger;
use crate::telemetry::metrics::Replay as Replayed;
use crate::upstream::Wait;

/// A request is sent at most so often: once, and once more on a new session.
const SENDINGS_MAX: usize = 2;

/// Tells a client why its request was not sent again after its session was found dead.
const DOORWARD_REPLAY: HeaderName = HeaderName::from_static("doorward-replay");

/// Answers one request. Dropping the future ends the request at the upstream, but no login.
pub async fn exchange(
    core: Arc<Core>,
    peer: Arc<Peer>,
    head: &mut Head,
    body: Incoming,
) -> Answer<ReplyBody> {
    extended_connect::read_as_get(head);
    let (body, offered) = (Upload::new(body, head, &core.watch), tunnel::offered(head));
    let head = &*head;
    let issued = Issued::among(&head.headers);
    let serving = core.serving();
    let mut record = Record::new(&core, &serving, head, &issued, &peer);
    record.received = body.received();
    let client = Client { peer: &peer, head, issued: &issued, offered };
    let reply = match walk(&core, &serving, client, body, &mut record).await {
        Ok(reply) => reply,
        Err(problem) => {
            record.reason = problem.code();
            if problem.is_rejection() {
                record.rejected(&problem);
            }
            Reply::own(reply::problem(&problem, peer.ways, record.id.as_str()), &record)
        }
    };
    record.status = reply.answer.status;
    let Reply { answer, hold, unwanted, ending, upgrade } = reply;
    match (upgrade, hold) {
        (Some(upgrade), Some(hold)) => {
            let idle_max = serving.in_force.limits.tunnel_idle;
            let tunnel = Tunnel::new(*upgrade, record, hold, ending, idle_max);
            answer.map(|_| ReplyBody::before(tunnel))
        }
        (_, hold) => answer.map(|content| ReplyBody::new(content, record, hold, unwanted, ending)),
    }
}

/// Answers a request that says where its body ends in a way that is none, or in two.
pub fn refuse(core: &Core, peer: &Peer, head: &Head, why: &'static str) -> Answer<ReplyBody> {
    let issued = Issued::among(&head.headers);
    let mut record = Record::new(core, &core.serving(), head, &issued, peer);
    record.note_fields(&head.headers);
    let problem = Problem::BadRequest(why);
    record.reason = problem.code();
    let response = reply::problem(&problem, peer.ways, record.id.as_str());
    let Reply { answer, .. } = Reply::own(response, &record);
    record.status = answer.status;
    answer.map(|content| ReplyBody::new(content, record, None, None, None))
}

/// An answer for the client.
struct Reply {
    answer: Answer<Content>,
    /// The session that it came by.
    hold: Option<Hold>,
    /// The request's body, where the upstream answered without taking it whole.
    unwanted: Option<Replay<Upload>>,
    /// When it is cut, if it is a stream.
    ending: Option<Ending>,
    /// The tunnel that follows it.
    upgrade: Option<Box<Agreed>>,
}

impl Reply {
    fn own(mut response: Response<Bytes>, record: &Record) -> Self {
        if record.method == Method::HEAD {
            reply::without_body(&mut response);
        }
        let answer = Answer::from(response).map(Content::Whole);
        Self { answer, hold: None, unwanted: None, ending: None, upgrade: None }
    }
}

/// A client's request, apart from its body.
pub(super) struct Client<'a> {
    pub(super) peer: &'a Peer,
    pub(super) head: &'a Head,
    pub(super) issued: &'a Issued<'a>,
    pub(super) offered: Option<Offered>,
}

async fn walk(
    core: &Core,
    serving: &Serving,
    client: Client<'_>,
    body: Upload,
    record: &mut Record,
) -> Result<Reply, Problem> {
    let Serving { shared, in_force, .. } = serving;
    let Client { peer, head, .. } = &client;
    if shared.overload.is_shedding() {
        return Err(Problem::GatewayOverloaded);
    }
    // RFC 6750 section 2: a token is sent in one way.
    if record.repeats_token {
        return Err(Problem::BadRequest("the request target repeats the bearer token"));
    }
    let call = parse::call(shared, &peer.origin, head)
        .inspect_err(|_| record.note_fields(&head.headers))?;

    // Upstreams are told it.
    if client.issued.is_repeated_in(call.host.as_bytes()) {
        return Err(Problem::BadRequest("Host repeats the bearer token"));
    }

    let route = in_force.routes.find(call.host, &call.canonical.path).ok_or(Problem::NoRoute)?;
    let destination = serving.destination(route.upstream).ok_or(Problem::NoRoute)?;
    let upstream = &*destination.upstream;
    let recipe = &*upstream.recipe;
    (record.route, record.destination) = (Some(route.number), Some(Arc::clone(destination)));

    let asked = Asked {
        method: &head.method,
        canonical: &call.canonical,
        query: call.target.query(),
        account: None,
    };
    let read = authorize::read(route, recipe, asked);
    let access = serving.access(peer);
    let asking = Asking {
        upstream: &upstream.name,
        recipe,
        headers: &head.headers,
        query: asked.query,
        connected: &access.recognise(&peer.shown),
        key_headers: &in_force.key_headers,
        host: call.host,
        pages: peer.pages,
        is_routed: matches!(access, Access::Open) && in_force.routes.names(call.host),
    };
    if let Some((clients, endpoint)) = local_login::asked_for(access, &read) {
        let login = Login { clients, endpoint, asking: &asking };
        // Boxed, here and below: few requests need the room.
        let answer = local_login::answer(serving, peer, route, login, body, record);
        let answer = Box::pin(answer).await?;
        return Ok(own_answer(answer, record));
    }
    let caller = authenticate::caller(access, &asking, &shared.clock).await?;
    record.let_in(caller.as_deref());

    let asked = Asked { account: authorize::named_account(&head.headers)?, ..asked };
    let permit = authorize::authorize(route, recipe, caller.as_deref(), asked, read)?;
    record.allowed = Some((permit.account, permit.grant));
    let account = upstream.account(permit.account).ok_or(Problem::NoRoute)?;
    let session = Whose(account, scope(route, caller.as_deref())?);

    let Read { reading, rule } = permit.read;
    match rule {
        Some(EndpointRule::Answer(answer)) => {
            record.reason = record::ANSWERED_LOCALLY;
            let answer = local_login::answer_openly(serving, peer, recipe, answer);
            return Ok(own_answer(answer, record));
        }
        Some(EndpointRule::Closed(why)) => return Err(Problem::EndpointClosed(why.clone())),
        Some(EndpointRule::Mask(_)) | None => {}
    }
    if call.forwards_left == Some(0) {
        record.reason = record::ANSWERED_LOCALLY;
        return Ok(own_answer(reply::options(), record));
    }

    if let Some(retry_after) = upstream.pause.retry_after() {
        return Err(Problem::UpstreamPaused { retry_after });
    }
    extended_connect::judge(head, &upstream.origin, rule)?;

    let time = in_force.limits.request_timeout;
    let place = place(route, caller.as_deref(), permit.account, &reading);
    let asked_at = shared.clock.now();
    let admitted = in_force.admission.admit(place, asked_at, record.started + time).await;
    let permits = admitted.inspect_err(|_| record.admitted_at = Some(shared.clock.now()))?;
    let permits = permits.ok_or(Problem::NoRoute)?;
    let admitted_at = permits.at;
    (record.admitted_at, record.permits) = (Some(admitted_at), Some(permits));
    if shared.reporter.blocks_requests() {
        return Err(Problem::AuditUnwritable);
    }
    let key = caller.and_then(|caller| caller.key);
    // One whose turn came late would else be asked of the upstream, and given up at once.
    let deadline = admitted_at + time;

    let reading = &reading;
    let call = Forwarded { call: &call, route, destination, upstream, reading, session, key };
    let prepared = prepare::request(serving, client, &call, &body, rule, record)?;
    let replay = Replay::new(body, &in_force.keeping);
    let sent = send(core, serving, &call, &prepared, &replay, deadline, record).await?;
    let pointers = match rule {
        Some(EndpointRule::Mask(pointers)) => Some(pointers.as_slice()),
        _ => None,
    };
    let wanted = prepared.upgrade;
    let reply = finish(serving, &call, sent, wanted, pointers, deadline, record).await?;
    Ok(Reply { unwanted: replay.answered(), ..reply })
}

/// A call on its way to an upstream.
pub(super) struct Forwarded<'a> {
    pub(super) call: &'a Call<'a>,
    pub(super) route: &'a Route,
    destination: &'a Destination,
    pub(super) upstream: &'a Upstream,
    pub(super) reading: &'a Reading,
    /// Whose session it carries.
    session: Whose<'a>,
    /// Whether the key that came with it is revoked meanwhile.
    key: Option<Revocation>,
}

/// Whose session a request carries: which account's, and who shares it.
#[derive(Clone, Copy, Debug)]
struct Whose<'a>(&'a Account, Scope);

/// Sends the request with a session, at most twice: again only after its session was found dead.
async fn send(
    core: &Core,
    serving: &Serving,
    to: &Forwarded<'_>,
    prepared: &Prepared<'_>,
    replay: &Replay<Upload>,
    mut deadline: Moment,
    record: &mut Record,
) -> Result<(Looked, Held), Problem> {
    let (broker, clock) = (&core.shared.broker, &core.shared.clock);
    let pool = Arc::clone(&to.destination.pool);
    let recipe = &*to.upstream.recipe;
    let (mut trigger, mut sendings) = (Trigger::Cold, 0);
    let wait = Wait::for_the_caller();
    let written_bytes_max = serving.in_force.limits.inject_body_bytes_max;
    let upstream = to.upstream;
    let mut delivery =
        Delivery { pool, clock, prepared, replay, upstream, written_bytes_max, wait };
    let mut body = replay.send(delivery.first_start()).map_err(|_| Problem::of_body(replay))?;
    loop {
        let Whose(account, scope) = to.session;
        let key = SessionKey::now(to.upstream, account, scope);
        let session::Held { session, hold, awaited } =
            broker.session(key, trigger, deadline).await?;
        let mut session = Held { hold, session, next: None };
        // Each session has its own place: none goes where the one before went.
        delivery.pool = to.destination.connections(&session.session);
        record.generation = Some(session.session.generation);
        // One that was at hand took no time.
        let at_hand = record.admitted_at.filter(|_| sendings == 0 && !awaited);
        let sent_at = at_hand.unwrap_or_else(|| clock.now());
        record.session_at = Some(sent_at);
        record.awaited |= awaited;
        if sendings > 0 {
            record.replay = Replayed::Sent;
        }
        sendings += 1;
        // It may have waited long for its turn and for its session.
        if to.key.as_ref().is_some_and(Revocation::is_revoked) {
            return Err(Problem::ClientKeyRevoked);
        }

        let now;
        // Only one of the two is kept while anything is waited for.
        let mut answer = {
            let answer = tokio::select! {
                biased;
                answer = delivery.send(&session.session, body, sendings - 1) => answer,
                problem = overdue(core, &delivery, sent_at, deadline) => Err(problem),
            };
            now = clock.now();
            let outcome = answer.as_ref().map(|answer| answer.status).map_err(Problem::code);
            record.sent(now, outcome);
            Looked::not_yet(answer?)
        };

        throttle::heed(serving, to, account, answer.status, &answer.headers);

        // A long body may have used the request's time up: what follows has time of its own.
        deadline = deadline.max(now + to.upstream.origin.response_timeout);
        let bytes_max = serving.in_force.limits.verdict_body_bytes_max;
        let verdict = answer.judge(recipe, to.reading, bytes_max, clock, deadline).await;
        if answer.extent == Extent::BrokenOff {
            return Err(Problem::UpstreamBroken);
        }
        let (policy, evidence) = match verdict {
            Verdict::Alive | Verdict::NeedsBody => {
                broker.was_used(&session.session, now);
                let (before, headers) = (&session.session, &answer.headers);
                session.next = broker.roll(to.upstream, before, headers, prepared.path);
                return Ok((answer, session));
            }
            Verdict::Stale(policy) => {
                broker.was_used(&session.session, now);
                // It lives, and so its cookies roll.
                let (before, headers) = (&session.session, &answer.headers);
                session.next = broker.roll(to.upstream, before, headers, prepared.path);
                let is_last = sendings == SENDINGS_MAX;
                if is_last || !Box::pin(broker.renew(&session.session, deadline)).await {
                    return Ok((answer, session));
                }
                (policy, None)
            }
            Verdict::Unavailable => return Err(Problem::UpstreamUnavailable),
            // One probe and one login are what a request may cost.
            Verdict::Ambiguous(_) if sendings == SENDINGS_MAX => return Ok((answer, session)),
            Verdict::Expired(_) if sendings == SENDINGS_MAX => {
                // A new session, and dead already? That says more of the request than of the
                // session.
                session.session.contradict(clock.now());
                record.reason = "expired_twice";
                return Ok((answer, session));
            }
            Verdict::Expired(policy) if !session.session.is_contradicted() => {
                (policy, Some(Evidence::Verdict))
            }
            Verdict::Expired(policy) | Verdict::Ambiguous(policy) => {
                let doubt = match verdict {
                    Verdict::Ambiguous(_) => Doubt::Ambiguous,
                    _ => Doubt::Contradicted,
                };
                match Box::pin(broker.probe(&session.session, doubt, deadline)).await {
                    Aliveness::Dead => (policy, Some(Evidence::Certain)),
                    Aliveness::Alive | Aliveness::Unknown => return Ok((answer, session)),
                }
            }
        };
        if let Some(evidence) = evidence {
            broker.expire(&session.session, evidence);
        }
        record.replay = Replayed::NoSession;
        record.refused = Some((session.session.generation, answer.status));
        // What broke off is never whole: no login and no second sending for it.
        if replay.client_failed() {
            return Err(Problem::of_body(replay));
        }
        // The first sending ends here: it takes nothing more from the client while the login is
        // awaited.
        let last_start = delivery.last_start();
        let again = match not_replayable(core, policy, prepared.method) {
            Some(why) => Err(why),
            None => poll_fn(|context| replay.poll_send_again(context, last_start)).await,
        };
        body = match again {
            Ok(again) => again,
            Err(why) => {
                (record.reason, record.replay) = (why.as_str(), Replayed::Refused);
                answer.headers.insert(DOORWARD_REPLAY, HeaderValue::from_static(why.as_str()));
                return Ok((answer, session));
            }
        };
        // There is no third sending to keep anything for.
        replay.keep_no_more();
        trigger = Trigger::Expired;
    }
}

/// A session and the proof that a request carries it.
struct Held {
    session: Arc<Session>,
    hold: Hold,
    /// What the answer made of it.
    next: Option<Arc<Session>>,
}

/// Why the request must not be sent again; nothing when it may.
fn not_replayable(core: &Core, policy: ReplayPolicy, method: &Method) -> Option<Refusal> {
    match policy {
        _ if core.shared.broker.is_without(Mechanism::Replay) => Some(Refusal::SwitchedOff),
        ReplayPolicy::Never => Some(Refusal::Never),
        ReplayPolicy::Safe if !method.is_safe() => Some(Refusal::UnsafeMethod),
        ReplayPolicy::Always | ReplayPolicy::Safe => None,
    }
}

/// Makes the upstream's answer the client's: nothing of the connection and nothing of the session
/// is left in it.
async fn finish(
    serving: &Serving,
    to: &Forwarded<'_>,
    (mut answer, held): (Looked, Held),
    wanted: Option<Wanted>,
    pointers: Option<&[Pointer]>,
    deadline: Moment,
    record: &mut Record,
) -> Result<Reply, Problem> {
    let shared = &*serving.shared;
    let upgrade = tunnel::agreed(&mut answer, wanted)?;
    let is_coded = answer.headers.contains(header::TRANSFER_ENCODING);
    // Two ways to tell the end (RFC 9112 section 6.3).
    let two_ends = is_coded && answer.headers.contains(header::CONTENT_LENGTH);
    // We have not said that we take another one (RFC 9112 section 7.4), and could not look into it.
    let is_other = |coding: &[u8]| !coding.eq_ignore_ascii_case(b"chunked");
    if two_ends || is_coded && answer.headers.get_all(header::TRANSFER_ENCODING).any(is_other) {
        return Err(Problem::UpstreamBroken);
    }
    let placeholder = &to.upstream.recipe.placeholder;
    let headers = &mut answer.headers;
    hop::remove_hop_by_hop(headers);
    headers.remove(header::SET_COOKIE);
    let redactor = Redactor::new(held.session.guarded_with(held.next.as_deref()));
    shield::mask_headers(headers, answer.head_bytes.as_deref(), redactor.secrets(), placeholder);
    location::map_back(headers, held.session.origin(to.upstream), to.route.stripped());
    shared.via.add(headers, answer.version);
    reply::passed_on(headers);
    // RFC 9111 section 3.5: nobody else may be given what this session was given.
    if !headers.contains(header::CACHE_CONTROL) {
        headers.append(header::CACHE_CONTROL, HeaderValue::from_static("private"));
    }
    headers.insert(hop::REQUEST_ID.clone(), record.id.field());
    let search = to.upstream.search_bodies;
    let reading_time = to.upstream.origin.response_timeout;
    let concealment =
        Concealment { redactor, search, pointers, placeholder, deadline, reading_time };
    let concealed = concealment.apply(serving, &mut answer).await?;
    (record.redacted, record.decoded) = (concealed.redacted, concealed.decoded);
    if record.reason == record::CLIENT_LEFT {
        let is_replayed = record.replay == Replayed::Sent;
        record.reason = if is_replayed { record::REPLAYED } else { record::FORWARDED };
    }
    let Looked { status, headers, extent, body, .. } = answer;
    let (content, ending) = match extent {
        Extent::Whole if status == StatusCode::SWITCHING_PROTOCOLS => (
            Content::Whole(body.seen),
            Ending::of_tunnel(to.upstream, &held.session, to.key.as_ref()),
        ),
        Extent::Whole => (Content::whole(body), None),
        _ => {
            let (session, key) = (&held.session, to.key.as_ref());
            let ending = Ending::of_answer(to.upstream, session, key, &headers, &shared.clock);
            (Content::Streamed(body), ending)
        }
    };
    let answer = Answer { status, headers, body: content };
    let reply = Reply { answer, hold: Some(held.hold), unwanted: None, ending, upgrade: None };
    Ok(match upgrade {
        None => reply,
        Some(upgrade) => switched(reply, upgrade, record),
    })
}

/// Tells the client that its connection is a tunnel from now on.
fn switched(mut reply: Reply, upgrade: Agreed, record: &mut Record) -> Reply {
    upgrade.tell(&mut reply.answer);
    record.reason = record::UPGRADED;
    Reply { upgrade: Some(Box::new(upgrade)), ..reply }
}

fn own_answer(mut response: Response<Bytes>, record: &Record) -> Reply {
    let headers = response.headers_mut();
    reply::in_its_place(headers);
    headers.insert(&hop::REQUEST_ID, record.id.field());
    Reply::own(response, record)
}
