"""BOLT, which lays a finished program out anew: what runs is put together in the order in which it runs, what does not is
put apart. It counts by itself, in a copy of the release, under the same training."""

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import builds
import llvm
import stage as stages
import tools
import training

PROGRAM = llvm.Program("llvm-bolt", "LLVM_BOLT", ("bolt-{}", "libbolt-{}-dev"))

# What the release is linked with: BOLT moves functions only where it is told of every place that names one.
FLAGS = ("-Clink-arg=-Wl,--emit-relocs",)

OPTIONS = (
    "--reorder-blocks=ext-tsp",
    "--reorder-functions=cdsort",
    "--split-functions",
    "--split-all-cold",
    "--split-eh",
    # It would begin at a multiple of 2 MiB, and so would what follows it.
    "--no-huge-pages",
    # The place in a panic.
    "--update-debug-sections",
    "--dyno-stats",
)

# The profile is of this very program.
STALE_PERCENT_MAX = 1

SAMPLE = Path(__file__).with_name("sample.rs")
SAMPLE_FLAGS = ("-Cdebuginfo=line-tables-only", *builds.FLAGS, *FLAGS)

# A minute, with line tables.
LAYOUT_TIME_MAX = 1800
DEMO_TIME_MAX = 120


@dataclass(frozen=True)
class Bolt:
    """The two of its programs that are needed, of one version."""

    optimiser: str
    merger: str

    def counting(self, program: Path, copy: Path, counts: Path) -> None:
        """Makes a copy that writes what it counted into a file below `counts` when its process ends by itself."""
        options = [
            "--instrument",
            f"--instrumentation-file={counts / 'counts'}",
            "--instrumentation-file-append-pid",
            # By itself the copy would look for its file in `/proc/self`, which Doorward closes to users but root.
            f"--instrumentation-binpath={copy}",
        ]
        self.run(program, copy, options)

    def merge(self, counts: Path) -> Path:
        """One profile of all counts."""
        files = sorted(counts.glob("counts*.fdata"))
        if not files:
            raise stages.Failure(f"the training left no counts in {counts}")
        profile = counts / "merged.fdata"
        run([self.merger, "-o", str(profile), *map(str, files)])
        return profile

    def lay_out(self, program: Path, profile: Path, result: Path) -> str:
        """Makes the program anew; what BOLT says about it."""
        stale = f"--stale-threshold={STALE_PERCENT_MAX}"
        return self.run(program, result, [f"--data={profile}", stale, *OPTIONS])

    def run(self, program: Path, result: Path, options: list[str]) -> str:
        return run([self.optimiser, str(program), "-o", str(result), *options])


def find(may_install: bool) -> Bolt:
    """One that fits, installed where there is none."""
    with tempfile.TemporaryDirectory(prefix="doorward-layout-") as folder:
        source = Path(shutil.copy(SAMPLE, folder))
        sample = llvm.compile_sample(source, *SAMPLE_FLAGS)
        try:
            return bolt(llvm.find(PROGRAM, lambda candidate: fits(bolt(candidate), sample), may_install))
        except tools.Missing as missing:
            raise tools.Missing(f"{missing}; --no-layout does without") from missing


def bolt(optimiser: str) -> Bolt:
    """Its other program has the same version at the end of its name, and is beside it."""
    path = Path(shutil.which(optimiser) or optimiser)
    return Bolt(str(path), str(path.with_name(path.name.replace(PROGRAM.name, "merge-fdata"))))


def fits(candidate: Bolt, sample: Path) -> bool:
    """Whether a small program that has been through all of it still does, and says, the same."""
    folder = Path(tempfile.mkdtemp(dir=sample.parent))
    counting, result = folder / "counting", folder / "result"
    try:
        candidate.counting(sample, counting, folder)
        run([str(counting)])
        candidate.lay_out(sample, candidate.merge(folder), result)
        return run([str(result)]) == run([str(sample)])
    except (OSError, stages.Failure, subprocess.SubprocessError):
        return False


def lay_out(optimiser: Bolt, release: Path, folder: Path, say: builds.Say) -> None:
    """Puts a release that is laid out anew, and has been tried, in the place of the release. What it was made of is in
    `folder` afterwards."""
    counting, result = folder / "doorward.counting", folder / "doorward"
    say("the layout: a copy of the release that counts its branches")
    optimiser.counting(release, counting, folder)
    say("training, about a minute")
    training.train(counting, release, folder, training.WHOLE, say)
    say("laying out")
    told = optimiser.lay_out(release, optimiser.merge(folder), result)
    for what, change in re.findall(r": (executed instructions|taken branches) \((.*?)\)", told):
        say(f"{what} of the training: {change}")
    say(f"{result.stat().st_size / 2**20:.1f} MiB, before {release.stat().st_size / 2**20:.1f} MiB, relocations included")
    say("trying it out")
    demo = run([str(result), "demo", "--once"], DEMO_TIME_MAX)
    say(demo.strip().splitlines()[-1].strip())
    training.train(result, result, folder, training.TRIAL, say)
    os.replace(release, folder / "doorward.before")
    os.replace(result, release)


def run(command: list[str], seconds: float = LAYOUT_TIME_MAX) -> str:
    """What a command says, if it ends well."""
    ended = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=seconds)
    if ended.returncode != 0:
        name = os.path.basename(command[0])
        raise stages.Failure(f"{name} failed with {ended.returncode}:\n{(ended.stdout + ended.stderr)[-3000:]}")
    return ended.stdout
