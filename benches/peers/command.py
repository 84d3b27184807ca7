"""The command line, and the order in which everything runs."""

import argparse
import json
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from types import FrameType

import measures
import proxies
import report
import stage as stages
import tools
import workloads
from measures import Running, Sample
from report import DIRECT
from workloads import Workload

DESCRIPTION = """CPU time, instructions, system calls, latency and memory of Doorward and other proxies that do the same
work on loopback. benches/README.md says how to read it."""

# Workloads that are measured without a proxy, too.
DIRECT_WORKLOADS = ("get", "paced")

# Memory hardly varies, and its rounds are slow.
MEMORY_ROUNDS_MAX = 3


@dataclass
class Comparison:
    """One run of the command."""

    stage: stages.Stage
    peers: list[proxies.Peer]
    rounds: int
    seconds: float
    results: dict[str, dict[str, list[Sample]]] = field(default_factory=dict)
    running: dict[str, Running] = field(default_factory=dict)

    def start_all(self) -> None:
        for peer in self.peers:
            running = measures.start_and_wait(self.stage, peer)
            measures.verify(self.stage, running)
            self.running[peer.name] = running
            say(f"{peer.name}: does the work")

    def for_workload(self, workload: Workload) -> list[proxies.Peer]:
        """The rows that it has."""
        chosen = [peer for peer in self.peers if workload.load.mib or not peer.bodies_only]
        return [peer for peer in chosen if peer.countable or workload.kind != "instructions"]

    def rounds_of(self, workload: Workload) -> int:
        if workload.kind in ("instructions", "syscalls"):
            return 1
        return min(self.rounds, MEMORY_ROUNDS_MAX) if workload.kind == "memory" else self.rounds

    def minutes(self, names: Sequence[str]) -> float:
        """How long it will take, roughly."""
        seconds = {"cpu": self.seconds + 1, "instructions": 15, "syscalls": 4, "memory": 6, "start": 0.5}
        chosen = [workload for workload in workloads.WORKLOADS if workload.name in names]
        return sum(seconds[w.kind] * self.rounds_of(w) * len(self.for_workload(w)) for w in chosen) / 60

    def measure(self, workload: Workload) -> None:
        """All rounds; each begins with another proxy, so that none always has the same neighbour."""
        peers = self.for_workload(workload)
        by_peer = self.results.setdefault(workload.name, {peer.name: [] for peer in peers})
        for number in range(self.rounds_of(workload)):
            first = number % max(1, len(peers))
            for peer in [*peers[first:], *peers[:first]]:
                sample = self.sample(workload, peer)
                by_peer[peer.name].append(sample)
                say(f"{workload.name} {number + 1}/{self.rounds_of(workload)} {peer.name}: {shown(sample)}")
            if workload.name in DIRECT_WORKLOADS:
                sample = measures.direct(self.stage, self.direct_target(), workload.load, self.seconds)
                by_peer.setdefault(DIRECT, []).append(sample)
                say(f"{workload.name} {number + 1}/{self.rounds_of(workload)} {DIRECT}: {shown(sample)}")

    def direct_target(self) -> workloads.Target:
        return workloads.Target(
            self.stage.upstream, self.stage.upstream, (*self.stage.fields, f"authtoken: {proxies.TOKEN}")
        )

    def sample(self, workload: Workload, peer: proxies.Peer) -> Sample:
        """One measurement. One that fails makes its cell invalid, and no other."""
        load, running = workload.load, self.running[peer.name]
        kept = list(self.stage.processes)
        try:
            match workload.kind:
                case "cpu":
                    return measures.cpu(self.stage, running, load, self.seconds)
                case "instructions":
                    return measures.instructions(self.stage, peer, load)
                case "syscalls":
                    return measures.system_calls(self.stage, running, load)
                case "memory":
                    return measures.memory(self.stage, peer, load)
                case _:
                    return measures.time_to_start(self.stage, peer)
        except (stages.Failure, OSError, ValueError, subprocess.SubprocessError) as failure:
            return Sample({}, 1, str(failure))
        finally:
            self.stage.end_all_but(kept)


def say(text: str) -> None:
    """Progress; standard output is for the result."""
    print(text, file=sys.stderr, flush=True)


def shown(sample: Sample) -> str:
    if sample.errors or not sample.values:
        return f"INVALID: {sample.errors} errors, first: {sample.first_error}"
    return ", ".join(f"{name} {value:.4g}" for name, value in sample.values.items())


# --- The command line -----------------------------------------------------------------------------


