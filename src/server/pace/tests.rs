//! What becomes of clients that are too slow, and of those that are not.

use std::future::poll_fn;
use std::task::Waker;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::advance;

use super::*;

const PACE: Pace = Pace {
    head: Duration::from_secs(10),
    idle: Duration::from_secs(60),
    write: Slowness { pause_max: Duration::from_secs(30), bytes_per_second_min: 240 },
};

fn paced() -> (DuplexStream, Paced<DuplexStream>, Arc<Traffic>) {
    let (client, server) = duplex(1024);
    let traffic = Arc::new(Traffic::default());
    (client, Paced::new(server, Arc::clone(&traffic), PACE), traffic)
}

async fn times_out(paced: &mut Paced<DuplexStream>) -> Duration {
    let before = Instant::now();
    let error = paced.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    before.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_nothing_is_given_the_idle_time() {
    let (_client, mut paced, _) = paced();
    let waited = times_out(&mut paced).await;
    assert!(waited >= PACE.idle && waited < PACE.idle + PACE.head, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_its_head_byte_by_byte_is_given_the_head_time() {
    let (mut client, mut paced, traffic) = paced();
    let waiting = Instant::now();
    for byte in b"GET" {
        client.write_u8(*byte).await.unwrap();
        paced.read_u8().await.unwrap();
        traffic.head_begins();
        let more = tokio::time::timeout(Duration::from_secs(3), paced.read_u8()).await;
        assert!(more.is_err());
    }
    times_out(&mut paced).await;
    let waited = waiting.elapsed();
    assert!(waited >= PACE.head && waited < PACE.head + Duration::from_secs(1), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn each_head_is_given_its_own_time() {
    let (_client, mut paced, traffic) = paced();
    for _ in 0..3 {
        traffic.head_begins();
        let more = tokio::time::timeout(Duration::from_secs(9), paced.read_u8()).await;
        assert!(more.is_err());
        drop(traffic.begin());
    }
    let waited = times_out(&mut paced).await;
    assert!(waited >= PACE.idle, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_under_way_may_take_as_long_as_it_takes_and_then_idling_begins() {
    let (mut client, mut paced, traffic) = paced();
    client.write_all(b"G").await.unwrap();
    paced.read_u8().await.unwrap();
    traffic.head_begins();
    for time in [3600, 3601, 3609] {
        let underway = traffic.begin();
        let still = tokio::time::timeout(Duration::from_secs(time), paced.read_u8()).await;
        assert!(still.is_err(), "an answer under way was cut off");
        drop(underway);
    }
    let waited = times_out(&mut paced).await;
    assert!(waited >= PACE.idle && waited <= PACE.idle + PACE.head, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn frames_of_http2_are_no_head_and_no_request() {
    let (mut client, mut paced, traffic) = paced();
    // Its beginning came in pieces.
    traffic.head_begins();
    let more = tokio::time::timeout(Duration::from_secs(1), paced.read_u8()).await;
    assert!(more.is_err());
    traffic.speaks_http2();
    for _ in 0..5 {
        advance(Duration::from_secs(9)).await;
        client.write_all(b"p").await.unwrap();
        paced.read_u8().await.unwrap();
    }
    assert!(!traffic.is_to_leave());
    // 46 seconds of the 60 are over; then it is told to leave, and cut if it does not.
    let waited = times_out(&mut paced).await;
    assert!(traffic.is_to_leave());
    let (least, most) = (Duration::from_secs(24), Duration::from_secs(40));
    assert!(waited >= least && waited <= most, "{waited:?}");
}

/// Writes until the client is cut off, which has room for 1024 bytes.
async fn cut(paced: &mut Paced<DuplexStream>) -> Duration {
    let before = Instant::now();
    let error = paced.write_all(&[0; 64 * 1024]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    before.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_given_the_write_time() {
    let (_client, mut paced, traffic) = paced();
    let _underway = traffic.begin();
    let waited = cut(&mut paced).await;
    assert!(waited >= PACE.write.pause_max, "{waited:?}");
    assert!(waited <= PACE.write.pause_max + PACE.head, "{waited:?}");
    assert!(traffic.is_cut());
}

/// Fails when whoever reads takes the wake-up of whoever writes, and has no use for it.
#[tokio::test(start_paused = true)]
async fn whoever_writes_is_woken_though_somebody_else_has_read_last() {
    let (_client, paced, traffic) = paced();
    let _underway = traffic.begin();
    let paced = Arc::new(std::sync::Mutex::new(paced));
    let writer = Arc::clone(&paced);
    let writing = tokio::spawn(poll_fn(move |context| {
        let mut paced = writer.lock().unwrap();
        loop {
            let written = Pin::new(&mut *paced).poll_write(context, &[0; 1024]);
            if !matches!(written, Poll::Ready(Ok(_))) {
                return written;
            }
        }
    }));
    tokio::task::yield_now().await;
    // It reads once, and is busy with what it has read from then on.
    let mut context = Context::from_waker(Waker::noop());
    let mut room = [0; 1];
    let read =
        Pin::new(&mut *paced.lock().unwrap()).poll_read(&mut context, &mut ReadBuf::new(&mut room));
    assert!(read.is_pending());
    let cut = tokio::time::timeout(Duration::from_secs(3600), writing).await;
    assert_eq!(cut.unwrap().unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert!(traffic.is_cut());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_of_a_timer_that_a_slow_client_needed_once() {
    let (mut client, mut paced, traffic) = paced();
    let underway = traffic.begin();
    let reading = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(5)).await;
        client.read_exact(&mut [0; 4096]).await.unwrap();
        client
    });
    paced.write_all(&[0; 4096]).await.unwrap();
    assert!(paced.writing.is_some());
    drop(underway);
    let _client = reading.await.unwrap();
    times_out(&mut paced).await;
    assert!(paced.writing.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_a_few_bytes_now_and_then_is_cut_in_the_end() {
    let (mut client, mut paced, traffic) = paced();
    let _underway = traffic.begin();
    let seen = Arc::clone(&traffic);
    let sipping = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(10)).await;
            client.read_exact(&mut [0; 1200]).await.unwrap();
            seen.wrote(1200);
        }
    });
    let waited = cut(&mut paced).await;
    sipping.abort();
    // 1200 bytes buy five seconds and take ten.
    let (least, most) = (Duration::from_secs(50), Duration::from_secs(70));
    assert!(waited >= least && waited <= most, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_enough_is_never_cut() {
    let (mut client, mut paced, traffic) = paced();
    let _underway = traffic.begin();
    let seen = Arc::clone(&traffic);
    let sipping = tokio::spawn(async move {
        for _ in 0..64 {
            tokio::time::sleep(Duration::from_secs(4)).await;
            client.read_exact(&mut [0; 1024]).await.unwrap();
            seen.wrote(1024);
        }
    });
    paced.write_all(&[0; 64 * 1024]).await.unwrap();
    sipping.await.unwrap();
    assert!(!traffic.is_cut());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_what_was_left_of_its_answer_does_not_idle() {
    let (mut client, mut paced, traffic) = paced();
    traffic.speaks_http2();
    drop(traffic.begin());
    let seen = Arc::clone(&traffic);
    let sipping = tokio::spawn(async move {
        for _ in 0..64 {
            tokio::time::sleep(Duration::from_secs(4)).await;
            client.read_exact(&mut [0; 1024]).await.unwrap();
            seen.wrote(1024);
        }
        client
    });
    let mut left = 64 * 1024;
    poll_fn(|context| {
        let mut room = [0; 1];
        let read = Pin::new(&mut paced).poll_read(context, &mut ReadBuf::new(&mut room));
        assert!(read.is_pending(), "{read:?}");
        while left > 0 {
            let written = Pin::new(&mut paced).poll_write(context, &[0; 1024]);
            left -= std::task::ready!(written).unwrap();
        }
        Poll::Ready(())
    })
    .await;
    assert!(!traffic.is_to_leave());
    let _client = sipping.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_has_a_bound_of_its_own() {
    let (_client, mut paced, traffic) = paced();
    traffic.is_tunnel.store(true, Ordering::Relaxed);
    let _underway = traffic.begin();
    let writing = paced.write_all(&[0; 64 * 1024]);
    assert!(tokio::time::timeout(Duration::from_secs(3600), writing).await.is_err());
    assert!(!traffic.is_cut());
}
