//! Listeners over a reload: what stays keeps its connections, what is new is bound before anything
//! changes, and certificates are exchanged under those who are there.

use std::fs;

use doorward::emulator::{Certificate, Vendor};
use doorward::server::Address;

use crate::client::{Call, Door, Raw};
use crate::harness::{Scene, Setup, refused, until, within, write};
use crate::vendors::{read, read_line};

const VENDOR: Vendor = Vendor::Contentstack;

/// A read at another door.
fn read_at(scene: &Scene, door: &Door) -> Call {
    let call = Call::new(door.clone(), scene.record().clone(), "GET", "/v3/content_types");
    call.header("api_key", doorward::emulator::contentstack::API_KEY)
}

/// Where the listener of this name is.
fn door(scene: &Scene, name: &str) -> Door {
    let mut listening = scene.app().listening().into_iter();
    let listening = listening.find(|one| one.name == name).unwrap();
    Door { address: listening.address, authority_pem: None }
}

/// Fails when a listener that stays closes a connection, when a new one is not there after the
/// reload, or when one that is gone lets somebody in or cuts off who is there.
#[tokio::test]
async fn listeners_come_and_go_beside_those_that_stay() {
    let scene = Setup::of(VENDOR).tables("# here\n").start().await;
    let call = read(&scene);
    let mut connection = call.http2_connection().await;
    assert_eq!(connection.send(&call).await.status, 200);
    let socket = scene.folder.path().join("more.sock");
    let more = format!(
        "[listeners.more]\naddress = \"127.0.0.1:0\"\naccess = \"open\"\n\
         [listeners.unix]\naddress = \"unix:{}\"\naccess = \"open\"\n",
        socket.display()
    );
    scene.change_config("# here\n", &more);
    scene.reload().await;
    let (more_door, unix) = (door(&scene, "more"), door(&scene, "unix"));
    assert_eq!(unix.address, Address::Unix(socket.clone()));
    assert_eq!(door(&scene, "main").address, scene.door().address);
    assert_eq!(read_at(&scene, &more_door).send().await.status, 200);
    assert_eq!(read_at(&scene, &unix).send().await.status, 200);
    assert_eq!(connection.send(&call).await.status, 200);

    let mut idle = Raw::connect(&more_door, scene.record()).await;
    let hold = scene.control().hold(read_line(VENDOR));
    let running = read_at(&scene, &more_door).spawn();
    within(hold.arrived(1)).await;
    scene.change_config(&more, "# here\n");
    scene.reload().await;
    refused(&more_door).await;
    assert!(!socket.exists(), "the socket's file is left behind");
    // Nobody waits for a request there any more.
    idle.end().await;
    hold.release();
    assert_eq!(within(running).await.unwrap().status, 200);
    assert_eq!(connection.send(&call).await.status, 200);
    assert_eq!(scene.control().counters().logins, 1);
    scene.stop().await;
}

/// Fails when a listener that has another name is bound anew, or loses a connection.
#[tokio::test]
async fn a_listener_that_is_called_otherwise_is_the_same() {
    let scene = Setup::of(VENDOR).start().await;
    let call = read(&scene);
    let mut connection = call.http2_connection().await;
    assert_eq!(connection.send(&call).await.status, 200);
    scene.change_config("[listeners.main]", "[listeners.front]");
    scene.reload().await;
    assert_eq!(door(&scene, "front").address, scene.door().address);
    assert_eq!(connection.send(&call).await.status, 200);
    assert_eq!(read(&scene).send().await.status, 200);
    scene.stop().await;
}

/// Fails when anything changes although an address cannot be bound, or when what was bound for
/// another one stays so.
#[tokio::test]
async fn an_address_that_is_taken_keeps_the_whole_configuration_out() {
    let scene = Setup::of(VENDOR).tables("# here\n").start().await;
    assert_eq!(read(&scene).send().await.status, 200);
    let socket = scene.folder.path().join("first.sock");
    let taken = scene.emulator.address();
    scene.change_config(
        "# here\n",
        &format!(
            "[listeners.first]\naddress = \"unix:{}\"\naccess = \"open\"\n\
             [listeners.taken]\naddress = \"{taken}\"\naccess = \"open\"\n",
            socket.display()
        ),
    );
    scene.change_config("[[routes]]\n", "[[routes]]\npath = \"/elsewhere\"\n");
    let told = scene.fail_to_reload().await;
    assert!(told.contains(&taken.to_string()) && told.contains("`taken`"), "{told}");
    assert_eq!(read(&scene).send().await.status, 200);
    assert_eq!(scene.app().listening().len(), 1);
    assert!(!socket.exists(), "the socket's file is left behind");
    scene.stop().await;
}

