"""The talk between a script that uses an SDK and the runner in main.rs: one line each way, so that
neither ever has to wait for a time to pass. A script learns nothing of what happens in between."""

import os
import sys

BASE_URL = os.environ["BASE_URL"]
# "direct": the user's own login at the vendor. "through": no credential for the vendor at all.
# "keyed": a login as at the vendor, with a Doorward key as the password.
DIRECT = os.environ["MODE"] == "direct"
LOGS_IN = os.environ["MODE"] != "through"
LOGIN = os.environ.get("LOGIN")
PASSWORD = os.environ.get("PASSWORD")
# The authority to trust, for an SDK that does not look at the process's environment itself.
CA_FILE = os.environ.get("CA_FILE")
# A file for the upload.
UPLOAD = os.environ["UPLOAD"]


def phases(round, leave):
    """Runs `round` twice and then `leave`, each when the runner says so."""
    say("ready reads")
    for number in (1, 2):
        round(number)
        say(f"done {number}")
        line = sys.stdin.readline()
        if line != "go\n":
            raise RuntimeError(f'expected "go", got {line!r}')
    leave()


def say(line):
    print(line, flush=True)
