"""What is measured, and the clients that make it."""

import json
import re
import subprocess
from dataclasses import dataclass

import proxies
import tools
from stage import Failure, Stage, pinned

SMALL_BYTES = 1024
LARGE_BYTES = 10 * 1024 * 1024
POST_BYTES = 1024 * 1024

# h2load is told how many requests to make, not for how long: the warm-up tells how fast it goes.
H2_WARM_UP_REQUESTS = 4_000
H2_CLIENTS = 16
H2_STREAMS = 32

# Beyond the time that a run was given, for a proxy that hangs.
PATIENCE = 60.0


@dataclass(frozen=True)
class Load:
    """The clients of one run."""

    connections: int = 64
    path: str = "/v3/items/42?locale=en-us"
    answer_bytes: int = SMALL_BYTES
    post_bytes: int = 0
    rate: int = 0
    tls: bool = False
    fresh: bool = False
    http2: bool = False
    # What costs are told for: requests, or MiB of bodies.
    mib: int = 0

    @property
    def unit(self) -> str:
        return "MiB" if self.mib else "request"

    @property
    def units_per_answer(self) -> int:
        return self.mib or 1


@dataclass(frozen=True)
class Outcome:
    """What the clients saw."""

    good: int
    errors: int
    first_error: str
    seconds: float
    # Not from h2load.
    p50_us: float | None = None
    p99_us: float | None = None


@dataclass(frozen=True)
class Workload:
    """One line of the table, or several."""

    name: str
    title: str
    kind: str
    load: Load = Load()


WORKLOADS = (
    Workload("get", "1 KiB GET, 64 connections", "cpu"),
    Workload("get_tls", "the same over TLS", "cpu", Load(tls=True)),
    Workload("get_h2", "HTTP/2 over TLS, 16 connections with 32 streams", "cpu", Load(http2=True, tls=True)),
    Workload("connect_tls", "a new TLS connection for each request", "cpu", Load(connections=16, tls=True, fresh=True)),
    Workload("get_10_mib", "10 MiB GET", "cpu", Load(connections=8, path="/large", answer_bytes=LARGE_BYTES, mib=10)),
    Workload(
        "get_10_mib_tls",
        "10 MiB GET over TLS",
        "cpu",
        Load(connections=8, path="/large", answer_bytes=LARGE_BYTES, mib=10, tls=True),
    ),
    Workload("post_1_mib", "1 MiB POST", "cpu", Load(connections=8, post_bytes=POST_BYTES, mib=1)),
    Workload("get_512", "1 KiB GET, 512 connections", "cpu", Load(connections=512)),
    Workload("paced", "1 KiB GET, 4 000 requests/s", "cpu", Load(connections=32, rate=4_000)),
    Workload("instructions", "1 KiB GET", "instructions", Load(connections=16)),
    Workload("instructions_tls", "the same over TLS", "instructions", Load(connections=16, tls=True)),
    Workload("instructions_h2", "HTTP/2 over TLS", "instructions", Load(http2=True, tls=True)),
    Workload("syscalls", "1 KiB GET, 64 connections", "syscalls"),
    Workload("memory", "an idle plain client connection", "memory", Load(connections=9_000)),
    Workload("start", "from the start to the first proxied 200", "start", Load(connections=1)),
)


@dataclass(frozen=True)
class Target:
    """Where clients go, and what they carry besides the usual."""

    plain: int
    tls: int
    fields: tuple[str, ...]

    def port(self, load: Load) -> int:
        return self.tls if load.tls else self.plain


def client_fields(key: proxies.ClientKey) -> tuple[str, ...]:
    """With `Host` the six that a client library commonly sends; all proxies get the same."""
    return (
        "User-Agent: bench/1.0",
        "Accept: application/json",
        "Accept-Encoding: gzip, deflate",
        "Accept-Language: en-us",
        f"Authorization: Bearer {key.key}",
    )


