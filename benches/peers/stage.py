"""The place of the comparison: a folder, ports, a certificate, cores, and processes that end with it."""

import contextlib
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tools

# Below the ports that the system gives to clients (ip_local_port_range), so that no client takes one meanwhile.
PORTS = range(20_000, 32_000)

START_TIME_MAX = 30.0
STOP_TRY_SECONDS = 10.0
STOP_TRIES = 3


class Failure(Exception):
    """The comparison cannot go on."""


@dataclass(eq=False)
class Process:
    """A process of ours, with what it printed."""

    name: str
    child: subprocess.Popen[bytes]
    log: Path

    def tail(self) -> str:
        """The end of what it printed."""
        return self.log.read_text(errors="replace")[-2000:].strip()

    def stop(self, how: int = signal.SIGTERM) -> None:
        """Ends it in its own way, or else by force."""
        # More than once: a signal between a server's look for signals and its wait for events is not seen until the
        # next event, and under callgrind that moment is long.
        for _ in range(STOP_TRIES):
            if self.child.poll() is None:
                self.child.send_signal(how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.child.wait(STOP_TRY_SECONDS)
                return
        self.child.kill()
        self.child.wait()


@dataclass
class Stage:
    """Where everything runs: proxies on one core, the upstream and its clients on another."""

    folder: Path
    proxy_core: int | None
    load_core: int | None
    # The header fields of the clients, the same for all proxies.
    fields: tuple[str, ...]
    # The port behind all proxies, once `start_upstream` has taken it.
    upstream: int = 0
    processes: list[Process] = field(default_factory=list)
    ports: set[int] = field(default_factory=set)

    @property
    def certificate(self) -> Path:
        return self.folder / "certificate.pem"

    @property
    def key(self) -> Path:
        return self.folder / "key.pem"

    @property
    def both(self) -> Path:
        """Certificate and key in one file, for HAProxy."""
        return self.folder / "both.pem"

    def port(self) -> int:
        """A free port of loopback."""
        for port in random.sample(PORTS, len(PORTS)):
            with contextlib.suppress(OSError), socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
                if port not in self.ports:
                    self.ports.add(port)
                    return port
        raise Failure("no free port")

    def start(
        self,
        name: str,
        command: Sequence[str],
        core: int | None,
        environment: Mapping[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
        stdout: int | None = None,
    ) -> Process:
        """Starts a process on a core. It ends with us, even if we are killed."""
        # A process group of its own: Ctrl-C is for us, and we end the others one by one.
        log = self.folder / f"{name}.{len(self.processes)}.log"
        whole = ["setpriv", "--pdeathsig", "TERM", *pinned(core), *command]
        with log.open("wb") as output:
            child = subprocess.Popen(
                whole,
                stdin=stdin,
                stdout=output if stdout is None else stdout,
                stderr=output,
                env={**os.environ, **(environment or {})},
                cwd=self.folder,
                start_new_session=True,
            )
        process = Process(name, child, log)
        self.processes.append(process)
        return process

    def end(self, process: Process, how: int = signal.SIGTERM) -> None:
        process.stop(how)
        self.processes.remove(process)

    def end_all_but(self, kept: Sequence[Process]) -> None:
        """Ends what was started since, the last first."""
        for process in reversed([process for process in self.processes if process not in kept]):
            self.end(process)

    def close(self) -> None:
        """Ends everything, the last first."""
        self.end_all_but(())
        shutil.rmtree(self.folder, ignore_errors=True)


def pinned(core: int | None) -> list[str]:
    return [] if core is None else ["taskset", "-c", str(core)]


def open_stage(fields: tuple[str, ...]) -> Stage:
    """A folder with a certificate, and the cores that we may use."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    cores = sorted(os.sched_getaffinity(0))
    proxy, load = (cores[0], cores[1]) if len(cores) > 1 else (None, None)
    stage = Stage(Path(tempfile.mkdtemp(prefix="doorward-peers-")), proxy, load, fields)
    # nginx's worker is another user when we are root.
    stage.folder.chmod(0o755)
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            str(stage.key),
            "-out",
            str(stage.certificate),
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    stage.both.write_text(stage.certificate.read_text() + stage.key.read_text())
    return stage


def descriptors_max() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def wait_until_open(port: int, process: Process) -> None:
    """Waits until somebody listens on a port."""
    end = time.monotonic() + START_TIME_MAX
    while time.monotonic() < end:
        if process.child.poll() is not None:
            raise Failure(f"{process.name} ended at its start:\n{process.tail()}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.001)
    raise Failure(f"{process.name} does not listen after {START_TIME_MAX:.0f} s:\n{process.tail()}")


def start_upstream(stage: Stage, token: str) -> None:
    """Starts the upstream, which wants `token` from everybody."""
    port = stage.port()
    process = stage.start("upstream", [tools.compiled("upstream"), str(port), token], stage.load_core)
    wait_until_open(port, process)
    stage.upstream = port
