import type { Container, Sandbox } from "tapvisor";
import { CREATE_CONTAINER_STEPS } from "../../src/container/create.ts";
import { START_CONTAINER_STEPS } from "../../src/container/start.ts";
import { UPDATE_CONTAINER_STEPS } from "../../src/container/update.ts";
import { ADD_DEVICE_STEPS } from "../../src/device/sandbox-devices.ts";
import type { ContainerRecord } from "../../src/engine/record.ts";
import { CREATE_SANDBOX_STEPS } from "../../src/sandbox/create.ts";
import { START_SANDBOX_STEPS } from "../../src/sandbox/start.ts";
import { RESTORE_STEPS } from "../../src/snapshot/restore.ts";
import { SAVE_SNAPSHOT_STEPS } from "../../src/snapshot/save.ts";
import { BUILD_TEMPLATE_STEPS } from "../../src/template/build.ts";
import type { Everything, FakeEngine } from "./fake-engine.ts";

/** One operation: how the world is prepared for it, and how it is done. */
export interface Scenario {
  readonly name: string;
  /** The operation's own tuple of steps; all scenarios of one tuple together have to reach each. A release has none. */
  readonly steps: readonly string[];
  /**
   * What a failure that left nothing leads to: `back` to the world as it was; or `onward`, since what has been given back is not taken again, and
   * doing it again gets to the end.
   */
  readonly failure: "back" | "onward";
  /** Sandboxes go on from templates. */
  readonly templates?: true;
  /** What it makes is no sandbox that can be opened when it failed: `gc` takes away what is left of it. */
  readonly makes?: true;
  /** `false`: what one fault shows is enough, since another scenario has the pairs. */
  readonly pairs?: false;
  prepare(fake: FakeEngine): Promise<Act>;
  /** Where the world before and the one after a failure may differ, taken out of both. */
  readonly unlike?: (everything: Everything) => unknown;
}

export type Act = (signal?: AbortSignal) => Promise<unknown>;

const cancel = (signal?: AbortSignal) => (signal ? { signal } : {});
const web = ({ rootfs }: FakeEngine, command: readonly string[] = ["sleep", "60"]) => ({ id: "web", rootfs, command: [...command] });

/** One that has everything plugged in: files, a disk, vCPUs and memory. */
const full = (fake: FakeEngine, command?: readonly string[]) => ({
  ...web(fake, command),
  resources: { vcpus: 2, memory: "256MiB" },
  devices: [{ path: fake.image, target: "/dev/data" }],
});

const FROM_TEMPLATE = { template: true, boot: { retries: 0 } } as const;

/** With a container that runs on a disk and writes to another, as can be carried over. */
async function diskSandbox(fake: FakeEngine): Promise<Sandbox> {
  const sandbox = await runningSandbox(fake);
  const disks = { rootfs: { block: fake.image, fstype: "ext4" }, devices: [{ path: fake.otherImage, target: "/dev/data" }] };
  await sandbox.run({ id: "web", command: ["sleep", "60"], resources: { vcpus: 2, memory: "256MiB" }, ...disks });
  return sandbox;
}

async function runningSandbox({ engine }: FakeEngine): Promise<Sandbox> {
  return engine.runSandbox({ id: "box", boot: { retries: 0 } });
}

/** Created, run to its end, and so stopped with its files still plugged in. */
async function endedContainer(fake: FakeEngine): Promise<Container> {
  const sandbox = await runningSandbox(fake);
  fake.world.programs.once = () => 3;
  const container = await sandbox.run(full(fake, ["once"]));
  await container.wait();
  while ((await fake.everything()).records.some(({ holdings }) => holdings.some(({ kind }) => kind === "resources")))
    await new Promise((resolve) => setImmediate(resolve));
  return container;
}

/**
 * A container that failed to start is `stopped`, whatever it was before, and its share of the VM given back; its process in the guest may have come
 * and gone.
 */
function asStopped({ world, records, files }: Everything): unknown {
  const stopped = ({ exitCode: _, ...container }: ContainerRecord) => ({ ...container, state: "stopped" });
  const vms = world.vms.map(({ guest, vcpus: _, onlineVcpus: __, memoryBytes: ___, ...vm }) => ({
    ...vm,
    guest: { ...guest, containers: guest.containers.map((each) => ({ ...each, state: "any", exitCode: 0 })) },
  }));
  const changed = records.map(({ granted: _, ...record }) => ({
    ...record,
    holdings: record.holdings.filter(({ kind }) => kind !== "resources"),
    containers: Object.fromEntries(Object.entries(record.containers).map(([id, container]) => [id, stopped(container)])),
  }));
  return { vms, records: changed, files };
}

