"""The two builds: one that counts, one that the counts have optimised."""

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import tools

# Apart from other builds, so that neither makes the other anew.
FOLDER = tools.REPOSITORY / "target" / "pgo"

# On two busy cores; about a quarter of it when they are idle.
BUILD_TIME_MAX = 60 * 60

# Of both, as the names of functions must be the same. Names of this form have no dots: what looks like `f.cold` is a part
# of `f` for BOLT, and the other form has that for a function `cold` in an implementation for a type.
FLAGS = ("-Csymbol-mangling-version=v0",)

Say = Callable[[str], None]


def counting(say: Say) -> Path:
    """Doorward that writes what it counted into the file of `LLVM_PROFILE_FILE` when it ends."""
    built = build("counting", [f"-Cprofile-generate={FOLDER / 'raw'}"], say)
    # The next build takes its place.
    return Path(shutil.copy(built, FOLDER / "doorward.counting"))


def optimised(profile: Path, more: Sequence[str], say: Say) -> Path:
    """The release, with what else the compiler is told."""
    return build("optimised", [f"-Cprofile-use={profile}", *more], say)


def build(what: str, more: Sequence[str], say: Say) -> Path:
    """A release build with more flags of the compiler. Its settings are those of any other: cargo makes them a part
    of the names of functions, by which the compiler finds the counts of each."""
    say(f"the {what} build, several minutes")
    flags = " ".join(filter(None, [os.environ.get("RUSTFLAGS", ""), *FLAGS, *more]))
    environment = {**os.environ, "RUSTFLAGS": flags}
    # `CARGO_ENCODED_RUSTFLAGS` would go before.
    environment.pop("CARGO_ENCODED_RUSTFLAGS", None)
    host = compiler("host")
    # All anew: cargo does not see that a profile has changed. What runs during the build stays.
    shutil.rmtree(FOLDER / host, ignore_errors=True)
    # With a target named, the flags are not those of build scripts and macros, which run during the build.
    command = ["build", "--release", "--locked", "--bin", "doorward", "--target", host, "--target-dir", str(FOLDER)]
    cargo = os.environ.get("CARGO", "cargo")
    subprocess.run([cargo, *command], cwd=tools.REPOSITORY, env=environment, check=True, timeout=BUILD_TIME_MAX)
    return FOLDER / host / "release" / "doorward"


def compiler(what: str) -> str:
    """A line of `rustc -vV`."""
    command = ["rustc", "-vV"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tools.REPOSITORY, timeout=60)
    for line in told.stdout.splitlines():
        name, _, value = line.partition(": ")
        if name == what:
            return value
    raise tools.Missing(f"`rustc -vV` does not tell its {what}")
