"""What a proxy costs: CPU time, instructions, system calls, memory, time to start."""

import http.client
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import proxies
import tools
import workloads
from stage import START_TIME_MAX, Failure, Process, Stage, descriptors_max, wait_until_open
from workloads import Load, Outcome, Target

# Before each measured run, so that connections to the upstream are there and caches are warm.
WARM_UP_SECONDS = 0.3

# Requests that callgrind counts beyond those of a run of its own that is taken off, so that starting, connecting and
# shaking hands do not count.
COUNTED_REQUESTS = 3_200
UNCOUNTED_REQUESTS = 320
# callgrind makes everything 50 times slower.
COUNTED_TIME_MAX = 120.0

TRACED_REQUESTS = 20_000
TRACE_START_TIME_MAX = 10.0

# After the last request, until memory is looked at.
SETTLE_SECONDS = 1.0


@dataclass(frozen=True)
class Running:
    """A proxy that runs."""

    peer: proxies.Peer
    process: Process
    target: Target


@dataclass(frozen=True)
class Sample:
    """One measurement: numbers by name, and the errors that make it worth nothing."""

    values: dict[str, float]
    errors: int = 0
    first_error: str = ""


def failure(outcome: Outcome) -> Sample:
    return Sample({}, outcome.errors, outcome.first_error)


def start(stage: Stage, peer: proxies.Peer, under: list[str] | None = None) -> Running:
    """Starts a proxy, under another program where one is given; it need not listen yet."""
    folder = stage.folder / f"{peer.name}.{stage.port()}"
    folder.mkdir()
    # nginx's worker is another user when we are root.
    folder.chmod(0o777)
    place = proxies.Place(folder, stage.port(), stage.port(), stage.upstream, stage.certificate, stage.key, stage.both)
    launch = peer.prepare(place)
    process = stage.start(peer.name, [*(under or []), *launch.command], stage.proxy_core, launch.environment)
    return Running(peer, process, Target(place.plain, place.tls, stage.fields))


def start_and_wait(stage: Stage, peer: proxies.Peer, under: list[str] | None = None) -> Running:
    """Starts a proxy and waits until it has passed a request on: some listen before they know their routes."""
    running = start(stage, peer, under)
    wait_until_open(running.target.tls, running.process)
    wait_until_it_answers(running)
    return running


def wait_until_it_answers(running: Running) -> None:
    end, seen = time.monotonic() + START_TIME_MAX, None
    while time.monotonic() < end and running.process.child.poll() is None:
        seen = status(running.target.plain, running.target.fields)
        if seen == 200:
            return
        time.sleep(0.001)
    raise Failure(f"{running.peer.name} does not pass a request on (last status {seen}):\n{running.process.tail()}")


