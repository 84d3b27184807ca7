// @thoughtspot/rest-api-sdk, as its README uses it.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import {
  ThoughtSpotRestApi,
  createBasicConfig,
  createBearerAuthenticationConfig,
} from "@thoughtspot/rest-api-sdk";
import { phases, settings } from "./phases.mjs";

const { baseUrl, logsIn } = settings;

// Every way of the SDK to give credentials: with a password it asks for a new token before every
// single call, a function of the user's own may keep one, and it works without any.
const withPassword = (password) => createBearerAuthenticationConfig(baseUrl, password);
const withToken = (token) => createBearerAuthenticationConfig(baseUrl, async () => token);
const withNothing = createBasicConfig(baseUrl);
const apis = (logsIn ? await withLogin() : through()).map((way) => new ThoughtSpotRestApi(way));

async function withLogin() {
  const password = { username: settings.login, password: settings.password };
  const { token } = await new ThoughtSpotRestApi(withNothing).getFullAccessToken(password);
  return [withPassword(password), withToken(token)];
}

function through() {
  const nobody = { username: "nobody", password: "not-a-password" };
  return [withPassword(nobody), withToken("placeholder"), withNothing];
}

await phases(
  async (number) => {
    for (const [way, api] of apis.entries()) await round(api, `${number}-${way}`);
  },
  async () => {
    for (const api of apis) await api.logout();
  },
);

async function round(api, mark) {
  const user = await api.getCurrentUserInfo();
  assert.equal(user.name, "kettle@thoughtspot.example");
  assert.equal(user.display_name, "Ana Lyst");
  assert.equal(user.current_org.id, 0);

  const found = await api.searchMetadata({ metadata: [{ type: "LIVEBOARD" }] });
  assert.deepEqual(
    found.map((row) => row.metadata_name),
    ["Sales Performance", "Support Tickets"],
  );

  const users = await api.searchUsers({ user_identifier: "kettle@thoughtspot.example" });
  assert.deepEqual(users.map((row) => row.id), [user.id]);

  // A write: the object is there afterwards, once.
  const name = `Written by node ${mark}`;
  const [imported] = await api.importMetadataTML({
    metadata_tmls: [JSON.stringify({ answer: { name } })],
    import_policy: "ALL_OR_NONE",
  });
  assert.equal(imported.response.status.status_code, "OK");
  const written = await api.searchMetadata({ metadata: [{ type: "ANSWER", name_pattern: name }] });
  assert.deepEqual(
    written.map((row) => row.metadata_id),
    [imported.response.header.id_guid],
  );

  // An upload as multipart: the server says what arrived.
  const bytes = await readFile(settings.upload);
  const archive = new File([bytes], "dbt.zip", { type: "application/zip" });
  const generated = await api.dbtGenerateTml("connection-1", "[]", "NONE", undefined, archive);
  assert.equal(generated.file_name, "dbt.zip");
  assert.equal(generated.file_size, bytes.length);

  // A download of many chunks.
  const report = await api.exportLiveboardReport({
    metadata_identifier: found[0].metadata_id,
    file_format: "PDF",
  });
  const content = Buffer.from(await report.arrayBuffer());
  assert.equal(content.length, 1024 * 1024);
  assert.ok(content.every((byte, at) => byte === at % 251), "the report is another one");
}