def arguments(line: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benches/peers/run", description=DESCRIPTION, allow_abbrev=False)
    names = [peer.name for peer in proxies.OTHERS]
    parser.add_argument("--peers", metavar="NAME,...", type=comma, default=names, help=f"of {','.join(names)}")
    parser.add_argument(
        "--doorward",
        metavar="NAME=PATH",
        action="append",
        default=[],
        help="a Doorward to compare, more than once for more; default: this repository's release build",
    )
    parser.add_argument(
        "--only",
        metavar="WORKLOAD,...",
        type=comma,
        default=[w.name for w in workloads.WORKLOADS],
        help=f"of {','.join(w.name for w in workloads.WORKLOADS)}",
    )
    parser.add_argument("--rounds", type=positive, default=5, help="of which the median is told (5)")
    parser.add_argument("--seconds", type=seconds, default=2.0, help="of each round of CPU time (2)")
    parser.add_argument(
        "--json", action="store_true", help="every sample on standard output; the table goes to standard error"
    )
    parser.add_argument("--no-install", action="store_true", help="say what is missing instead of installing it")
    parser.add_argument(
        "--check",
        action="store_true",
        help="start each proxy that is there, send it one request of each kind, and measure nothing",
    )
    chosen = parser.parse_args(line)
    known(parser, "proxy", chosen.peers, names)
    known(parser, "workload", chosen.only, [workload.name for workload in workloads.WORKLOADS])
    binaries = [text.partition("=") for text in chosen.doorward]
    if not all(name and path for name, _, path in binaries):
        parser.error("--doorward: NAME=PATH is wanted")
    taken = [name for name, _, _ in binaries]
    if len({*taken, *names}) < len(taken) + len(names):
        parser.error("--doorward: every name must be another")
    return chosen


def comma(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return int(text)


def seconds(text: str) -> float:
    if not 0.1 <= float(text) <= 60:
        raise argparse.ArgumentTypeError("0.1 to 60")
    return float(text)


def known(parser: argparse.ArgumentParser, what: str, given: Iterable[str], names: Sequence[str]) -> None:
    for name in given:
        if name not in names:
            parser.error(f"no {what} `{name}`; there are {', '.join(names)}")


def is_installed(peer: proxies.Peer) -> bool:
    if peer.package:
        return tools.is_there(peer.package)
    return not peer.wheel or (tools.VENV / "requirements.txt").exists()


def prepare(chosen: argparse.Namespace) -> list[proxies.Peer]:
    """The other proxies, installed; of a check those that are there."""
    others = [peer for peer in proxies.OTHERS if peer.name in chosen.peers]
    if chosen.check:
        tools.install_packages([], may_install=False)
        for peer in others:
            if not is_installed(peer):
                say(f"{peer.name}: not installed, left out")
        if not tools.is_there("h2load"):
            say("h2load: not installed, no HTTP/2")
        return [peer for peer in others if is_installed(peer)]
    kinds = {workload.kind for workload in workloads.WORKLOADS if workload.name in chosen.only}
    wanted = [peer.package for peer in others if peer.package] + ["h2load"]
    wanted += [tool for tool, kind in (("valgrind", "instructions"), ("strace", "syscalls")) if kind in kinds]
    tools.install_packages(wanted, not chosen.no_install)
    if any(peer.wheel for peer in others):
        tools.install_wheels(not chosen.no_install)
    return others


def binaries(chosen: argparse.Namespace) -> list[tuple[str, str]]:
    """Names and paths of the Doorwards."""
    if chosen.doorward:
        pairs = [text.partition("=") for text in chosen.doorward]
        return [(name, str(tools.absolute(path))) for name, _, path in pairs]
    if chosen.check and not tools.DOORWARD.exists():
        say("doorward: no release build, left out")
        return []
    return [("doorward", str(tools.DOORWARD) if chosen.check else tools.built_doorward())]


def compare(chosen: argparse.Namespace) -> int:
    others, doorwards = prepare(chosen), binaries(chosen)
    key = proxies.new_key(doorwards[0][1]) if doorwards else proxies.ClientKey("none", "none")
    peers = [*others, *(row for name, path in doorwards for row in proxies.doorward_peers(name, path, key.digest))]
    busy = [report.busy_share()]
    stage = stages.open_stage(workloads.client_fields(key))
    try:
        stages.start_upstream(stage, proxies.TOKEN)
        measures.verify_upstream(stage)
        comparison = Comparison(stage, peers, chosen.rounds, chosen.seconds)
        comparison.start_all()
        if chosen.check:
            return 0
        versions = {peer.name: peer.version() for peer in peers if not peer.bodies_only and "+" not in peer.name}
        say(f"about {comparison.minutes(chosen.only):.0f} minutes")
        for workload in workloads.WORKLOADS:
            if workload.name in chosen.only:
                comparison.measure(workload)
    finally:
        # A second Ctrl-C must not leave anything running.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        stage.close()
    busy.append(report.busy_share())
    return tell(chosen, comparison, versions, busy)


def tell(chosen: argparse.Namespace, comparison: Comparison, versions: dict[str, str], busy: list[float]) -> int:
    results, where = comparison.results, report.machine()
    text = "\n\n".join(
        [
            report.heading(where, versions, busy, chosen.rounds, chosen.seconds),
            report.table(results, [peer.name for peer in comparison.peers]),
            report.direct_line(results),
        ]
    )
    # A long run gives both: the document for scripts, and the table for whoever waits.
    print(text.strip(), file=sys.stderr if chosen.json else sys.stdout)
    if chosen.json:
        print(json.dumps(report.document(where, versions, busy, results), indent=1))
    found = report.faults(results)
    for fault in found:
        say(f"INVALID: {fault}")
    return 1 if found else 0


def terminated(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main(line: Sequence[str] | None = None) -> int:
    """The exit code: 0 all good, 1 errors or a failure, 130 interrupted."""
    signal.signal(signal.SIGTERM, terminated)
    try:
        return compare(arguments(line))
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    except (stages.Failure, tools.Missing, subprocess.CalledProcessError) as failure:
        say(f"benches/peers/run: {failure}")
        return 1
