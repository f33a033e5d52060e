import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Container, Sandbox, SandboxResources } from "tapvisor";
import * as assert from "uvu/assert";
import { CREATE_CONTAINER_STEPS } from "../../src/container/create.ts";
import { ownLimits } from "../support/agreement.ts";
import { guestShell } from "../support/guest-shell.ts";
import { around, type Moment, Moments } from "../support/moments.ts";
import { failureOf, realEngine } from "../support/real-engine.ts";
import { suite } from "../support/suite.ts";
import { agentKnows, guestView, hostView, stateFiles, vmView } from "../support/whole-world.ts";

// One VM serves all tests of this file, since a boot under emulation takes seconds; the last test ends it and looks at what is left.
const s = suite("rollback of a container on real QEMU");
const TIMEOUT = { timeoutMs: 180_000 };
const moments = new Moments();
const { backends } = moments;
const world = await realEngine({ plugins: moments.plugins, probe: moments.probe });
const { engine, rootfs, root } = world;
const image = join(world.directory, "disk.img");
await writeFile(image, Buffer.alloc(2 ** 20));
const web = {
  id: "web",
  rootfs,
  command: ["sleep", "600"],
  resources: { vcpus: 1, memory: "128MiB" },
  devices: [{ path: image, target: "/dev/data" }],
};
const empty = await hostView(root);
let cases = 0;

/** Everything that can be seen without asking the guest's kernel. */
async function outside(sandbox: Sandbox) {
  return {
    known: await agentKnows(backends.client(sandbox.id), "web"),
    containers: sandbox.containers().map(({ id, state }) => [id, state]),
    vm: await vmView(backends.grant(sandbox.id)),
    host: await hostView(root),
    state: await stateFiles(root),
    devices: sandbox.devices(),
    size: sizeOf(await sandbox.resources()),
  };
}

function sizeOf({ target, granted, confirmed }: SandboxResources) {
  return { target, granted, vcpus: confirmed?.vcpus };
}

const shared = (async () => {
  const sandbox = await engine.runSandbox({ id: "box" });
  await guestView(sandbox, rootfs); // the first container makes what the guest keeps for the next ones
  // vCPUs that have been plugged in once are parked, and used again: they are there from here on.
  await (await sandbox.run({ ...web, resources: { vcpus: 2, memory: "256MiB" } }))[Symbol.asyncDispose]();
  return { sandbox, before: await outside(sandbox), guestBefore: await guestView(sandbox, rootfs) };
})();

/** Runs work that fails at each moment in turn; whatever of the container still is goes, and the world is as it was before. */
async function eachLeavesNothing(all: readonly Moment[], work: (sandbox: Sandbox, moment: Moment) => Promise<unknown>): Promise<void> {
  const { sandbox, before, guestBefore } = await shared;
  for (const moment of all) {
    try {
      await work(sandbox, moment);
      assert.equal(await outside(sandbox), before, moment);
      cases++;
    } finally {
      moments.disarm();
      if (sandbox.containers().length > 0) await sandbox.container("web")[Symbol.asyncDispose]();
    }
  }
  assert.equal(await guestView(sandbox, rootfs), guestBefore);
}

/** The work fails at the moment, which comes; each time it comes, or only at the first when the undoing comes by it too. */
async function failsAt(moment: Moment, work: () => Promise<unknown>, { message = "injected", once = false } = {}) {
  if (once) moments.armOnce(moment);
  else moments.arm(moment);
  const error = await failureOf(work());
  assert.ok(moments.disarm() > 0, `${moment} did not come`);
  assert.match(error.message, message, moment);
  return error;
}

const stepsOf = (left: readonly { readonly step: string }[] | undefined) => left?.map(({ step }) => step);

const CREATE: readonly (readonly Moment[])[] = [
  ["hook beforeCreate", ...around(["record"]), ...around(["prepare-rootfs", "rootfs.acquire"])],
  ["hook beforeHotplug", ...around(["attach-share", "hypervisor.share.acquire"]), "hook afterAttach"],
  around(["attach-devices", "hypervisor.disk.acquire", "agent.findDisk"]),
  around(["plug-resources", "hypervisor.resizeMemory", "agent.syncResources"]),
  around(["create-guest-container", "agent.createContainer"]),
  [...around(["run-hooks", "commit"]), "hook afterCreate"],
];
assert.equal(
  CREATE_CONTAINER_STEPS.filter((step) => !CREATE.flat().includes(`before ${step}`)),
  [],
  "every step has its cases",
);

