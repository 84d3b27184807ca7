"""llvm-profdata, which makes one profile of all counts. It must understand what this compiler writes, and write what it
understands: that is tried out."""

import os
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

import llvm
import tools

PROGRAM = llvm.Program("llvm-profdata", "LLVM_PROFDATA", ("llvm-{}",))

MERGE_TIME_MAX = 600

# Names of functions in Rust begin so; those of the standard library, which is not counted, too.
RUST_NAME = "_R"
KNOWN_SHARE_MIN = 0.5


def find(may_install: bool) -> str:
    """One that fits, installed where there is none."""
    with tempfile.TemporaryDirectory(prefix="doorward-profdata-") as folder:
        counts = sample(Path(folder))
        try:
            return llvm.find(PROGRAM, lambda candidate: fits(candidate, counts), may_install)
        except tools.Missing as missing:
            raise tools.Missing(f"{missing}; or run `rustup component add llvm-tools`") from missing


def sample(folder: Path) -> Path:
    """The counts of a small program."""
    source = folder / "sample.rs"
    source.write_text("fn main() {}\n")
    program = llvm.compile_sample(source, "-Cprofile-generate")
    counts = folder / "sample.profraw"
    environment = {**os.environ, "LLVM_PROFILE_FILE": str(counts)}
    subprocess.run([str(program)], env=environment, check=True, timeout=llvm.TRIAL_TIME_MAX)
    return counts


def fits(candidate: str, counts: Path) -> bool:
    """Whether it reads the counts, and the compiler reads its profile."""
    profile = counts.with_suffix(".profdata")
    try:
        command = [candidate, "merge", "-o", str(profile), str(counts)]
        subprocess.run(command, capture_output=True, check=True, timeout=llvm.TRIAL_TIME_MAX)
        llvm.compile_sample(counts.with_suffix(".rs"), f"-Cprofile-use={profile}")
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def merge(merger: str, raw: Path, profile: Path) -> None:
    """All counts below a folder."""
    counts = sorted(raw.glob("*.profraw"))
    if not counts:
        raise tools.Missing(f"the training left no counts in {raw}")
    subprocess.run([merger, "merge", "-o", str(profile), *map(str, counts)], check=True, timeout=MERGE_TIME_MAX)


def check(merger: str, profile: Path, binary: Path) -> None:
    """Fails when the profile is another build's: the compiler would have taken it for one that says nothing."""
    shown = output([merger, "show", "--all-functions", str(profile)])
    # What is private to a crate has its name before it.
    counted = rust_names(line.strip().rpartition(";")[2].removesuffix(":") for line in shown.splitlines())
    names = rust_names(line.split()[-1] for line in output(["nm", str(binary)]).splitlines())
    known = len(names & counted)
    if known < KNOWN_SHARE_MIN * len(names):
        raise tools.Missing(f"the profile is not this build's: it knows {known} of {len(names)} functions of {binary}")


def rust_names(names: Iterable[str]) -> set[str]:
    return {name for name in names if name.startswith(RUST_NAME)}


def output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=MERGE_TIME_MAX).stdout