/** Values that stand for no limit: an update sends every field of a part, a creation only those that are set. */
const UNLIMITED: Readonly<Record<string, unknown>> = { limit: -1, reservation: 0, swap: -1, quota: -1, shares: 1024, cpus: "" };

/** What limits are in force, however they have been written. */
function inForce({ world, records, files }: Everything): unknown {
  const part = (limits: object) =>
    Object.entries(limits)
      .filter(([name, value]) => UNLIMITED[name] !== value)
      .sort();
  const limited = (limits: object) =>
    Object.entries(limits)
      .map(([name, of]) => [name, part(of)] as const)
      .filter(([, of]) => of.length > 0)
      .sort();
  const vms = world.vms.map(({ guest, ...vm }) => ({
    ...vm,
    guest: { ...guest, containers: guest.containers.map(({ limits, ...each }) => ({ ...each, limits: limited(limits) })) },
  }));
  return { vms, records, files };
}

/** What starting a stopped container gives back first stays given back when it fails. */
function withoutContainers({ world, records, files }: Everything): unknown {
  const vms = world.vms.map((vm) => ({ ...vm, shares: [], disks: [], guest: { ...vm.guest, containers: [] } }));
  const own = records.map((record) => ({
    ...record,
    devices: {},
    holdings: record.holdings.filter(({ container }) => container === undefined),
    containers: Object.values(record.containers).map(({ id, state }) => [id, state]),
  }));
  return { vms, records: own, files };
}

