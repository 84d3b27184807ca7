"""What the comparison needs on the machine: installed by name where it is missing, compiled from here where it is our
own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
TARGET = REPOSITORY / "target" / "peers"
VENV = TARGET / "venv"
DOORWARD = REPOSITORY / "target" / "release" / "doorward"

INSTALL_TIME_MAX = 900

# The Debian packages, by what shows that they are there: a command, or a file.
PACKAGES = {
    "cc": "gcc",
    "/usr/include/stdlib.h": "libc6-dev",
    "/usr/include/openssl/ssl.h": "libssl-dev",
    "openssl": "openssl",
    "taskset": "util-linux",
    "setpriv": "util-linux",
    "nginx": "nginx",
    "haproxy": "haproxy",
    "h2load": "nghttp2-client",
    "valgrind": "valgrind",
    "strace": "strace",
}

# Needed whatever is compared.
ALWAYS = ("cc", "/usr/include/stdlib.h", "/usr/include/openssl/ssl.h", "openssl", "taskset", "setpriv")

# Keeps Debian from starting what it installs (invoke-rc.d(8)).
POLICY = "/usr/sbin/policy-rc.d"


class Missing(Exception):
    """Something that is not there and could not be installed."""


def is_there(probe: str) -> bool:
    """Whether a command, or a file, is on the machine."""
    return Path(probe).exists() if probe.startswith("/") else found(probe) is not None


def found(name: str) -> str | None:
    """Where a command is; Debian keeps servers where users do not look."""
    path = os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"
    return shutil.which(name, path=path)


def install_packages(wanted: Iterable[str], may_install: bool) -> None:
    """Installs the Debian packages of those probes that find nothing."""
    packages = sorted({PACKAGES[probe] for probe in (*ALWAYS, *wanted) if not is_there(probe)})
    if packages:
        install(packages, may_install)


def install(packages: list[str], may_install: bool) -> None:
    """Installs Debian packages; none of their services starts."""
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    root = [] if os.geteuid() == 0 else ["sudo"]
    if not may_install or not shutil.which("apt-get") or (root and not shutil.which("sudo")):
        raise Missing(f"missing: run `{' '.join(command)}` as root")
    print(f"installing {', '.join(packages)}", file=sys.stderr, flush=True)
    policy_is_ours = not Path(POLICY).exists()
    if policy_is_ours:
        script = f"printf '#!/bin/sh\\nexit 101\\n' > {POLICY} && chmod 755 {POLICY}"
        subprocess.run([*root, "sh", "-c", script], check=True)
    environment = ["env", "DEBIAN_FRONTEND=noninteractive"]
    try:
        installed = subprocess.run([*root, *environment, *command], stdout=subprocess.DEVNULL, timeout=INSTALL_TIME_MAX)
        if installed.returncode != 0:
            # The lists of packages may be missing or old.
            subprocess.run(
                [*root, "apt-get", "update"], stdout=subprocess.DEVNULL, check=True, timeout=INSTALL_TIME_MAX
            )
            subprocess.run(
                [*root, *environment, *command], stdout=subprocess.DEVNULL, check=True, timeout=INSTALL_TIME_MAX
            )
    finally:
        if policy_is_ours:
            subprocess.run([*root, "rm", "-f", POLICY], check=True)


def install_wheels(may_install: bool) -> None:
    """A virtual environment with the proxies that come as wheels, at pinned versions."""
    wanted = (HERE / "requirements.txt").read_text()
    # Written last, so that an interrupted installation counts as none.
    stamp = VENV / "requirements.txt"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    if not may_install:
        raise Missing(f"missing: {', '.join(wanted.split())} in {VENV}")
    print(f"installing {', '.join(wanted.split())}", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True, timeout=INSTALL_TIME_MAX)
    pip = [str(VENV / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-r", str(HERE / "requirements.txt")], check=True, timeout=INSTALL_TIME_MAX)
    stamp.write_text(wanted)


def absolute(path: str) -> Path:
    """A program that a user has named."""
    program = Path(path).resolve()
    if not os.access(program, os.X_OK):
        raise Missing(f"{path} is no program")
    return program


def wheel_program(name: str) -> str:
    """A proxy that came as a wheel. Envoy's command is a script around the program that is to be measured."""
    if name == "envoy":
        programs = list(VENV.glob("lib/python*/site-packages/envoy/_bin/envoy"))
        if not programs:
            raise Missing(f"no Envoy in {VENV}")
        return str(programs[0])
    return str(VENV / "bin" / name)


def compiled(name: str, libraries: tuple[str, ...] = ()) -> str:
    """One of our own programs, compiled when its source is newer."""
    source, program = HERE / f"{name}.c", TARGET / "bin" / name
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        program.parent.mkdir(parents=True, exist_ok=True)
        flags = ["-O2", "-Wall", "-Wextra"]
        subprocess.run(
            ["cc", *flags, "-o", str(program), str(source), *libraries], check=True, timeout=INSTALL_TIME_MAX
        )
    return str(program)


def built_doorward() -> str:
    """Doorward as it is released; cargo builds what has changed."""
    print("cargo build --release", file=sys.stderr, flush=True)
    subprocess.run(["cargo", "build", "--release", "--quiet", "--bin", "doorward"], cwd=REPOSITORY, check=True)
    return str(DOORWARD)
