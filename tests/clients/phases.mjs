// The talk between a script that uses an SDK and the runner in main.rs: one line each way, so that
// neither ever has to wait for a time to pass. A script learns nothing of what happens in between.
import { createInterface } from "node:readline";
import { once } from "node:events";

/** Where to go and how, as the runner says it. */
export const settings = {
  baseUrl: needed("BASE_URL"),
  // "direct": the user's own login at the vendor. "through": no credential for the vendor at all.
  // "keyed": a login as at the vendor, with a Doorward key as the password.
  direct: needed("MODE") === "direct",
  logsIn: needed("MODE") !== "through",
  login: process.env.LOGIN,
  password: process.env.PASSWORD,
  // A file for the upload.
  upload: needed("UPLOAD"),
};

/** Runs `round` twice and then `leave`, each when the runner says so. */
export async function phases(round, leave) {
  const runner = createInterface({ input: process.stdin });
  try {
    say("ready reads");
    for (const number of [1, 2]) {
      await round(number);
      say(`done ${number}`);
      const [line] = await once(runner, "line");
      if (line !== "go") throw new Error(`expected "go", got ${JSON.stringify(line)}`);
    }
    await leave();
  } catch (error) {
    console.error(error);
    process.exitCode = 1;
  } finally {
    runner.close();
    process.stdin.destroy();
  }
}

function say(line) {
  process.stdout.write(`${line}\n`);
}

function needed(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set; the runner in main.rs sets it`);
  return value;
}
