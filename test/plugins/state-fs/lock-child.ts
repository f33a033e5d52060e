import { readlinkSync, symlinkSync, unlinkSync } from "node:fs";
import { identifyProcess, isAlive } from "tapvisor/plugin";
import { quietCall } from "tapvisor/testing";
import { createFsStore } from "../../../plugins/state-fs/state-store.ts";

/**
 * Takes the lock again and again. Inside, a witness link with the own name stands: meeting a live process's there is a violation.
 * At round `hangAt` it says so and never lets go.
 */
const [, , directory = "", witness = "", rounds = "0", hangAt = "-1"] = process.argv;
const store = createFsStore({ directory });
const self = await identifyProcess(process.pid);
let violations = 0;

async function enter(): Promise<void> {
  const name = `${self?.pid}:${self?.startTime}:${self?.bootId}`;
  try {
    symlinkSync(name, witness);
  } catch {
    const [pid, startTime = "", bootId = ""] = readlinkSync(witness).split(":");
    if (await isAlive({ pid: Number(pid), startTime, bootId })) violations++;
    unlinkSync(witness);
    symlinkSync(name, witness);
  }
}

for (let round = 0; round < Number(rounds); round++) {
  const lock = await store.lock("web", quietCall({ timeoutMs: 60_000 }));
  await enter();
  if (round === Number(hangAt)) {
    process.send?.({ holding: true, rounds: round, violations });
    await new Promise(() => setInterval(() => {}, 60_000)); // an open promise alone does not keep a process alive
  }
  await new Promise(setImmediate);
  unlinkSync(witness);
  await lock.release();
  if (round % 5 === 4) process.send?.({ holding: false, rounds: round + 1, violations });
}
process.disconnect();
