"""Programs of LLVM, of which a machine may have several versions: the first that passes a trial, installed by name where
none does."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import builds
import tools

# The first with the form of counts that Rust 1.95 writes.
OLDEST = 19

TRIAL_TIME_MAX = 120


@dataclass(frozen=True)
class Program:
    """One of LLVM's programs, as Debian and its kin name it."""

    name: str
    # The environment variable that names another.
    variable: str
    # What brings it and what it needs, but for the version.
    packages: tuple[str, ...]


def find(program: Program, fits: Callable[[str], bool], may_install: bool) -> str:
    """One that fits, installed where there is none."""
    newest = int(builds.compiler("LLVM version").split(".")[0])
    versions = range(newest, OLDEST - 1, -1)
    named = os.environ.get(program.variable)
    for candidate in [named] if named else on_this_machine(program.name, versions):
        if fits(candidate):
            return candidate
    for version in () if named else versions:
        with contextlib.suppress(subprocess.CalledProcessError):
            tools.install([package.format(version) for package in program.packages], may_install)
        installed = shutil.which(f"{program.name}-{version}")
        if installed and fits(installed):
            return installed
    packages = " and ".join(package.format(newest) for package in program.packages)
    raise tools.Missing(
        f"{named or f'no {program.name} here'} does not fit this compiler (LLVM {newest}): "
        f"install {packages}, or name one by {program.variable}"
    )


def on_this_machine(name: str, versions: range) -> list[str]:
    """The toolchain's own and the distribution's."""
    command = ["rustc", "--print", "target-libdir"]
    libraries = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()
    own = Path(libraries).parent / "bin" / name
    names = [str(own), *(f"{name}-{version}" for version in versions), name]
    return [path for path in map(shutil.which, names) if path]


def compile_sample(source: Path, *flags: str) -> Path:
    """A small program to try things out on."""
    program = source.with_suffix("")
    command = ["rustc", "--edition=2024", "-O", *flags, "-o", str(program), str(source)]
    subprocess.run(command, capture_output=True, check=True, timeout=TRIAL_TIME_MAX)
    return program
