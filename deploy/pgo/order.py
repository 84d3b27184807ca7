"""The command line, and the order in which everything is done."""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import builds
import layout
import profdata
import stage as stages
import tools
import training

DESCRIPTION = """Builds Doorward twice: first so that it counts which parts of it run, then, after a training load on
loopback, as a release that these counts have optimised. BOLT lays that one out anew, by what it counts under the same
load. The path of the release is printed on standard output."""


def arguments(line: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="deploy/pgo/build", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument(
        "--train",
        metavar="PATH",
        type=tools.absolute,
        help="train this build, made by an earlier run, instead of making a new one",
    )
    parser.add_argument("--no-layout", action="store_true", help="leave the release as the compiler has laid it out")
    parser.add_argument("--no-install", action="store_true", help="say what is missing instead of installing it")
    parser.add_argument("--keep", action="store_true", help="keep the builds that count, and what they counted")
    return parser.parse_args(line)


def say(text: str) -> None:
    """Progress; standard output is for the result."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def make(chosen: argparse.Namespace) -> Path:
    """The optimised release."""
    begun = time.monotonic()
    training.install(not chosen.no_install)
    merger = profdata.find(not chosen.no_install)
    say(f"counts are merged by {merger}")
    optimiser = None if chosen.no_layout else layout.find(not chosen.no_install)
    say(f"laid out by {optimiser.optimiser}" if optimiser else "not laid out anew")
    counting = chosen.train or builds.counting(say)
    say("training, about a minute")
    raw = emptied(builds.FOLDER / "raw")
    training.train(counting, counting, raw, training.WHOLE, say)
    profile = builds.FOLDER / "doorward.profdata"
    profdata.merge(merger, raw, profile)
    say(f"{profile}: {profile.stat().st_size / 1e6:.1f} MB")
    built = builds.optimised(profile, layout.FLAGS if optimiser else (), say)
    profdata.check(merger, profile, built)
    branches = emptied(builds.FOLDER / "layout")
    if optimiser:
        layout.lay_out(optimiser, built, branches, say)
    if not chosen.keep:
        shutil.rmtree(branches)
    if not chosen.keep and not chosen.train:
        shutil.rmtree(raw)
        counting.unlink()
    say(f"done in {(time.monotonic() - begun) / 60:.0f} minutes")
    return built


def emptied(folder: Path) -> Path:
    """A folder without what an earlier run has left in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def terminated(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main(line: Sequence[str] | None = None) -> int:
    """The exit code: 0 built, 1 a failure, 130 interrupted."""
    signal.signal(signal.SIGTERM, terminated)
    try:
        print(make(arguments(line)))
        return 0
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    except subprocess.TimeoutExpired as expired:
        say(f"deploy/pgo/build: {os.path.basename(expired.cmd[0])} did not end within {expired.timeout:.0f} s")
    except subprocess.CalledProcessError as failed:
        say(f"deploy/pgo/build: {' '.join(map(str, failed.cmd))} failed with {failed.returncode}")
    except (stages.Failure, tools.Missing) as failure:
        say(f"deploy/pgo/build: {failure}")
    return 1
