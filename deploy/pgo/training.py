"""The load that a build is trained with, on loopback. It is not what the benches measure, so that their figures say
something: other paths, sizes, header fields and upstreams. Three vendors' local servers are behind Doorward, and their
recipes within; it runs twice, once as beside an application, once with everything on."""

import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import builds
import proxies
import stage as stages
import tools
import workloads
from stage import Process, Stage
from workloads import Load, Target

START_TIME_MAX = 60.0
STOP_TIME_MAX = 60.0
ANSWER_TIME_MAX = 30.0

# What the local servers hold (src/emulator).
STACK = "api_key: bltd0a1e7c35b92f846"
VAULT = "{C840BE1A-5B47-4AC0-8EF7-835C166C8E24}"
CONTENT_TYPES = "/v3/content_types"
USER = "/v3/user"
REPORTS = "/callosum/v1/tspublic/v1/metadata/list?type=PINBOARD_ANSWER_BOOK"
REPORTS_USER = "/api/rest/2.0/auth/session/user"
SEARCH = "/REST/objects?q=handbook"
FILE = "/REST/objects/0/1/latest/files/1/content"
UPLOAD = "/REST/files"

FILE_BYTES = 300_000

# The server that compresses: what is decoded on its way comes in chunks, which not all clients here read.
COMPRESSES = "contentstack"

PEOPLE = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept: application/json, text/plain, */*",
    "Accept-Language: de,en-US;q=0.7,en;q=0.3",
    "Accept-Encoding: gzip, deflate, br",
    "Origin: https://intranet.example",
    "Referer: https://intranet.example/reports/quarterly",
    "Cookie: theme=dark; consent=all; visit=3f9d2b7c",
    "Sec-Fetch-Mode: cors",
    "Cache-Control: no-cache",
    STACK,
    "X-Requested-By: ThoughtSpot",
)
PROGRAMS = ("User-Agent: python-requests/2.32.3", "Accept: */*", STACK, "X-Requested-By: job")


class Untrained(stages.Failure):
    """The load did not do what it should."""


@dataclass(frozen=True)
class Amount:
    """How much there is of it, in each of the two runs."""

    # Of each kind of load.
    seconds: float
    # Of each kind of load that h2load makes.
    requests: int
    # Each request that is made one by one, mostly those that fail.
    times: int


WHOLE = Amount(seconds=1.5, requests=4_000, times=20)
# Shows that a build does all that the training asks for.
TRIAL = Amount(seconds=0.1, requests=200, times=1)


@dataclass(frozen=True)
class Vendor:
    """A local server that runs."""

    process: Process
    url: str
    login: str
    password: str
    authority: str | None

    def expire(self) -> None:
        """Ends all sessions."""
        port = int(self.url.rpartition(":")[2])
        connection: http.client.HTTPConnection
        if self.url.startswith("https"):
            trust = ssl.create_default_context(cafile=self.authority)
            connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=ANSWER_TIME_MAX, context=trust)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_TIME_MAX)
        connection.request("POST", "/__admin/expire", "{}", {"Content-Type": "application/json"})
        if connection.getresponse().status != 200:
            raise Untrained("a local server does not expire its sessions")
        connection.close()


@dataclass(frozen=True)
class Gateway:
    """Doorward under training."""

    process: Process
    # Without a key; with one; with one, over TLS.
    open: int
    keyed: Target


def install(may_install: bool) -> None:
    tools.install_packages(["h2load"], may_install)


def train(binary: Path, helper: Path, counts: Path, amount: Amount, say: builds.Say) -> None:
    """Both runs; the counts of the compiler's are in `counts` afterwards. Upstreams and keys are the helper's work, which
    is not to be counted."""
    stage = stages.open_stage(())
    # Of all that counts only the gateway is to be fast.
    os.environ["LLVM_PROFILE_FILE"] = str(stage.folder / "discarded")
    try:
        key = proxies.new_key(str(helper))
        for rich in (False, True):
            say("with everything on" if rich else "as beside an application")
            vendors = {name: start_vendor(stage, helper, name, rich) for name in SWITCHES}
            gateway = start_gateway(stage, binary, counts, vendors, key, rich)
            volume(stage, gateway, key, amount, rich)
            oddities(gateway, vendors, key, amount)
            stop(gateway.process)
            stage.end_all_but(())
    finally:
        stage.close()


# --- What runs ------------------------------------------------------------------------------------

SWITCHES = {
    "contentstack": ["rate_limit=false"],
    "thoughtspot": ["requests_per_second=0"],
    "mfiles": [f"download_bytes={FILE_BYTES}"],
}


