"""thoughtspot_rest_api_v1, as its README uses it."""

from thoughtspot_rest_api_v1 import MetadataTypes, TSRestApiV1, TSRestApiV2

from phases import BASE_URL, LOGIN, LOGS_IN, PASSWORD, UPLOAD, phases

V1 = TSRestApiV1(BASE_URL)
# The same package's class for the second version of the API keeps its own session.
V2 = TSRestApiV2(BASE_URL)

LOGGED_IN = False


def log_in():
    global LOGGED_IN
    if LOGS_IN and not LOGGED_IN:
        assert V1.session_login(LOGIN, PASSWORD)
        V2.auth_session_login(LOGIN, PASSWORD)
        LOGGED_IN = True


def round(number):
    log_in()
    info = V1.session_info()
    assert info["userName"] == "kettle@thoughtspot.example", sorted(info)
    assert info["currentOrgId"] == 0, info["currentOrgId"]

    liveboards = V1.metadata_list(MetadataTypes.LIVEBOARD)["headers"]
    names = [header["name"] for header in liveboards]
    assert names == ["Sales Performance", "Support Tickets"], names

    # A write: the object is there afterwards, once.
    name = f"Written by python v1 {number}"
    imported = V1.metadata_tml_import({"answer": {"name": name}}, create_new_on_server=True)
    guid = V1.metadata_list_find_guid(MetadataTypes.ANSWER, name)
    assert V1.guids_from_imported_tml(imported) == [guid], imported

    # An upload as multipart, through the SDK's own session: it has no method for it.
    with open(UPLOAD, "rb") as archive:
        content = archive.read()
    answer = V2.requests_session.post(
        V2.base_url + "dbt/generate-tml",
        data={"dbt_connection_identifier": "connection-1", "model_tables": "[]", "import_worksheets": "NONE"},
        files={"file_content": ("dbt.zip", content, "application/zip")},
    )
    answer.raise_for_status()
    assert answer.json()["file_size"] == len(content), answer.text

    # A download of many chunks.
    report = V1.export_pinboard_pdf(liveboards[0]["id"])
    assert report == bytes(at % 251 for at in range(1024 * 1024)), len(report)

    user = V2.auth_session_user()
    assert user["name"] == "kettle@thoughtspot.example", user


def leave():
    assert V1.session_logout()
    assert V2.auth_session_logout()


phases(round, leave)
