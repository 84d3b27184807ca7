// @contentstack/cli, as its documentation uses it: a region of one's own, then log in, work, log out.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { phases, settings } from "./phases.mjs";

const API_KEY = "bltd0a1e7c35b92f846";
const CSDX = fileURLToPath(new URL("node_modules/.bin/csdx", import.meta.url));
// Like the SDK under it, the tool takes no address and no `localhost` for a host.
const NAME = fileURLToPath(new URL("name.cjs", import.meta.url));

const host = new URL(settings.baseUrl);
host.hostname = "gateway.doorward.test";

/** Runs one command to its end; all that it printed. */
function csdx(...args) {
  const env = { ...process.env, NODE_OPTIONS: `--require ${NAME}` };
  // It writes its logs where it is run.
  const options = { env, cwd: process.env.HOME };
  const { status, stdout, stderr } = spawnSync(process.execPath, [CSDX, ...args], options);
  return { status, said: `${stdout}${stderr}` };
}

function succeeds(expected, ...args) {
  const { status, said } = csdx(...args);
  assert.equal(status, 0, `${args[0]}: ${said}`);
  assert.match(said, expected);
}

const region = ["--cma", host.origin, "--cda", host.origin, "--ui-host", host.origin];
succeeds(/Custom region has been set/, "config:set:region", ...region, "--name", "doorward");

await phases(round, async () => {
  succeeds(/Successfully logged out/, "auth:logout", "--yes");
  assert.match(csdx("auth:whoami").said, /not logged in/);
});

// The second login replaces what the first one left in the tool's settings.
async function round() {
  succeeds(/Successfully logged in/, "auth:login", "-u", settings.login, "-p", settings.password);
  succeeds(/logged in with email/, "auth:whoami");
  // A call that reaches the vendor; the emulator has no branches, and says so to who is logged in.
  assert.match(csdx("cm:branches", "-k", API_KEY).said, /doesn't exist/);
}
