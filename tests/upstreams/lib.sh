# What every `server` script here shares. Sourced; then `run "$@"` does one of
#
#   server install     what it needs, once, into LAB/installed/NAME
#   server start       a new instance on 127.0.0.1:PORT; says PID=, BASE=, USER= and PASS=
#   server restart     ends it and starts it again on what it has stored; its sessions are gone
#   server kill        ends all its sessions while it runs, where it has a way to do that
#   server stop        ends it
#
#   PORT   where it listens, on loopback; some listen at PORT+1, too
#   LAB    where installations are kept; `scratch` beside this file without it
#   RUN    the folder of the instance; LAB/run/NAME-PORT without it
#
#   OWNER  a process; when it is gone, the server ends, too
#
# Only lines KEY=value go to standard output. A script has the functions `install` and `start`, `kill_sessions` where
# there is a way, and the variables `user` and `password`. Packages come by name from Debian's, PyPI's and npm's
# registries.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[1]}")" && pwd)
name=$(basename "$here")
LAB=${LAB:-$here/../scratch}
mkdir -p "$LAB"
LAB=$(cd "$LAB" && pwd)
installed=$LAB/installed/$name
unset PYTHONPATH PYTHONHOME

say() {
    echo "[$name] $*" >&2
}

fail() {
    say "$*"
    tail -n 25 "$RUN/server.log" 2>/dev/null >&2 || true
    exit 1
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# --- Installing ---------------------------------------------------------------------------------

# Every package with its version, so that nothing is chosen at install time.
install_python() {
    "${PYTHON:-python3}" -m venv "$installed/venv"
    "$installed/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$here/requirements.txt"
    "$installed/venv/bin/pip" check --disable-pip-version-check >&2
}

# Exactly what the lock file says. It holds digests and no addresses, so that it works with any registry.
install_node() {
    cp "$here/package.json" "$here/package-lock.json" "$installed/"
    npm ci --prefix "$installed" --omit-lockfile-registry-resolved=true --no-audit --no-fund --loglevel=error "$@" >&2
}

# Debian packages, and what of their dependencies is not on this machine, unpacked into a folder: nothing is installed
# system-wide, and no maintainer script starts a service. Debian keeps one version of each in a release.
install_debian() {
    local debs=$installed/debs download
    mkdir -p "$debs/partial" "$installed/root"
    download=(env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --reinstall --no-install-recommends --download-only
        -o "Dir::Cache::archives=$debs" -o DPkg::Lock::Timeout=180 -o APT::Sandbox::User=root "$@")
    as_root "${download[@]}" >"$installed/apt.log" 2>&1 ||
        { as_root apt-get update -q >>"$installed/apt.log" 2>&1 && as_root "${download[@]}" >>"$installed/apt.log" 2>&1; } ||
        { tail -n 5 "$installed/apt.log" >&2; fail "apt-get failed"; }
    local deb
    for deb in "$debs"/*.deb; do dpkg-deb -x "$deb" "$installed/root"; done
    as_root rm -rf "$debs"
}

# The folders of the libraries that were unpacked.
libraries() {
    find "$installed/root" -name '*.so*' -printf '%h\n' | sort -u | paste -sd: -
}

# --- Running ------------------------------------------------------------------------------------

# launch COMMAND...: the server, in the background.
launch() {
    nohup nice -n 5 "$@" </dev/null >>"$RUN/server.log" 2>&1 &
    echo $! >"$RUN/pid"
    if [ -n "${OWNER:-}" ]; then
        outlive_nobody "$!" "$OWNER" </dev/null >/dev/null 2>&1 &
    fi
}

outlive_nobody() {
    while is_alive "$1"; do
        is_alive "$2" || { command kill "$1"; return; }
        sleep 1
    done
}

# One that has ended and that nobody waited for is no process any more.
is_alive() {
    grep -qs '^State:[[:space:]]*[^ZX[:space:]]' "/proc/$1/status"
}

# answers PATH STATUSES: waits until the server answers with one of these (a pattern).
answers() {
    local tries status
    for ((tries = 0; tries < 600; tries++)); do
        is_alive "$(cat "$RUN/pid")" || fail "it ended while it started"
        status=$(curl -s -o /dev/null --max-time 10 -w '%{http_code}' "$base$1" || true)
        [[ $status =~ ^($2)$ ]] && return
        sleep 0.1
    done
    fail "it does not answer"
}

end() {
    local pid tries
    [ -f "$RUN/pid" ] || return 0
    pid=$(cat "$RUN/pid")
    command kill "$pid" 2>/dev/null || true
    for ((tries = 0; tries < 100; tries++)); do
        is_alive "$pid" || { rm "$RUN/pid"; return 0; }
        sleep 0.1
    done
    say "it does not end when it is asked to"
    command kill -9 "$pid" 2>/dev/null || true
    rm "$RUN/pid"
}

run() {
    if [ "${1:-}" = install ]; then
        [ -f "$installed/done" ] && return
        rm -rf "$installed"
        mkdir -p "$installed"
        install >&2
        # Last, so that an interrupted installation counts as none.
        touch "$installed/done"
        return
    fi
    : "${PORT:?where it listens}"
    RUN=${RUN:-$LAB/run/$name-$PORT}
    base=http://127.0.0.1:$PORT
    [ -f "$installed/done" ] || fail "not installed: tests/upstreams/install $name"
    case ${1:-} in
        start)
            end
            rm -rf "$RUN"
            mkdir -p "$RUN"
            start
            ;;
        restart)
            end
            kept=1 start
            ;;
        kill)
            kill_sessions
            return
            ;;
        stop)
            end
            return
            ;;
        *)
            fail "install, start, restart, kill or stop"
            ;;
    esac
    printf '%s\n' "PID=$(cat "$RUN/pid")" "BASE=$base" "USER=$user" "PASS=$password" | tee "$RUN/env"
}
