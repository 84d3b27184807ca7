"""llvm-profdata, which makes one profile of all counts. It must understand what this compiler writes, and write what it
understands: that is tried out."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import builds
import tools

# The first LLVM with the form of counts that Rust 1.95 writes.
OLDEST_LLVM = 19

MERGE_TIME_MAX = 600

# Names of functions in Rust begin so; those of the standard library, which is not counted, too.
RUST_NAME = "_ZN"
KNOWN_SHARE_MIN = 0.5


def find(may_install: bool) -> str:
    """One that fits, installed where there is none."""
    newest = int(builds.compiler("LLVM version").split(".")[0])
    versions = range(newest, OLDEST_LLVM - 1, -1)
    named = os.environ.get("LLVM_PROFDATA")
    with tempfile.TemporaryDirectory(prefix="doorward-profdata-") as folder:
        counts = sample(Path(folder))
        for candidate in [named] if named else on_this_machine(versions):
            if fits(candidate, counts):
                return candidate
        for version in () if named else versions:
            with contextlib.suppress(subprocess.CalledProcessError):
                tools.install([f"llvm-{version}"], may_install)
            installed = shutil.which(f"llvm-profdata-{version}")
            if installed and fits(installed, counts):
                return installed
    raise tools.Missing(
        f"{named or 'no llvm-profdata here'} does not fit this compiler (LLVM {newest}): "
        f"`rustup component add llvm-tools`, or install the package llvm-{newest}, or name one by LLVM_PROFDATA"
    )


def on_this_machine(versions: range) -> list[str]:
    """The toolchain's own and the distribution's."""
    command = ["rustc", "--print", "target-libdir"]
    libraries = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()
    own = Path(libraries).parent / "bin" / "llvm-profdata"
    names = [str(own), *(f"llvm-profdata-{version}" for version in versions), "llvm-profdata"]
    return [path for path in map(shutil.which, names) if path]


def sample(folder: Path) -> Path:
    """The counts of a small program."""
    (folder / "sample.rs").write_text("fn main() {}\n")
    compile_sample(folder, "-Cprofile-generate")
    counts = folder / "sample.profraw"
    environment = {**os.environ, "LLVM_PROFILE_FILE": str(counts)}
    subprocess.run([str(folder / "sample")], env=environment, check=True, timeout=60)
    return counts


def fits(candidate: str, counts: Path) -> bool:
    """Whether it reads the counts, and the compiler reads its profile."""
    profile = counts.with_suffix(".profdata")
    try:
        command = [candidate, "merge", "-o", str(profile), str(counts)]
        if subprocess.run(command, capture_output=True, timeout=60).returncode != 0:
            return False
        compile_sample(counts.parent, f"-Cprofile-use={profile}")
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def compile_sample(folder: Path, flag: str) -> None:
    command = ["rustc", "-O", flag, "-o", str(folder / "sample"), str(folder / "sample.rs")]
    subprocess.run(command, capture_output=True, check=True, timeout=120)


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
    counted = {line.strip().rpartition(";")[2].removesuffix(":") for line in shown.splitlines() if RUST_NAME in line}
    names = {line.split()[-1] for line in output(["nm", str(binary)]).splitlines() if RUST_NAME in line}
    known = len(names & counted)
    if known < KNOWN_SHARE_MIN * len(names):
        raise tools.Missing(f"the profile is not this build's: it knows {known} of {len(names)} functions of {binary}")


def output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=MERGE_TIME_MAX).stdout
