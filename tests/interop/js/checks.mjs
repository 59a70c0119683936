// What the JavaScript counterparts share: named checks and bounded waits.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

export const THROTTLED = "ProvisionedThroughputExceededException";
export const INVALID = ["InvalidArgumentException", "ValidationException"];

/** How clients reach the endpoint. */
export const settings = {
  endpoint: process.env.ENDPOINT,
  region: "us-east-1",
  credentials: { accessKeyId: "js", secretAccessKey: "js" },
};

const checks = [];

export function check(name, run) {
  checks.push([name, run]);
}

/** Runs the checks: a line for each, a closing line with their number, exit code 1 if one failed. */
export async function runAll(counterpart) {
  for (const [name, run] of checks) {
    try {
      await run();
      console.log(`ok   ${counterpart}: ${name}`);
    } catch (error) {
      process.exitCode = 1;
      const text = `${error.name}: ${error.message}`.replace(/\s+/g, " ");
      console.log(`FAIL ${counterpart}: ${name}: ${text.slice(0, 1500)}`);
    }
  }
  console.log(`ran ${checks.length} ${counterpart}`);
}

/** Calls, and gives the text of the refusal, which has to carry one of `codes` and status 400. */
export async function refused(codes, client, command) {
  try {
    await client.send(command);
  } catch (error) {
    assert.ok([codes].flat().includes(error.name), `${error.name} (${error.message}), not ${codes}`);
    assert.equal(error.$metadata.httpStatusCode, 400);
    return error.message;
  }
  assert.fail(`${command.constructor.name} was accepted, not refused with ${codes}`);
}

/** Waits until `condition` gives something that is not undefined or false, and gives that. */
export async function until(condition, what, bound = 20_000) {
  const end = performance.now() + bound;
  while (performance.now() < end) {
    const got = await condition();
    if (got !== undefined && got !== false) return got;
    await sleep(100);
  }
  assert.fail(`not within ${bound} ms: ${what}`);
}

/** Sends again while the shard's limits refuse: for checks that are about something else. */
export function paced(client, makeCommand) {
  return until(async () => {
    try {
      return await client.send(makeCommand());
    } catch (error) {
      if (error.name !== THROTTLED) throw error;
      return undefined;
    }
  }, "the call is admitted");
}