def start_vendor(stage: Stage, binary: Path, name: str, tls: bool) -> Vendor:
    command = [str(binary), "emulate", name, *(["--tls"] if tls else [])]
    for switch in SWITCHES[name]:
        command += ["--switch", switch]
    process = stage.start(name, command, stage.load_core)
    told = wait_for(process, "Ctrl-C stops")
    found = {word: re.search(rf"^  {word} +(.*)$", told, re.MULTILINE) for word in ("login", "password", "trust")}
    url = re.search(r"emulated at (\S+)", told)
    login, password, trust = (found[word] for word in ("login", "password", "trust"))
    if not (url and login and password):
        raise Untrained(f"{name} does not say where it is:\n{told}")
    return Vendor(process, url[1], login[1], password[1], trust[1] if trust else None)


def start_gateway(
    stage: Stage, binary: Path, counts: Path, vendors: dict[str, Vendor], key: proxies.ClientKey, rich: bool
) -> Gateway:
    opened, plain, tls = stage.port(), stage.port(), stage.port()
    folder = stage.folder / ("rich" if rich else "poor")
    folder.mkdir()
    grants = '{ methods = ["DELETE"], paths = ["/v3/stacks/**"] }, {}' if rich else "{}"
    text = f"""[runtime]
cores = 1

[log]
level = "{"info" if rich else "warn"}"

[listeners.open]
address = "127.0.0.1:{opened}"
access = "open"

[listeners.plain]
address = "127.0.0.1:{plain}"

[listeners.tls]
address = "127.0.0.1:{tls}"
tls = {{ certificate = "{stage.certificate}", key = "{stage.key}" }}

# The name in the key.
[clients.bench]
keys = ["{key.digest}"]
grants = [{grants}]
"""
    paths = {"contentstack": "/v3", "thoughtspot": "/", "mfiles": "/REST"}
    for name, vendor in vendors.items():
        text += f"""
[upstreams.{name}]
url = "{vendor.url}"
recipe = "{name}"
{f'parameters = {{ vault = "{VAULT}" }}' if name == "mfiles" else ""}
{'search_bodies = "decode"' if rich and name == COMPRESSES else ""}
{f'tls = {{ ca_file = "{vendor.authority}" }}' if vendor.authority else ""}
{"limits = { rate = { requests = 1000000, per = '1s' }, in_flight_max = 500 }" if rich else ""}
[upstreams.{name}.accounts.trainee]
username = "{vendor.login}"
password = {{ env = "TRAINING_{name.upper()}" }}
[[routes]]
path = "{paths[name]}"
upstream = "{name}"
"""
    if rich:
        text += f"""
[audit]
path = "audit.jsonl"
key = {{ env = "TRAINING_KEY" }}

[state]
path = "{folder / "state"}"
key = {{ env = "TRAINING_KEY" }}
"""
    (folder / "doorward.toml").write_text(text)
    environment = {
        "LLVM_PROFILE_FILE": str(counts / f"{folder.name}.profraw"),
        "TRAINING_KEY": "a key of the training, as long as it must be",
        **{f"TRAINING_{name.upper()}": vendor.password for name, vendor in vendors.items()},
    }
    command = [str(binary), "run", "-c", str(folder / "doorward.toml")]
    process = stage.start("doorward", command, stage.proxy_core, environment)
    wait_for(process, "route ")
    fields = (*PEOPLE, f"Authorization: Bearer {key.key}")
    return Gateway(process, opened, Target(plain, tls, fields))


def wait_for(process: Process, text: str) -> str:
    """What a process has printed, once `text` is part of it."""
    end = time.monotonic() + START_TIME_MAX
    while time.monotonic() < end and process.child.poll() is None:
        told = process.log.read_text(errors="replace")
        if text in told:
            return told
        time.sleep(0.02)
    raise Untrained(f"{process.name} does not start:\n{process.tail()}")


def stop(process: Process) -> None:
    """Counts are written at a normal end only."""
    process.child.send_signal(signal.SIGTERM)
    if process.child.wait(STOP_TIME_MAX) != 0:
        raise Untrained(f"Doorward did not end well:\n{process.tail()}")


# --- Many requests --------------------------------------------------------------------------------


