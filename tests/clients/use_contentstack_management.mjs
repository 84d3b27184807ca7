// @contentstack/management, as its README uses it.
import assert from "node:assert/strict";
import dns from "node:dns";
import { statSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import contentstack from "@contentstack/management";
import { phases, settings } from "./phases.mjs";

// The SDK repeats a request after a 429, 5xx or broken connection; to an IP address or `localhost`
// it refuses to, in a timer, where nothing can catch it: the process dies. So a gateway must have a
// name. This stands for the line in a hosts file.
const NAME = "gateway.doorward.test";
const { lookup } = dns;
dns.lookup = (name, ...rest) => lookup(name === NAME ? "127.0.0.1" : name, ...rest);
syncBuiltinESMExports();

const API_KEY = "bltd0a1e7c35b92f846";

const endpoint = new URL("/v3", settings.baseUrl);
endpoint.hostname = NAME;
const client = contentstack.client({ endpoint: endpoint.href });
const stack = client.stack({ api_key: API_KEY });

if (settings.logsIn) {
  const { user } = await client.login({ email: settings.login, password: settings.password });
  assert.equal(typeof user.authtoken, "string");
  if (settings.direct) assert.equal(user.email, "kettle@contentstack.example");
}

await phases(round, async () => {
  const { notice } = await client.logout();
  assert.equal(notice, "You've logged out successfully!");
});

async function round(number) {
  const user = await client.getUser();
  assert.equal(user.email, "kettle@contentstack.example");
  // Without a token in the answer the SDK gives the user no methods.
  assert.equal(typeof user.update, "function");

  const stacks = await client.stack().query().find();
  assert.deepEqual(
    stacks.items.map((item) => item.name),
    ["Site", "Other site"],
  );

  // A write: the entry is there afterwards, once.
  const title = `Written by node ${number}: "é", 5 %`;
  const entry = await stack.contentType("page").entry().create({ entry: { title } });
  assert.equal(entry.title, title);
  const entries = await stack.contentType("page").entry().query().find();
  assert.deepEqual(
    entries.items.filter((item) => item.title === title).map((item) => item.uid),
    [entry.uid],
  );

  // An upload as multipart: the server says what arrived.
  const asset = await stack.asset().create({ upload: settings.upload, title: `Upload ${number}` });
  assert.equal(asset.title, `Upload ${number}`);
  assert.equal(asset.filename, "upload.bin");
  assert.equal(Number(asset.file_size), statSync(settings.upload).size);
}