export const SCENARIOS: readonly Scenario[] = [
  {
    name: "create sandbox",
    makes: true,
    steps: CREATE_SANDBOX_STEPS,
    failure: "back",
    prepare:
      async ({ engine }) =>
      (signal) =>
        engine.createSandbox({ id: "box", boot: { retries: 0 } }, cancel(signal)),
  },
  {
    name: "start ready sandbox",
    steps: START_SANDBOX_STEPS,
    failure: "back",
    async prepare({ engine }) {
      const sandbox = await engine.createSandbox({ id: "box" });
      return (signal) => sandbox.start(cancel(signal));
    },
  },
  {
    name: "start stopped sandbox",
    steps: START_SANDBOX_STEPS,
    failure: "back",
    async prepare({ engine }) {
      const sandbox = await engine.createSandbox({ id: "box", boot: { retries: 0 } });
      await sandbox.stop();
      return (signal) => sandbox.start(cancel(signal));
    },
  },
  {
    name: "create sandbox from a template",
    makes: true,
    steps: CREATE_SANDBOX_STEPS,
    failure: "back",
    templates: true,
    async prepare({ engine }) {
      await engine.buildTemplate(FROM_TEMPLATE);
      return (signal) => engine.createSandbox({ ...FROM_TEMPLATE, id: "box" }, cancel(signal));
    },
  },
  {
    name: "start stopped sandbox from a template",
    steps: START_SANDBOX_STEPS,
    failure: "back",
    templates: true,
    async prepare({ engine }) {
      const sandbox = await engine.createSandbox({ ...FROM_TEMPLATE, id: "box" });
      await sandbox.stop();
      return (signal) => sandbox.start(cancel(signal));
    },
  },
  {
    name: "build template",
    makes: true,
    steps: BUILD_TEMPLATE_STEPS,
    failure: "back",
    templates: true,
    async prepare({ engine }) {
      await engine.buildTemplate({ memory: "256MiB" }); // so that its directory is there before and after
      return (signal) => engine.buildTemplate(FROM_TEMPLATE, cancel(signal));
    },
  },
  {
    name: "fork sandbox",
    makes: true,
    steps: RESTORE_STEPS,
    failure: "back",
    async prepare(fake) {
      const sandbox = await diskSandbox(fake);
      return (signal) => sandbox.fork({ id: "copy", ...cancel(signal) });
    },
  },
  {
    name: "save snapshot",
    steps: SAVE_SNAPSHOT_STEPS,
    failure: "back",
    async prepare(fake) {
      const sandbox = await diskSandbox(fake);
      return (signal) => sandbox.snapshot(`${fake.directory}/saved`, cancel(signal));
    },
  },
  {
    name: "create container",
    steps: CREATE_CONTAINER_STEPS,
    failure: "back",
    async prepare(fake) {
      const sandbox = await runningSandbox(fake);
      return (signal) => sandbox.createContainer(full(fake), cancel(signal));
    },
  },
  {
    name: "create container with two disks",
    steps: CREATE_CONTAINER_STEPS,
    failure: "back",
    pairs: false,
    async prepare(fake) {
      const sandbox = await runningSandbox(fake);
      const options = { ...full(fake), mounts: [{ block: fake.otherImage, target: "/data" }] };
      return (signal) => sandbox.createContainer(options, cancel(signal));
    },
  },
  {
    name: "run container",
    steps: START_CONTAINER_STEPS,
    failure: "back",
    async prepare(fake) {
      const sandbox = await runningSandbox(fake);
      return (signal) => sandbox.run(full(fake), cancel(signal));
    },
  },
  {
    name: "start ready container",
    steps: START_CONTAINER_STEPS,
    failure: "back",
    unlike: asStopped,
    async prepare(fake) {
      const container = await (await runningSandbox(fake)).createContainer(full(fake));
      return (signal) => container.start(cancel(signal));
    },
  },
  {
    name: "start stopped container",
    steps: START_CONTAINER_STEPS,
    failure: "back",
    unlike: withoutContainers,
    async prepare(fake) {
      const container = await endedContainer(fake);
      fake.world.programs.once = async ({ signal }) => new Promise((resolve) => signal.addEventListener("abort", () => resolve(0)));
      return (signal) => container.start(cancel(signal));
    },
  },
  {
    name: "pause sandbox",
    steps: [],
    failure: "back",
    async prepare(fake) {
      const sandbox = await runningSandbox(fake);
      return (signal) => sandbox.pause(cancel(signal));
    },
  },
  {
    name: "resume sandbox",
    steps: [],
    failure: "back",
    async prepare(fake) {
      const sandbox = await runningSandbox(fake);
      await sandbox.pause();
      return (signal) => sandbox.resume(cancel(signal));
    },
  },
  {
    name: "update container",
    steps: UPDATE_CONTAINER_STEPS,
    failure: "back",
    unlike: inForce,
    async prepare(fake) {
      const container = await (await runningSandbox(fake)).run(full(fake));
      return (signal) => container.update({ vcpus: 3, memory: "512MiB", pids: 100 }, cancel(signal));
    },
  },
  {
    name: "update ready container",
    steps: UPDATE_CONTAINER_STEPS,
    failure: "back",
    unlike: inForce,
    async prepare(fake) {
      const container = await (await runningSandbox(fake)).createContainer(full(fake));
      return (signal) => container.update({ vcpus: 1, memory: null }, cancel(signal));
    },
  },
  {
    name: "pause container",
    steps: [],
    failure: "back",
    async prepare(fake) {
      const container = await (await runningSandbox(fake)).run(web(fake));
      return (signal) => container.pause(cancel(signal));
    },
  },
  {
    name: "resume container",
    steps: [],
    failure: "back",
    async prepare(fake) {
      const container = await (await runningSandbox(fake)).run(web(fake));
      await container.pause();
      return (signal) => container.resume(cancel(signal));
    },
  },
  {
    name: "add device",
    steps: ADD_DEVICE_STEPS,
    failure: "back",
    async prepare(fake) {
      const sandbox = await runningSandbox(fake);
      return (signal) => sandbox.addDevice({ path: fake.image }, cancel(signal));
    },
  },
  {
    name: "remove device",
    steps: [],
    failure: "onward",
    async prepare(fake) {
      const sandbox = await runningSandbox(fake);
      const { id } = await sandbox.addDevice({ path: fake.image });
      return (signal) => sandbox.removeDevice(id, cancel(signal));
    },
  },
  {
    name: "stop container",
    steps: [],
    failure: "onward",
    async prepare(fake) {
      const container = await (await runningSandbox(fake)).run(full(fake));
      return (signal) => container.stop(cancel(signal));
    },
  },
  {
    name: "stop container by force",
    steps: [],
    failure: "onward",
    async prepare(fake) {
      const container = await (await runningSandbox(fake)).run(full(fake));
      return (signal) => container.stop({ force: true, ...cancel(signal) });
    },
  },
  {
    name: "delete container",
    steps: [],
    failure: "onward",
    async prepare(fake) {
      const container = await endedContainer(fake);
      return (signal) => container.delete(cancel(signal));
    },
  },
  {
    name: "stop sandbox",
    steps: [],
    failure: "onward",
    async prepare(fake) {
      const sandbox = await runningSandbox(fake);
      await sandbox.run(full(fake));
      await sandbox.createContainer({ ...web(fake), id: "ready" });
      return (signal) => sandbox.stop(cancel(signal));
    },
  },
  {
    name: "stop sandbox by force",
    steps: [],
    failure: "onward",
    async prepare(fake) {
      const sandbox = await runningSandbox(fake);
      await sandbox.run(web(fake));
      return (signal) => sandbox.stop({ force: true, ...cancel(signal) });
    },
  },
  {
    name: "delete sandbox",
    steps: [],
    failure: "onward",
    async prepare(fake) {
      const sandbox = await fake.engine.createSandbox({ id: "box" });
      await sandbox.createContainer(web(fake));
      return (signal) => sandbox.delete(cancel(signal));
    },
  },
];