for (const group of CREATE) {
  s.test(
    `create container leaves nothing on the host, in QEMU and in the guest when it fails ${group.join(", ")}`,
    () =>
      eachLeavesNothing(group, async (sandbox, moment) => {
        const error = await failsAt(moment, () => sandbox.createContainer(web), { once: true });
        assert.equal(error.rollback?.left ?? [], []);
      }),
    TIMEOUT,
  );
}

for (const moment of [
  "before hypervisor.share.acquire",
  "before hypervisor.disk.acquire",
  "before hypervisor.resizeMemory",
  "before agent.createContainer",
]) {
  s.test(
    `create container leaves nothing when its caller gives up 0, 15 or 60 ms after ${moment}`,
    () =>
      eachLeavesNothing(["0", "15", "60"], async (sandbox, afterMs) => {
        const caller = new AbortController();
        moments.arm(moment, () => void setTimeout(() => caller.abort(), Number(afterMs)));
        const end = await sandbox.createContainer(web, { signal: caller.signal }).catch((error: { code: string }) => error.code);
        assert.ok(moments.disarm() >= 1); // the undoing may come by again
        if (typeof end === "string") assert.is(end, "ABORTED");
        else await end.delete(); // it was quicker than its caller
      }),
    TIMEOUT,
  );
}

s.test(
  "a release that fails while a creation rolls back is named in its error, and deleting the container gives it back",
  () =>
    eachLeavesNothing(
      ["prepare-rootfs", "attach-share", "attach-devices", "plug-resources", "create-guest-container"],
      async (sandbox, step) => {
        moments.arm(`release ${step}`);
        const error = await failsAt("before commit", () => sandbox.createContainer(web));
        const left = stepsOf(error.rollback?.left) ?? [];
        assert.ok(left.includes(step), `${step}: ${left}`);
        // A guest that still has the container still uses its disk, which then stays.
        assert.equal(
          [...new Set(left)].filter((each) => each !== step),
          step === "create-guest-container" ? ["attach-devices"] : [],
          step,
        );
        const container = sandbox.container("web");
        assert.is(container.state, "failed");
        await container.delete();
      },
    ),
  TIMEOUT,
);

const START = ["hook beforeStart", ...around(["start-process", "agent.startContainer", "commit"]), "hook afterStart"];

s.test(
  `start container ends what it started when it fails ${START.join(", ")}`,
  () =>
    eachLeavesNothing(START, async (sandbox, moment) => {
      const container = await sandbox.createContainer(web);
      const error = await failsAt(moment, () => container.start());
      assert.equal(error.rollback?.left ?? [], [], moment);
      await container.start();
      assert.is(container.state, "running");
      await container.stop({ force: true });
      await container.delete();
    }),
  TIMEOUT,
);

s.test(
  "start container that had been stopped plugs it in anew, and undoes that when it fails",
  () =>
    eachLeavesNothing(
      ["after prepare-rootfs", "after attach-share", "after create-guest-container", "after start-process"],
      async (sandbox, moment) => {
        const container = await sandbox.run({ ...web, command: ["true"] });
        await container.wait();
        const error = await failsAt(moment, () => container.start());
        assert.equal(error.rollback?.left, [], moment);
        assert.is(container.state, "stopped");
        await container.delete();
      },
    ),
  TIMEOUT,
);

s.test(
  "start container of a program that is not there, or none, can be deleted and leaves nothing",
  () =>
    eachLeavesNothing(["no-such-program", "/etc"], async (sandbox, program) => {
      const container = await sandbox.createContainer({ ...web, command: [program] });
      const error = await failureOf(container.start());
      assert.match(error.code, /^COMMAND_NOT_/);
      assert.equal(error.rollback?.left, []);
      await container.delete();
    }),
  TIMEOUT,
);

const UPDATE = [
  "hook beforeUpdate",
  ...around(["grow-vm", "hypervisor.resizeMemory", "agent.syncResources", "update-guest", "agent.updateContainer", "shrink-vm"]),
  "hook afterUpdate",
  "before commit",
];

