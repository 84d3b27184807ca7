"""What was measured, as a table for people and documents, and as JSON for scripts."""

import datetime
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measures import Sample
from workloads import WORKLOADS, Workload

# What everything is compared with.
BASELINE = "nginx"
# With the buffers that long bodies want.
TUNED = "nginx-tuned"

DIRECT = "direct"

# Samples by workload, then by peer, then by round.
Results = Mapping[str, Mapping[str, Sequence[Sample]]]

CALM_SECONDS = 1.0


@dataclass(frozen=True)
class Line:
    """One line of the table: a value of a workload."""

    workload: Workload
    label: str
    value: str
    show: Callable[[float], str]
    # Some values say nothing as a ratio.
    is_ratio: bool = True


def lines() -> list[Line]:
    """All lines, in the order of the workloads."""
    found: list[Line] = []
    for workload in WORKLOADS:
        title = workload.title
        if workload.kind == "cpu":
            label = f"CPU us/{workload.load.unit}: {title}"
            found.append(Line(workload, label, "cpu_us", lambda value: f"{value:.{1 if value < 100 else 0}f}"))
            if workload.load.rate:
                found.append(Line(workload, f"latency p50 us: {title}", "p50_us", whole))
                found.append(Line(workload, f"latency p99 us: {title}", "p99_us", whole))
        elif workload.kind == "instructions":
            found.append(Line(workload, f"user instructions/request: {title}", "instructions", whole))
        elif workload.kind == "syscalls":
            found.append(Line(workload, f"system calls/request: {title}", "syscalls", lambda value: f"{value:.2f}"))
        elif workload.kind == "memory":
            found.append(Line(workload, f"KiB: {title}", "idle_kib", tenths))
            found.append(Line(workload, "MiB: at rest, after one request", "rest_mib", tenths))
        else:
            found.append(Line(workload, f"ms: {title}", "start_ms", whole))
    return found


def whole(value: float) -> str:
    """With thin groups of thousands, as the other documents have them."""
    return f"{value:,.0f}".replace(",", " ")


def tenths(value: float) -> str:
    return f"{value:.1f}"


def is_valid(samples: Sequence[Sample]) -> bool:
    """An error anywhere makes all rounds worth nothing."""
    return bool(samples) and all(sample.values and not sample.errors for sample in samples)


def median(samples: Sequence[Sample], value: str) -> float:
    return statistics.median(sample.values[value] for sample in samples)


def ratio(samples: Sequence[Sample], baseline: Sequence[Sample], value: str) -> float | None:
    """The median of the rounds' own ratios: what else runs disturbs neighbours in time alike."""
    if not is_valid(samples) or not is_valid(baseline):
        return None
    pairs = zip(samples, baseline, strict=False)
    ratios = [one.values[value] / other.values[value] for one, other in pairs if other.values[value] > 0]
    return statistics.median(ratios) if ratios else None


def cell(line: Line, peer: str, by_peer: Mapping[str, Sequence[Sample]]) -> str:
    """The median, and in parentheses the ratio to nginx, after a stroke that to the tuned one."""
    samples = by_peer.get(peer)
    if samples is None:
        return "-"
    if not is_valid(samples):
        return "invalid"
    text = line.show(median(samples, line.value))
    ratios = [ratio(samples, by_peer.get(other, ()), line.value) for other in (BASELINE, TUNED)]
    shown = " / ".join(f"{one:.2f}" for one in ratios if one is not None)
    return f"{text} ({shown})" if shown else text


def table(results: Results, peers: Sequence[str]) -> str:
    """In Markdown."""
    rows = [["per", *peers], ["---", *("---:" for _ in peers)]]
    for line in lines():
        by_peer = results.get(line.workload.name)
        if by_peer:
            rows.append([line.label, *(cell(line, peer, by_peer) for peer in peers)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def direct_line(results: Results) -> str:
    """What clients and upstream do without a proxy: near it, the proxy is not what limits."""
    parts = []
    for name, value, text in (
        ("get", "answers_per_second", "{} requests/s"),
        ("paced", "p50_us", "paced p50 {} us"),
        ("paced", "p99_us", "p99 {} us"),
    ):
        samples = results.get(name, {}).get(DIRECT, ())
        if is_valid(samples):
            parts.append(text.format(whole(median(samples, value))))
    return f"Without a proxy: {', '.join(parts)}." if parts else ""


def faults(results: Results) -> list[str]:
    """Everything that makes a cell invalid."""
    return [
        f"{workload}: {peer}: {sample.errors} errors, first: {sample.first_error}"
        for workload, by_peer in results.items()
        for peer, samples in by_peer.items()
        for sample in samples
        if sample.errors or not sample.values
    ]


def busy_share() -> float:
    """The share of all cores' time that somebody uses now, while we do nothing."""

    def times() -> tuple[int, int]:
        fields = [int(text) for text in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        # The fourth is idle, the fifth waits for a disk.
        return sum(fields), fields[3] + fields[4]

    before = times()
    time.sleep(CALM_SECONDS)
    after = times()
    return 1 - (after[1] - before[1]) / max(1, after[0] - before[0])


def machine() -> dict[str, str]:
    """Where it ran."""
    processors = [
        text.partition(": ")[2]
        for text in Path("/proc/cpuinfo").read_text().splitlines()
        if text.startswith("model name")
    ]
    system = [
        text.partition("=")[2].strip('"')
        for text in Path("/etc/os-release").read_text().splitlines()
        if text.startswith("PRETTY_NAME=")
    ]
    return {
        "date": datetime.date.today().isoformat(),
        "processor": f"{len(os.sched_getaffinity(0))} x {processors[0] if processors else platform.machine()}",
        "system": f"{system[0] if system else platform.system()}, Linux {platform.release()}",
    }


def heading(
    where: Mapping[str, str], versions: Mapping[str, str], busy: Sequence[float], rounds: int, seconds: float
) -> str:
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    load = " and ".join(f"{share:.0%}" for share in busy)
    return (
        f"{where['date']}, {where['processor']}, {where['system']}. {named}.\n"
        f"Medians of {rounds} interleaved rounds of {seconds:g} s; in parentheses the ratio to {BASELINE}"
        f", after a stroke to {TUNED}. Used by others before and after: {load} of the machine."
    )


def document(
    where: Mapping[str, str], versions: Mapping[str, str], busy: Sequence[float], results: Results
) -> dict[str, Any]:
    """For scripts: every sample, and what the table makes of them."""
    summary: dict[str, dict[str, Any]] = {}
    for line in lines():
        by_peer = results.get(line.workload.name, {})
        for peer, samples in by_peer.items():
            if not is_valid(samples) or line.value not in samples[0].values:
                continue
            entry: dict[str, Any] = {"median": median(samples, line.value)}
            for other in (BASELINE, TUNED):
                found = ratio(samples, by_peer.get(other, ()), line.value)
                if found is not None:
                    entry[f"ratio_to_{other}"] = found
            summary.setdefault(f"{line.workload.name}.{line.value}", {})[peer] = entry
    samples_by_name = {
        workload: {peer: [vars(sample) for sample in samples] for peer, samples in by_peer.items()}
        for workload, by_peer in results.items()
    }
    return {
        "version": 1,
        **where,
        "versions": dict(versions),
        "busy": list(busy),
        "summary": summary,
        "samples": samples_by_name,
        "faults": faults(results),
    }