def volume(stage: Stage, gateway: Gateway, key: proxies.ClientKey, amount: Amount, rich: bool) -> None:
    """What there is a lot of: reads, writes, files, new connections, and some refusals."""
    people = gateway.keyed
    programs = Target(gateway.open, people.tls, PROGRAMS)
    vendors_own = Target(people.plain, people.tls, (*PROGRAMS, f"Doorward-Key: {key.key}"))
    strangers = Target(people.plain, people.tls, (*PROGRAMS, f"Authorization: Bearer {key.key[:-1]}x"))
    small = Load(connections=24)
    list_of_types, account = (SEARCH, REPORTS_USER) if rich else (CONTENT_TYPES, USER)
    runs = [
        (replace(small, path=list_of_types), programs),
        (replace(small, path=REPORTS), people),
        (replace(small, path=SEARCH, tls=True), people),
        (replace(small, path=account, connections=100), vendors_own),
        (replace(small, path=account, connections=8, tls=True, fresh=True), people),
        (replace(small, path=REPORTS_USER, connections=8, fresh=True), vendors_own),
        (replace(small, path=FILE, connections=6), people),
        (replace(small, path=FILE, connections=6, tls=True), people),
        (replace(small, path=UPLOAD, connections=12, post_bytes=3_000), people),
        (replace(small, path=UPLOAD, connections=6, post_bytes=90_000), programs),
        (replace(small, path=UPLOAD, connections=6, post_bytes=90_000, tls=True), people),
        (replace(small, path="/v3/nothing/here", connections=4), people),
        (replace(small, path=account, connections=4), strangers),
    ]
    for load, target in runs:
        expected = {strangers: 401}.get(target, 404 if "nothing" in load.path else 200)
        fields = dict(text.split(": ", 1) for text in target.fields)
        with connected(target.plain) as connection:
            # So that the many are what they are meant to be.
            ask(connection, "POST" if load.post_bytes else "GET", load.path, expected, fields)
        limit = ["--any", "--seconds", str(amount.seconds)]
        checked(load, workloads.run(stage, load, target, limit, amount.seconds + workloads.PATIENCE))
    for path in (REPORTS_USER, CONTENT_TYPES, SEARCH):
        h2load(stage, path, people, amount, [])
    h2load(stage, CONTENT_TYPES, people, amount, ["--h1"])
    posted = stage.folder / "posted"
    posted.write_bytes(b"p" * 5_000)
    h2load(stage, UPLOAD, vendors_own, amount, ["-d", str(posted)])


def checked(load: Load, outcome: workloads.Outcome) -> None:
    if outcome.errors or not outcome.good:
        raise Untrained(f"{outcome.errors} errors, first: {outcome.first_error}, for {load}")


def h2load(stage: Stage, path: str, target: Target, amount: Amount, more: list[str]) -> None:
    """HTTP/2, unless `more` says another; over TLS."""
    command = [tools.found("h2load") or "h2load", "-c", "6", "-m", "10", "-t", "1", "-n", str(amount.requests), *more]
    for text in target.fields:
        command += ["-H", text]
    command += [f"--connect-to=127.0.0.1:{target.tls}", f"https://localhost:{target.tls}{path}"]
    pinned = stages.pinned(stage.load_core)
    told = subprocess.run([*pinned, *command], capture_output=True, text=True, timeout=workloads.PATIENCE).stdout
    protocol = "http/1.1" if "--h1" in more else "h2"
    if f"Application protocol: {protocol}" not in told or f" {amount.requests} succeeded" not in told:
        raise Untrained(f"h2load of {path}:\n{told}")


# --- Requests one by one --------------------------------------------------------------------------


def oddities(gateway: Gateway, vendors: dict[str, Vendor], key: proxies.ClientKey, amount: Amount) -> None:
    """What there is little of."""
    port = gateway.keyed.plain
    own = dict(text.split(": ", 1) for text in (*PROGRAMS, f"Authorization: Bearer {key.key}"))
    for _ in range(amount.times):
        with connected(port) as connection:
            ask(connection, "HEAD", CONTENT_TYPES, 200, own)
            ask(connection, "GET", FILE, 200, {**own, "Range": "bytes=100-2000"}, (200, 206))
            ask(connection, "POST", "/REST/files", 200, own, body=iter([b"chunk " * 100] * 10))
            entry = json.dumps({"entry": {"title": "Written by the training"}})
            headers = {**own, "Content-Type": "application/json"}
            ask(connection, "POST", CONTENT_TYPES + "/article/entries", 201, headers, body=entry)
            login = json.dumps({"user": {"email": "trainee", "password": key.key}})
            ask(connection, "POST", "/v3/user-session", 200, headers, body=login)
            ask(connection, "DELETE", "/v3/stacks/nothing", 404, own, (400, 404, 405, 412, 422))
            ask(connection, "GET", "/v3/../REST/%2e%2e/objects", 400, own, tuple(range(300, 500)))
        with connected(port) as connection:
            ask(connection, "GET", USER, 401, {})
        for text in (b"GET / HTTP/1.0\r\n\r\n", b"NONSENSE\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", port), ANSWER_TIME_MAX) as raw:
                raw.sendall(text)
                raw.recv(4096)
    for vendor in vendors.values():
        vendor.expire()
        with connected(port) as connection:
            for path in (USER, REPORTS_USER, SEARCH):
                ask(connection, "GET", path, 200, own)


@contextmanager
def connected(port: int) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_TIME_MAX)
    try:
        yield connection
    finally:
        connection.close()


def ask(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    status: int,
    headers: dict[str, str],
    also: tuple[int, ...] = (),
    body: str | Iterator[bytes] | None = None,
) -> None:
    """One request; the answer's status must be `status` or one of `also`."""
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != status and answer.status not in also:
        raise Untrained(f"{method} {path} is answered with {answer.status}: {text[:300]!r}")