s.test(
  `update container changes nothing, in the VM, the guest or the ledger, when it fails ${UPDATE.join(", ")}`,
  () =>
    eachLeavesNothing(UPDATE, async (sandbox, moment) => {
      await using shell = await guestShell(sandbox, web);
      const look = async () => [await ownLimits(shell), sizeOf(await sandbox.resources()), shell.container.status().resources];
      const before = await look();
      const error = await failsAt(moment, () => shell.container.update({ vcpus: 2, memory: "256MiB", pids: 30 }), { once: true });
      assert.equal(error.rollback?.left ?? [], [], moment);
      assert.equal(await look(), before, moment);
      await shell.container.update({ vcpus: 2, memory: "256MiB", pids: 30 });
      assert.equal((await ownLimits(shell)).pids, "30");
    }),
  TIMEOUT,
);

const ADD = [
  "hook beforeHotplug",
  ...around(["attach-devices", "hypervisor.disk.acquire", "agent.findDisk"]),
  "hook afterAttach",
  "before commit",
  "after commit",
];

s.test(
  `add device leaves nothing when it fails ${ADD.join(", ")}, and remove device is done when it is asked again`,
  () =>
    eachLeavesNothing(ADD, async (sandbox, moment) => {
      const error = await failsAt(moment, () => sandbox.addDevice({ path: image }), { once: true });
      assert.equal(error.rollback?.left ?? [], [], moment);
      assert.equal(sandbox.devices(), []);
      const { id } = await sandbox.addDevice({ path: image });
      await failsAt("before hypervisor.disk.release", () => sandbox.removeDevice(id), { message: "left are" });
      await sandbox.removeDevice(id);
    }),
  TIMEOUT,
);

const STOP = ["hook beforeStop", ...around(["agent.signalProcess"]), "hook afterStop"];

s.test(
  `stop container that fails ${STOP.join(", ")} succeeds when it is asked again`,
  () =>
    eachLeavesNothing(STOP, async (sandbox, moment) => {
      const container = await sandbox.run(web);
      const stop = () => container.stop({ timeoutMs: 100 });
      await failsAt(moment, stop);
      await stop();
      assert.is(container.state, "stopped");
      await container.delete();
    }),
  TIMEOUT,
);

const DELETE: Readonly<Record<Moment, string>> = {
  "release create-guest-container": "create-guest-container",
  "before agent.removeContainer": "create-guest-container",
  "after agent.removeContainer": "create-guest-container",
  "release attach-share": "attach-share",
  "before hypervisor.share.release": "attach-share",
  "after hypervisor.share.release": "attach-share",
  "release prepare-rootfs": "prepare-rootfs",
  "before rootfs.release": "prepare-rootfs",
  "after rootfs.release": "prepare-rootfs",
};

s.test(
  `delete container names exactly what is left when it fails ${Object.keys(DELETE).join(", ")}, and gives it back when it is asked again`,
  () =>
    eachLeavesNothing(Object.keys(DELETE), async (sandbox, moment) => {
      const container = await sandbox.createContainer(web);
      const error = await failsAt(moment, () => container.delete(), { message: "left are" });
      assert.is(error.code, "RELEASE_INCOMPLETE");
      assert.is(container.state, "failed");
      const left = new Set(stepsOf((await sandbox.status()).left));
      const uses = DELETE[moment] === "create-guest-container" && moment !== "after agent.removeContainer";
      assert.equal([...left].sort(), [...(uses ? ["attach-devices"] : []), DELETE[moment]], moment);
      await container.delete();
    }),
  TIMEOUT,
);

s.test(
  "delete container that a tap refuses can be deleted when it does not any more",
  () =>
    eachLeavesNothing(["hook beforeDelete", "hook beforeHotplug", "hook afterDelete"], async (sandbox, moment) => {
      const container: Container = await sandbox.createContainer(web);
      await failsAt(moment, () => container.delete());
      await container.delete();
    }),
  TIMEOUT,
);

s.test(
  "the end of the sandbox leaves nothing",
  async () => {
    const { sandbox } = await shared;
    await sandbox.stop();
    await sandbox.delete();
    assert.equal(await hostView(root), empty);
    assert.equal(await stateFiles(root), []);
    await world[Symbol.asyncDispose]();
    console.log(`${cases} faults in containers on real QEMU`);
  },
  TIMEOUT,
);

s.run();
