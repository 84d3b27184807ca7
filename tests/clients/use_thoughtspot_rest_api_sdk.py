"""thoughtspot-rest-api-sdk, as its README uses it."""

from pathlib import Path

from thoughtspot_rest_api_sdk import (
    ApiClient,
    Configuration,
    ThoughtSpotRestApi,
    ThoughtSpotTokenProvider,
)

from phases import BASE_URL, CA_FILE, LOGIN, LOGS_IN, PASSWORD, UPLOAD, phases


def api(access_token=None):
    """An API object with one way to give credentials."""
    configuration = Configuration(
        host=BASE_URL, access_token=access_token, ssl_ca_cert=CA_FILE
    )
    return ThoughtSpotRestApi(ApiClient(configuration))


def provider(login, password):
    """The SDK's own: it logs in at the first call and keeps the token until it expires."""
    return ThoughtSpotTokenProvider(
        BASE_URL, login, password=password, ssl_ca_cert=CA_FILE
    )


if LOGS_IN:
    APIS = [api(provider(LOGIN, PASSWORD))]
else:
    APIS = [api(), api("placeholder"), api(provider("nobody", "not-a-password"))]


def round(number):
    for way, each in enumerate(APIS):
        use(each, f"{number}-{way}")


def use(api, mark):
    user = api.get_current_user_info_sync()
    assert user.name == "kettle@thoughtspot.example", user
    assert user.display_name == "Ana Lyst", user
    assert user.current_org.id == 0, user

    found = api.search_metadata_sync({"metadata": [{"type": "LIVEBOARD"}]})
    names = [row.metadata_name for row in found]
    assert names == ["Sales Performance", "Support Tickets"], names

    users = api.search_users_sync({"user_identifier": "kettle@thoughtspot.example"})
    assert [row.id for row in users] == [user.id], users

    # A write: the object is there afterwards, once.
    name = f"Written by python {mark}"
    imported = api.import_metadata_tml_sync(
        {"metadata_tmls": ['{"answer": {"name": "%s"}}' % name]}
    )[0]
    assert imported["response"]["status"]["status_code"] == "OK", imported
    written = api.search_metadata_sync(
        {"metadata": [{"type": "ANSWER", "name_pattern": name}]}
    )
    guid = imported["response"]["header"]["id_guid"]
    assert [row.metadata_id for row in written] == [guid], written

    # An upload as multipart: the server says what arrived.
    content = Path(UPLOAD).read_bytes()
    generated = api.dbt_generate_tml_sync(
        "connection-1", "[]", "NONE", file_content=("dbt.zip", content)
    )
    assert generated["file_name"] == "dbt.zip", generated
    assert generated["file_size"] == len(content), generated

    # A download of many chunks.
    report = api.export_liveboard_report_sync(
        {"metadata_identifier": found[0].metadata_id, "file_format": "PDF"}
    )
    assert report == bytes(at % 251 for at in range(1024 * 1024)), len(report)


def leave():
    for each in APIS:
        each.logout_sync()


phases(round, leave)
