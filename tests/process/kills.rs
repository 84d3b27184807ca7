//! Doorward is killed a hundred times, in the middle of logins, renewals, rotations and logouts. No
//! account may be locked by that, no session used after its logout, and nothing left open but the
//! sessions of logins whose answer the kill has cut off: at most one a kill, each of them told.
//!
//! The moments are drawn from a seed; `DOORWARD_KILL_SEED` chooses another one.

use std::time::Duration;

use doorward::emulator::{Credential, Emulator, Forced, Options, RequestRecord, Vendor};
use serde_json::json;

use crate::site::{Site, until};

/// Kills for each of the three vendors.
const KILLS: u64 = 34;

/// A kill comes at most so long after what it interrupts has begun: longer than a login takes.
const MOMENT_MAX: Duration = Duration::from_millis(60);

/// How long a login and a logout take at the upstream.
const SLOW: Duration = Duration::from_millis(15);

/// A rotation begins when the file's change was noticed.
const ROTATION_MAX: Duration = Duration::from_millis(900);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contentstack_survives_kills() {
    survives(Vendor::Contentstack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thoughtspot_survives_kills() {
    survives(Vendor::ThoughtSpot).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mfiles_survives_kills() {
    survives(Vendor::MFiles).await;
}

/// What a kill interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interrupted {
    /// The first login after a start.
    Login,
    /// The login after a session was found dead.
    Renewal,
    /// The change to another password.
    Rotation,
    /// The stop.
    Logout,
}

const ALL: [Interrupted; 4] =
    [Interrupted::Login, Interrupted::Renewal, Interrupted::Rotation, Interrupted::Logout];

/// Fails when an attempt is sent before it is recorded, a token used before, or a session after its
/// logout was begun; when what was left is not closed; or when a lost answer is not told.
async fn survives(vendor: Vendor) {
    let emulator = Emulator::start(vendor, Options::default()).await.unwrap();
    let control = emulator.control();
    match vendor {
        Vendor::Contentstack => control.switch("rate_limit", json!(false)).unwrap(),
        Vendor::ThoughtSpot => control.switch("requests_per_second", json!(0)).unwrap(),
        Vendor::MFiles => {}
    }
    // Long enough to be hit.
    for matching in slow_lines(vendor) {
        let slow = Forced { matching, times: u32::MAX, delay: SLOW, ..Forced::default() };
        control.force(slow).unwrap();
    }
    let mut chance = Chance::of((vendor as u64) << 32);
    let site = Site::new(&emulator);
    // What may be open besides the session in use: those whose answer was lost.
    let (mut lost, mut all_lost) = (0, 0);
    for kill in 0..KILLS {
        let interrupted = ALL[usize::try_from(chance.below(4)).unwrap()];
        control.reset_counters();
        let mut doorward = site.start(kill).await;
        doorward.recover(vendor).await;
        let told = site.told(kill);
        assert!(told <= 1, "{vendor}, kill {kill}: {told} lost answers");
        (lost, all_lost) = (lost + told, all_lost + told);
        until(&format!("{vendor}, kill {kill}: what was left open is closed"), || {
            control.counters().live_sessions <= 1 + lost
        })
        .await;
        if !matches!(interrupted, Interrupted::Rotation | Interrupted::Renewal) {
            assert_eq!(dead_reads(&control.requests()), 0, "{vendor}, kill {kill}");
        }

        let mut moment = MOMENT_MAX;
        match interrupted {
            Interrupted::Login => {
                doorward.stop().await;
                doorward = site.start(KILLS + kill).await;
                doorward.ask(vendor);
            }
            Interrupted::Renewal => {
                control.expire_sessions();
                lost = 0;
                doorward.ask(vendor);
            }
            Interrupted::Rotation => {
                let password = format!("the password after kill {kill} of {vendor}");
                site.change_password(&emulator, &password);
                doorward.ask(vendor);
                moment = ROTATION_MAX;
            }
            Interrupted::Logout => doorward.signal().await,
        }
        doorward.kill_in(moment.mul_f64(chance.part())).await;
        assert_eq!(control.counters().lockouts, 0, "{vendor}, kill {kill}: {interrupted:?}");
    }
    let mut last = site.start(2 * KILLS).await;
    last.recover(vendor).await;
    lost += site.told(2 * KILLS);
    until(&format!("{vendor}: the last start closes what was left open"), || {
        control.counters().live_sessions <= 1 + lost
    })
    .await;
    last.stop().await;
    assert!(all_lost > 0, "{vendor}: no kill came between a login and its answer");
    let counters = control.counters();
    assert!(counters.live_sessions <= lost, "{vendor}: {counters:?}, {lost} lost");
    assert_eq!(counters.lockouts, 0, "{vendor}");
    emulator.stop().await;
}

/// The logins and logouts of a vendor.
fn slow_lines(vendor: Vendor) -> [String; 2] {
    let lines = match vendor {
        Vendor::Contentstack => ["POST /v3/user-session", "DELETE /v3/user-session"],
        Vendor::ThoughtSpot => ["v1/session/login", "v1/session/logout"],
        Vendor::MFiles => ["POST /REST/server/authenticationtokens", "POST /REST/session.aspx"],
    };
    lines.map(str::to_owned)
}

/// Clients' requests that carried a session which the upstream had ended.
fn dead_reads(requests: &[RequestRecord]) -> usize {
    let is_read = |request: &&RequestRecord| {
        let line = format!("{} {}", request.method, request.target);
        request.credential == Credential::Dead
            && ["content_types", "metadata/list", "views/items"]
                .iter()
                .any(|part| line.contains(part))
    };
    requests.iter().filter(is_read).count()
}

/// Numbers that look drawn, the same for each seed (SplitMix64).
pub struct Chance(u64);

impl Chance {
    /// Those of the seed, other ones for each `case`.
    pub fn of(case: u64) -> Self {
        let seed = std::env::var("DOORWARD_KILL_SEED").ok().and_then(|seed| seed.parse().ok());
        Self(seed.unwrap_or(1) ^ case)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// From 0 to 1.
    pub fn part(&mut self) -> f64 {
        self.below(1_000_001) as f64 / 1_000_000.0
    }
}
