"""contentstack-management, as its README uses it."""

import os
from urllib.parse import urlsplit

import contentstack_management

from phases import BASE_URL, LOGIN, LOGS_IN, PASSWORD, UPLOAD, phases

API_KEY = "bltd0a1e7c35b92f846"

BASE = urlsplit(BASE_URL)
# The SDK gives an answer two seconds; this is its default, and it is kept.
CLIENT = contentstack_management.Client(host=BASE.netloc, scheme=f"{BASE.scheme}://")

if LOGS_IN:
    answer = CLIENT.login(LOGIN, PASSWORD)
    assert answer.status_code == 200, answer.text


def round(number):
    user = get(CLIENT.user().fetch())["user"]
    assert user["email"] == "kettle@contentstack.example", sorted(user)

    stacks = get(CLIENT.organizations().find())["organizations"]
    assert [each["name"] for each in stacks] == ["Site Ltd", "Other site Ltd"], stacks

    stack = CLIENT.stack(API_KEY)
    entries = stack.content_types("page").entry()

    # A write: the entry is there afterwards, once.
    title = f'Written by python {number}: "é", 5 %'
    answer = entries.create({"entry": {"title": title}})
    assert answer.status_code == 201, answer.text
    found = get(stack.content_types("page").entry().find())["entries"]
    uids = [entry["uid"] for entry in found if entry["title"] == title]
    assert uids == [answer.json()["entry"]["uid"]], found

    # An upload as multipart: the server says what arrived.
    answer = stack.assets().upload(UPLOAD)
    assert answer.status_code == 201, answer.text
    asset = answer.json()["asset"]
    assert asset["filename"] == "upload.bin", asset
    assert int(asset["file_size"]) == os.path.getsize(UPLOAD), asset


def get(answer):
    assert answer.status_code == 200, f"{answer.status_code} {answer.text}"
    return answer.json()


def leave():
    """The SDK's own logout ends in a TypeError before it has sent anything."""
    try:
        CLIENT.logout()
    except TypeError:
        return
    raise AssertionError("the SDK can log out now: let this script do so")


phases(round, leave)