# --- Processes ------------------------------------------------------------------------------------


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = entry.read_text()
        except OSError:
            continue
        # The second field is a name in parentheses, which may hold blanks.
        parent = int(text.rpartition(") ")[2].split()[1])
        parents.setdefault(parent, []).append(int(entry.parent.name))
    whole = [pid]
    for member in whole:
        whole += parents.get(member, [])
    return whole


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and its children so far: that of /proc/PID/stat, in nanoseconds instead of ticks."""
    # The clock of another process, threads that have ended included (clock_getcpuclockid(3); CPUCLOCK_SCHED is 2).
    return sum(time.clock_gettime(~member << 3 | 2) for member in family(pid))


def pss_kib(pid: int) -> int:
    """Memory of a process and its children, what they share divided by who shares it."""
    rollups = (Path(f"/proc/{member}/smaps_rollup").read_text() for member in family(pid))
    return sum(int(re.findall(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)[0]) for text in rollups)


# --- CPU time and latency -------------------------------------------------------------------------


def cpu(stage: Stage, running: Running, load: Load, seconds: float) -> Sample:
    """CPU time for each good answer, over a whole run with its connections."""
    pid = running.process.child.pid
    if load.http2:
        warm_up = workloads.run_times(stage, load, running.target, workloads.H2_WARM_UP_REQUESTS)
    else:
        warm_up = workloads.run_for(stage, load, running.target, WARM_UP_SECONDS)
    if warm_up.errors:
        return failure(warm_up)
    before = cpu_seconds(pid)
    if load.http2:
        outcome = workloads.run_times(stage, load, running.target, workloads.h2_requests(warm_up, seconds))
    else:
        outcome = workloads.run_for(stage, load, running.target, seconds)
    spent = cpu_seconds(pid) - before
    if outcome.errors or not outcome.good:
        return failure(outcome)
    return Sample(
        {
            "cpu_us": spent * 1e6 / (outcome.good * load.units_per_answer),
            **latencies(outcome),
            "cores": spent / outcome.seconds,
        }
    )


def latencies(outcome: Outcome) -> dict[str, float]:
    values = {"answers_per_second": outcome.good / outcome.seconds}
    if outcome.p50_us is not None and outcome.p99_us is not None:
        values |= {"p50_us": outcome.p50_us, "p99_us": outcome.p99_us}
    return values


def direct(stage: Stage, target: Target, load: Load, seconds: float) -> Sample:
    """The clients and the upstream without a proxy between them: what the others cannot exceed."""
    outcome = workloads.run_for(stage, load, target, seconds)
    return failure(outcome) if outcome.errors else Sample(latencies(outcome))


# --- Instructions and system calls ----------------------------------------------------------------


def instructions(stage: Stage, peer: proxies.Peer, load: Load) -> Sample:
    """Instructions of user space for each request: the difference of two whole processes."""
    counts: list[int] = []
    for requests in (UNCOUNTED_REQUESTS, UNCOUNTED_REQUESTS + COUNTED_REQUESTS):
        file = stage.folder / f"{peer.name}.callgrind"
        valgrind = [
            tools.found("valgrind") or "valgrind",
            "--quiet",
            "--tool=callgrind",
            f"--callgrind-out-file={file}",
        ]
        running = start_and_wait(stage, peer, valgrind)
        for count in (UNCOUNTED_REQUESTS, requests):
            outcome = workloads.run_times(stage, load, running.target, count, COUNTED_TIME_MAX)
            if outcome.errors:
                return failure(outcome)
        stage.end(running.process)
        totals = re.findall(r"^totals: (\d+)", file.read_text(), re.MULTILINE) if file.exists() else []
        if not totals:
            raise Failure(f"{peer.name}: callgrind has counted nothing:\n{running.process.tail()}")
        counts.append(int(totals[-1]))
        file.unlink()
    return Sample({"instructions": (counts[1] - counts[0]) / COUNTED_REQUESTS})


def system_calls(stage: Stage, running: Running, load: Load) -> Sample:
    """System calls for each request, those for the connections spread over all requests."""
    warm_up = workloads.run_for(stage, load, running.target, WARM_UP_SECONDS)
    if warm_up.errors:
        return failure(warm_up)
    pids = family(running.process.child.pid)
    table = stage.folder / f"{running.peer.name}.strace"
    attached = [option for pid in pids for option in ("-p", str(pid))]
    strace = stage.start("strace", ["strace", "-f", "-c", "-o", str(table), *attached], stage.proxy_core)
    wait_until_traced(pids, strace)
    outcome = workloads.run_times(stage, load, running.target, TRACED_REQUESTS, COUNTED_TIME_MAX)
    stage.end(strace, signal.SIGINT)
    if outcome.errors:
        return failure(outcome)
    calls: dict[str, int] = {}
    for line in table.read_text().splitlines():
        # % time, seconds, microseconds a call, calls, perhaps errors, name.
        words = line.split()
        if len(words) >= 5 and words[3].isdigit() and words[-1] != "total":
            calls[words[-1]] = int(words[3])
    if not calls:
        raise Failure(f"strace has counted nothing:\n{strace.tail()}")
    often = {f"calls.{name}": count / outcome.good for name, count in calls.items() if count * 100 > outcome.good}
    return Sample({"syscalls": sum(calls.values()) / outcome.good, **often})


def wait_until_traced(pids: list[int], strace: Process) -> None:
    """Until strace has all threads."""
    end = time.monotonic() + TRACE_START_TIME_MAX
    while time.monotonic() < end and strace.child.poll() is None:
        texts = [task.read_text() for pid in pids for task in Path(f"/proc/{pid}/task").glob("*/status")]
        if all("TracerPid:\t0\n" not in text for text in texts):
            return
        time.sleep(0.01)
    raise Failure(f"strace cannot trace:\n{strace.tail()}")


# --- Memory and start -----------------------------------------------------------------------------


def idle_connections(load: Load) -> int:
    """As many as both ends may have."""
    return min(load.connections, descriptors_max() // 2 - 500)


def memory(stage: Stage, peer: proxies.Peer, load: Load) -> Sample:
    """PSS after one request, and what each connection adds that has made one."""
    running = start_and_wait(stage, peer)
    pid = running.process.child.pid
    outcome = workloads.run_times(stage, Load(connections=1), running.target, 1)
    if outcome.errors:
        return failure(outcome)
    time.sleep(SETTLE_SECONDS)
    rest = pss_kib(pid)
    count = idle_connections(load)
    line = workloads.command(Load(connections=count), running.target, ["--hold"])
    holder = stage.start("load", line, stage.load_core, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.child.stdout and holder.child.stdin
    held = workloads.outcome(holder.child.stdout.readline().decode())
    time.sleep(SETTLE_SECONDS)
    full = pss_kib(pid)
    holder.child.stdin.close()
    if held.errors or held.good != count:
        return failure(held)
    return Sample({"rest_mib": rest / 1024, "idle_kib": (full - rest) / count, "connections": count})


def time_to_start(stage: Stage, peer: proxies.Peer) -> Sample:
    """From the start of the process to the first answer that came from the upstream."""
    begun = time.monotonic()
    wait_until_it_answers(start(stage, peer))
    return Sample({"start_ms": (time.monotonic() - begun) * 1e3})


def status(port: int, fields: tuple[str, ...]) -> int | None:
    """The status of one request; nothing when nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/", headers=dict(text.split(": ", 1) for text in fields))
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


# --- Whether they do the work ---------------------------------------------------------------------


def verify(stage: Stage, running: Running) -> None:
    """One request of each kind: status, length and protocol must be as expected."""
    loads = {(w.load.tls, w.load.http2, w.load.path, w.load.post_bytes): w.load for w in workloads.WORKLOADS}
    for load in loads.values():
        if (running.peer.bodies_only and not load.mib) or (load.http2 and not tools.is_there("h2load")):
            continue
        single = Load(1, load.path, load.answer_bytes, load.post_bytes, 0, load.tls, False, load.http2)
        outcome = workloads.run_times(stage, single, running.target, 1)
        if outcome.errors:
            raise Failure(f"{running.peer.name}: {outcome.first_error} for {load}\n{running.process.tail()}")
    if running.peer.asks_for_key and status(running.target.plain, ()) != 401:
        raise Failure(f"{running.peer.name} lets clients in without a key")


def verify_upstream(stage: Stage) -> None:
    """It must refuse whoever brings no session, or nothing would be shown by a 200."""
    port = stage.upstream
    if status(port, ()) != 401 or status(port, (f"authtoken: {proxies.TOKEN}",)) != 200:
        raise Failure("the upstream does not tell who carries the session")
