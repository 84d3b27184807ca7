"""mfiles, as its README uses it."""

import os
import tempfile

from mfiles import MFilesClient

from phases import BASE_URL, LOGIN, LOGS_IN, PASSWORD, UPLOAD, phases

VAULT = "{C840BE1A-5B47-4AC0-8EF7-835C166C8E24}"

SERVER = f"{BASE_URL}/REST/"

# The SDK logs in where it is made, unless one of user, password and vault is missing; then it sends
# an empty token with every call.
if LOGS_IN:
    CLIENTS = [MFilesClient(SERVER, LOGIN, PASSWORD, VAULT)]
else:
    CLIENTS = [
        MFilesClient(SERVER, "nobody", "not-a-password", None),
        MFilesClient(SERVER, "nobody", "not-a-password", VAULT),
    ]


def round(number):
    for way, client in enumerate(CLIENTS):
        use(client, f"{number}-{way}")


def use(client, mark):
    types = [each["Name"] for each in client.objects()]
    assert "Document" in types, types
    assert client.get("views/items")["Items"], "the vault has views"

    # An upload, raw, and then the object that names it: both calls belong to one session.
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, f"written-{mark}.bin")
        with open(UPLOAD, "rb") as source, open(path, "wb") as copy:
            content = source.read()
            copy.write(content)
        made = client.upload_file(path)
        title = os.path.splitext(path)[0]
        assert made["Title"] == title, made
        number = made["ObjVer"]["ID"]

        # It is there afterwards, once.
        found = client.quick_search(f"written-{mark}")["Items"]
        assert [item["ObjVer"]["ID"] for item in found] == [number], found

        # And holds what was sent.
        back = os.path.join(folder, "back.bin")
        client.download_file(back, 0, number, made["Files"][0]["ID"])
        with open(back, "rb") as downloaded:
            assert downloaded.read() == content, "the download is another file"

    # A write as `POST ...?_method=PUT`.
    checked_out = client.check_out(number)
    assert checked_out["ObjVer"]["ID"] == number, checked_out
    client.check_in(number)


phases(round, lambda: None)
