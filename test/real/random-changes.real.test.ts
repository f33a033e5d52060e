import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Container, isTapvisorError } from "tapvisor";
import * as assert from "uvu/assert";
import { MiB } from "../../src/base/units.ts";
import { checkAgreement, memoryOf, type Subject } from "../support/agreement.ts";
import { guestShell } from "../support/guest-shell.ts";
import { type Moment, Moments } from "../support/moments.ts";
import { realEngine } from "../support/real-engine.ts";
import { suite } from "../support/suite.ts";
import { hostView, stateFiles } from "../support/whole-world.ts";

const s = suite("random changes of one live VM on real QEMU");
const OPERATIONS = 200;
const SEED = Number(process.env.SEED ?? Date.now() % 2 ** 31);

/** Numbers below `limit`, the same ones for the same seed (a linear congruential generator, Numerical Recipes' constants). */
function randomFrom(seed: number): (limit: number) => number {
  let state = seed >>> 0;
  return (limit) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
}

/** Where a fault strikes: calls of the backends before and after their effect, steps and hooks. */
const MOMENTS: readonly Moment[] = [
  ...[
    "hypervisor.share.acquire",
    "hypervisor.disk.acquire",
    "hypervisor.resizeMemory",
    "hypervisor.resizeVcpus",
    "agent.syncResources",
    "agent.createContainer",
    "agent.startContainer",
    "agent.updateContainer",
    "agent.findDisk",
  ].flatMap((call) => [`before ${call}`, `after ${call}`]),
  ...[
    "record",
    "attach-devices",
    "plug-resources",
    "create-guest-container",
    "start-process",
    "grow-vm",
    "update-guest",
    "shrink-vm",
    "commit",
  ].map((step) => `before ${step}`),
  "hook afterAttach",
  "hook beforeHotplug",
  "hook afterUpdate",
];

s.test(
  `${OPERATIONS} random creations, updates, stops, deletions and disks with random faults: ledger, QEMU and guest agree after each`,
  async () => {
    console.log(`random changes: seed ${SEED} (SEED=${SEED} plays the same again)`);
    const random = randomFrom(SEED);
    const moments = new Moments();
    await using world = await realEngine({ plugins: moments.plugins, probe: moments.probe });
    const { engine, rootfs, root, directory } = world;
    const empty = await hostView(root);
    const images = [0, 1, 2].map((number) => join(directory, `disk-${number}.img`));
    for (const image of images) await writeFile(image, Buffer.alloc(MiB));
    const sandbox = await engine.runSandbox({ id: "box", maxVcpus: 8, maxMemory: "2GiB" });
    const shell = await guestShell(sandbox, { id: "looker", rootfs });
    const subject: Subject = { sandbox, shell, grant: moments.backends.grant("box"), bootMemory: await memoryOf(shell) };
    const counts: Record<string, number> = {};
    const count = (what: string) => {
      counts[what] = (counts[what] ?? 0) + 1;
    };
    const resources = () => ({
      ...(random(3) > 0 && { vcpus: 1 + random(3) }),
      ...(random(3) > 0 && { memory: `${64 * (1 + random(5))}MiB` }),
    });
    const others = () => sandbox.containers().filter(({ id }) => id !== "looker");
    const pick = <T>(all: readonly T[]): T | undefined => all[random(all.length)];

    const operations: Record<string, () => Promise<unknown>> = {
      async create() {
        const id = `c${random(4)}`;
        if (others().some((each) => each.id === id)) return sandbox.container(id)[Symbol.asyncDispose]();
        const image = pick(images) ?? "";
        const devices = random(3) === 0 ? [{ path: image, target: "/dev/data" }] : [];
        const container = await sandbox.createContainer({ id, rootfs, command: ["sleep", "6000"], resources: resources(), devices });
        if (random(4) > 0) await container.start();
        return container;
      },
      update: async () =>
        pick(others().filter(({ state }) => state === "ready" || state === "running"))?.update({ ...resources(), pids: 10 + random(50) }),
      stop: async () => pick(others().filter(({ state }) => state === "running"))?.stop({ timeoutMs: 50 }),
      start: async () => pick(others().filter(({ state }) => state === "ready" || state === "stopped"))?.start(),
      delete: async () => pick(others())?.[Symbol.asyncDispose](),
      async disk() {
        const path = pick(images) ?? "";
        const device = sandbox.devices().find((each) => each.path === path);
        if (!device) return sandbox.addDevice({ path });
        if (device.containers.length === 0) return sandbox.removeDevice(device.id);
        return undefined;
      },
    };
    const names = ["create", "create", "create", "update", "update", "stop", "start", "delete", "disk"];
    for (let number = 1; number <= OPERATIONS; number++) {
      const name = pick(names) ?? "create";
      const moment = random(3) === 0 ? pick(MOMENTS) : undefined;
      if (moment) moments.armOnce(moment);
      const when = `${number}: ${name}${moment ? ` with a fault ${moment}` : ""}`;
      const outcome = await (operations[name]?.() ?? Promise.resolve()).then(
        () => "ok",
        (error: unknown) => {
          assert.ok(isTapvisorError(error), `${when}: ${error}`);
          const expected = error.message.includes("injected") || error.code === "HOOK_FAILED" || error.code === "VM_LIMIT";
          assert.ok(expected || moment !== undefined, `${when}: ${error.code} ${error.message}`);
          assert.equal(error.rollback?.left ?? [], [], when);
          return error.code;
        },
      );
      moments.disarm();
      count(`${name} ${outcome}`);
      for (const container of others()) if (container.state === "failed") await (container as Container).delete();
      await checkAgreement(subject, when, false);
      for (const { id, state, requests } of await requestsOf())
        assert.is(requests, state === "ready" || state === "running", `${when}: ${id} is ${state}`);
    }
    console.log(`random changes: ${JSON.stringify(counts)}`);
    await sandbox.stop({ force: true });
    await sandbox.delete();
    assert.equal(await hostView(root), empty);
    assert.equal(await stateFiles(root), []);

    /** Whether each container that asks for something has its request in the ledger exactly while it lives. */
    async function requestsOf() {
      const { requests } = await sandbox.resources();
      const asking = others().filter((container) => {
        const { vcpus, memoryBytes } = container.status().resources;
        return vcpus !== undefined || memoryBytes !== undefined;
      });
      return asking.map(({ id, state }) => ({ id, state, requests: Object.hasOwn(requests, id) }));
    }
  },
  { timeoutMs: 560_000 },
);

s.run();