/// Fails when a certificate that is renewed is not shown to who comes next, or costs a connection
/// that is there.
#[tokio::test]
async fn a_renewed_certificate_is_shown_from_the_next_handshake_on() {
    let mut setup = Setup::of(VENDOR);
    setup.listener_tls = true;
    let scene = setup.start().await;
    let call = read(&scene);
    let mut connection = call.http2_connection().await;
    assert_eq!(connection.send(&call).await.status, 200);
    let renewed = Certificate::for_names(&["localhost", "127.0.0.1"]).unwrap();
    write(scene.folder.path(), "listener.crt", renewed.certificate_pem());
    // Half of a pair is none.
    assert!(scene.fail_to_reload().await.contains("listener.key"));
    assert_eq!(read(&scene).send().await.status, 200);
    write(scene.folder.path(), "listener.key", &renewed.key_pem());
    scene.reload().await;
    let address = scene.door().address.clone();
    let door = Door { address, authority_pem: Some(renewed.authority_pem().to_owned()) };
    assert_eq!(read_at(&scene, &door).send().await.status, 200);
    let by_the_old = read(&scene).try_send_by(crate::client::Protocol::Http1);
    assert!(within(by_the_old).await.is_err(), "the old certificate is shown");
    assert_eq!(connection.send(&call).await.status, 200);
    assert_eq!(scene.control().counters().logins, 1);
    scene.stop().await;
}

/// Fails when a connection that was let in without being asked for a key goes on without one.
#[tokio::test]
async fn who_was_let_in_openly_has_to_come_again_where_keys_are_asked_for() {
    let scene = Setup::of(VENDOR).start().await;
    let mut idle = Raw::connect(scene.door(), scene.record()).await;
    let call = read(&scene);
    let hold = scene.control().hold(read_line(VENDOR));
    let running = call.clone().spawn();
    within(hold.arrived(1)).await;
    let key = doorward::access::key::ClientKey::generate("ci".parse().unwrap()).unwrap();
    scene.change_config("access = \"open\"", "access = \"clients\"");
    let text = fs::read_to_string(scene.config()).unwrap();
    let client = format!("{text}\n[clients.ci]\nkeys = [\"{}\"]\ngrants = [{{}}]\n", key.digest());
    fs::write(scene.config(), client).unwrap();
    scene.reload().await;
    idle.end().await;
    hold.release();
    assert_eq!(within(running).await.unwrap().status, 200);
    assert_eq!(call.clone().send().await.problem(), "client_key_missing");
    assert_eq!(call.header("doorward-key", key.expose()).send().await.status, 200);
    scene.stop().await;
}

/// Fails when fewer or more connections are let in than the configuration in force says.
#[tokio::test]
async fn how_many_connections_there_may_be_changes_with_the_configuration() {
    let setup = Setup::of(VENDOR).tables("[limits]\nconnections_max = 2\n");
    let scene = setup.start().await;
    scene.change_config("cores = 2", "cores = 2");
    let (mut first, mut second) = (
        Raw::connect(scene.door(), scene.record()).await,
        Raw::connect(scene.door(), scene.record()).await,
    );
    for connection in [&mut first, &mut second] {
        connection.write("GET /v3/content_types HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    }
    scene.change_config("connections_max = 2", "connections_max = 200");
    scene.reload().await;
    let many: Vec<_> = (0..20).map(|_| read(&scene).spawn()).collect();
    for call in many {
        assert_eq!(within(call).await.unwrap().status, 200);
    }
    until("nothing waits", || scene.waiting() == 0).await;
    scene.stop().await;
}