def command(load: Load, target: Target, limit: list[str]) -> list[str]:
    """Our client's command line; `limit` says how long or how often."""
    line = [
        tools.compiled("load", ("-lssl", "-lcrypto")),
        "--port",
        str(target.port(load)),
        "--path",
        load.path,
        "--answer-bytes",
        str(load.answer_bytes),
        "--connections",
        str(load.connections),
        *limit,
    ]
    for text in target.fields:
        line += ["--header", text]
    for name, value in (("--post-bytes", load.post_bytes), ("--rate", load.rate)):
        line += [name, str(value)] if value else []
    for name, wanted in (("--tls", load.tls), ("--fresh", load.fresh)):
        line += [name] if wanted else []
    return line


def outcome(text: str) -> Outcome:
    """The line that our client prints."""
    told = json.loads(text)
    return Outcome(told["good"], told["errors"], told["first_error"], told["seconds"], told["p50_us"], told["p99_us"])


def run(stage: Stage, load: Load, target: Target, limit: list[str], time_max: float) -> Outcome:
    """Our client to its end."""
    process = stage.start("load", command(load, target, limit), stage.load_core, stdout=subprocess.PIPE)
    try:
        output, _ = process.child.communicate(timeout=time_max)
    except subprocess.TimeoutExpired:
        return Outcome(0, 1, "the clients did not end", time_max)
    finally:
        stage.end(process)
    if not output:
        raise Failure(f"load: {process.tail()}")
    return outcome(output.decode())


def run_for(stage: Stage, load: Load, target: Target, seconds: float) -> Outcome:
    """For some time; HTTP/2 as often as fits into it."""
    if not load.http2:
        return run(stage, load, target, ["--seconds", str(seconds)], seconds + PATIENCE)
    warm_up = run_times(stage, load, target, H2_WARM_UP_REQUESTS)
    if warm_up.errors:
        return warm_up
    return run_times(stage, load, target, h2_requests(warm_up, seconds))


def h2_requests(warm_up: Outcome, seconds: float) -> int:
    return max(H2_WARM_UP_REQUESTS, int(warm_up.good / warm_up.seconds * seconds))


def run_times(stage: Stage, load: Load, target: Target, requests: int, time_max: float = PATIENCE) -> Outcome:
    """A number of requests."""
    if not load.http2:
        return run(stage, load, target, ["--requests", str(requests)], time_max)
    clients = min(H2_CLIENTS, requests)
    line = [
        tools.found("h2load") or "h2load",
        "-c",
        str(clients),
        "-m",
        str(H2_STREAMS),
        "-t",
        "1",
        "-n",
        str(requests),
    ]
    for text in target.fields:
        line += ["-H", text]
    # By name, as clients do: Caddy chooses its certificate by the name that the client asks for.
    line += [f"--connect-to=127.0.0.1:{target.tls}", f"https://localhost:{target.tls}{load.path}"]
    try:
        answer = subprocess.run([*pinned(stage.load_core), *line], capture_output=True, text=True, timeout=time_max)
    except subprocess.TimeoutExpired:
        return Outcome(0, requests, "h2load did not end", time_max)
    return h2load_outcome(answer.stdout, requests, load.answer_bytes)


def h2load_outcome(text: str, requests: int, answer_bytes: int) -> Outcome:
    """What h2load printed. It takes HTTP/1.1 where it is not offered HTTP/2: that is an error here."""
    found = re.search(r"finished in ([\d.]+)(us|ms|s),", text)
    succeeded = re.search(r"status codes: (\d+) 2xx", text)
    body = re.search(r"\((\d+)\) data", text)
    if not (found and succeeded and body):
        return Outcome(0, requests, "h2load said nothing", 1.0)
    seconds = float(found[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1.0}[found[2]]
    good = int(succeeded[1])
    if "Application protocol: h2" not in text:
        return Outcome(0, requests, "no HTTP/2", seconds)
    if int(body[1]) != good * answer_bytes:
        return Outcome(0, requests, "length of the bodies", seconds)
    return Outcome(good, requests - good, "" if good == requests else "not all are 2xx", seconds)
