# What every `check` shares: does a running instance still answer as flow.md says? Sourced. PORT, LAB and RUN as for
# `server`; UP_BASE, UP_USER and UP_PASS are what that said. Says `N passed, N failed`.
set -uo pipefail
: "${PORT:?where the server listens}"
here=$(cd "$(dirname "${BASH_SOURCE[1]}")" && pwd)
server=$here/server
LAB=${LAB:-$here/../scratch}
RUN=${RUN:-$LAB/run/$(basename "$here")-$PORT}
while IFS='=' read -r key value; do printf -v "UP_$key" '%s' "$value"; done <"$RUN/env"
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
passed=0 failed=0

# req NAME CURL-ARGUMENTS...: the answer's head in $T/h, its body in $T/b, its status in $status
req() {
    shift
    status=$(curl -sS --max-time 60 -D "$T/h" -o "$T/b" -w '%{http_code}' "$@" || true)
    touch "$T/h" "$T/b"
    sed -i 's/\r$//' "$T/h"
}

ok() {
    passed=$((passed + 1))
    echo "ok   $*"
}

no() {
    failed=$((failed + 1))
    echo "FAIL $* (status $status)"
    head -c 300 "$T/h" "$T/b" | sed 's/^/     /'
}

# Each with what is looked at first.
status() {
    if [ "$status" = "$2" ]; then ok "$1: status $2"; else no "$1: status $2"; fi
}

head_has() {
    if grep -iqE -- "$2" "$T/h"; then ok "$1: field /$2/"; else no "$1: field /$2/"; fi
}

body_has() {
    if grep -aqE -- "$2" "$T/b"; then ok "$1: body /$2/"; else no "$1: body /$2/"; fi
}

# A value out of the last answer: at a JSON pointer, or of a header field.
jget() {
    python3 -c 'import json, sys
value = json.load(open(sys.argv[1]))
for part in sys.argv[2].strip("/").split("/"):
    value = value[int(part)] if isinstance(value, list) else value[part]
print(value)' "$T/b" "$1"
}

hget() {
    awk -v name="${1,,}:" 'tolower($1) == name { sub(/^[^:]*: */, ""); print; exit }' "$T/h"
}

# A cookie out of curl's jar.
jarval() {
    awk -v name="$2" '$6 == name { print $7 }' "$1" | tail -n 1
}

done_() {
    echo "$passed passed, $failed failed"
    [ "$failed" = 0 ]
}
