//! 9 900 connections that idle, and 1000 new ones a second beside them. No call may fail, and what
//! they took must come back.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

use super::stage::{self, Memory, Stage};

pub const NAME: &str = "crowd";

const IDLE: usize = 9_900;

/// New connections a second, and for how long.
const NEW: u64 = 1000;
const SECONDS: u64 = 60;

/// Calls under way at the most.
const UNDER_WAY_MAX: usize = 512;

/// It stops by itself, whatever hangs.
const ALL_MAX: Duration = Duration::from_secs(180);

/// How long a call may take.
const CALL_MAX: Duration = Duration::from_secs(10);

/// Until everything is closed on both sides.
const SETTLE: Duration = Duration::from_secs(5);

/// One address of loopback has ports for 28 000 connections in a minute.
const SOURCES: u8 = 8;

pub fn run() -> Result<(), String> {
    stage::descriptors((IDLE + UNDER_WAY_MAX + 100) as u64)?;
    // More than all of them; a connection may idle for as long as the case lasts.
    let stage = Stage::start("[limits]\nconnections_max = 12000\n[timeouts]\nidle = \"10m\"\n");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ended = runtime.block_on(async { timeout(ALL_MAX, case(&stage)).await });
    ended.unwrap_or_else(|_| Err(format!("it took longer than {ALL_MAX:?}")))
}

async fn case(stage: &Stage) -> Result<(), String> {
    let errors = Arc::new(AtomicU64::new(0));
    call(stage.address, 1, &errors).await;
    let before = stage.memory();
    let mut idle = Vec::with_capacity(IDLE);
    while idle.len() < IDLE {
        let mut batch = JoinSet::new();
        for number in 0..100.min(IDLE - idle.len()) {
            batch.spawn(call_and_stay(
                stage.address,
                number as u8 % SOURCES + 1,
                Arc::clone(&errors),
            ));
        }
        idle.extend(batch.join_all().await);
    }
    let crowded = stage.memory();
    println!("{IDLE} idle connections, {} errors", errors.load(Ordering::Relaxed));

    let client = stage.client();
    let (begun, mut calls, mut peak) = (Instant::now(), JoinSet::new(), crowded);
    let mut pace = interval(Duration::from_millis(10));
    let mut made = 0;
    while made < NEW * SECONDS {
        pace.tick().await;
        for _ in 0..NEW / 100 {
            while calls.len() >= UNDER_WAY_MAX {
                calls.join_next().await;
            }
            let errors = Arc::clone(&errors);
            let (to, source) = (stage.address, (made % u64::from(SOURCES)) as u8 + 1);
            calls.spawn(async move { call(to, source, &errors).await });
            made += 1;
        }
        while calls.try_join_next().is_some() {}
        if made % NEW == 0 {
            let now = stage.memory();
            peak = Memory { rss: peak.rss.max(now.rss), pss: peak.pss.max(now.pss) };
        }
    }
    calls.join_all().await;
    let took = begun.elapsed();
    let mut failed = Vec::new();
    let rate = made as f64 / took.as_secs_f64();
    println!("{made} new connections in {took:.1?}: {rate:.0} a second");
    if rate < NEW as f64 * 0.95 {
        failed.push(format!("the machine made {rate:.0} connections a second only"));
    }
    client.stop().judge(&mut failed);
    drop(idle);
    sleep(SETTLE).await;
    let after = stage.memory();
    let each = crowded.pss.saturating_sub(before.pss) as f64 / IDLE as f64;
    println!(
        "memory of Doorward in KiB (RSS, PSS): {}, {} before; {}, {} with idle connections \
         ({each:.1} each); {}, {} at most; {}, {} afterwards",
        before.rss, before.pss, crowded.rss, crowded.pss, peak.rss, peak.pss, after.rss, after.pss
    );
    let errors = errors.load(Ordering::Relaxed);
    if errors > 0 {
        failed.push(format!("{errors} calls failed"));
    }
    // An allocator may keep a part for what comes next.
    if after.pss > before.pss + (peak.pss - before.pss) / 2 {
        failed.push("memory does not return".to_owned());
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join(", ")) }
}

async fn connect(to: SocketAddr, source: u8) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, source), 0)))?;
    socket.connect(to).await
}

/// A connection with one call.
async fn call(to: SocketAddr, source: u8, errors: &AtomicU64) {
    let calling = async {
        let mut stream = connect(to, source).await?;
        stage::call(&mut stream).await
    };
    note(timeout(CALL_MAX, calling).await, errors);
}

/// The same, and it stays.
async fn call_and_stay(to: SocketAddr, source: u8, errors: Arc<AtomicU64>) -> Option<TcpStream> {
    let calling = async {
        let mut stream = connect(to, source).await?;
        stage::call(&mut stream).await?;
        Ok(stream)
    };
    note(timeout(CALL_MAX, calling).await, &errors)
}

fn note<T>(
    ended: Result<std::io::Result<T>, tokio::time::error::Elapsed>,
    errors: &AtomicU64,
) -> Option<T> {
    let why = match ended {
        Ok(Ok(done)) => return Some(done),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it took too long".to_owned(),
    };
    if errors.fetch_add(1, Ordering::Relaxed) < 5 {
        eprintln!("a call failed: {why}");
    }
    None
}
