import type { Container, Sandbox } from "tapvisor";
import { CREATE_CONTAINER_STEPS } from "../../src/container/create.ts";
import { START_CONTAINER_STEPS } from "../../src/container/start.ts";
import type { ContainerRecord } from "../../src/engine/record.ts";
import { CREATE_SANDBOX_STEPS } from "../../src/sandbox/create.ts";
import { START_SANDBOX_STEPS } from "../../src/sandbox/start.ts";
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
  prepare(fake: FakeEngine): Promise<Act>;
  /** Where the world before and the one after a failure may differ, taken out of both. */
  readonly unlike?: (everything: Everything) => unknown;
}

export type Act = (signal?: AbortSignal) => Promise<unknown>;

const cancel = (signal?: AbortSignal) => (signal ? { signal } : {});
const web = ({ rootfs }: FakeEngine, command: readonly string[] = ["sleep", "60"]) => ({ id: "web", rootfs, command: [...command] });

async function runningSandbox({ engine }: FakeEngine): Promise<Sandbox> {
  return engine.runSandbox({ id: "box", boot: { retries: 0 } });
}

/** Created, run to its end, and so stopped with its files still plugged in. */
async function endedContainer(fake: FakeEngine): Promise<Container> {
  const sandbox = await runningSandbox(fake);
  fake.world.programs.once = () => 3;
  const container = await sandbox.run(web(fake, ["once"]));
  await container.wait();
  while (container.state !== "stopped") await new Promise((resolve) => setImmediate(resolve));
  return container;
}

/** A container that failed to start is `stopped`, whatever it was before; its process in the guest may have come and gone. */
function asStopped({ world, records, files }: Everything): unknown {
  const stopped = ({ exitCode: _, ...container }: ContainerRecord) => ({ ...container, state: "stopped" });
  const vms = world.vms.map(({ guest, ...vm }) => ({
    ...vm,
    guest: { ...guest, containers: guest.containers.map((each) => ({ ...each, state: "any", exitCode: 0 })) },
  }));
  const changed = records.map((record) => ({
    ...record,
    containers: Object.fromEntries(Object.entries(record.containers).map(([id, container]) => [id, stopped(container)])),
  }));
  return { vms, records: changed, files };
}

/** What starting a stopped container gives back first stays given back when it fails. */
function withoutContainers({ world, records, files }: Everything): unknown {
  const vms = world.vms.map((vm) => ({ ...vm, shares: [], guest: { ...vm.guest, containers: [] } }));
  const own = records.map((record) => ({
    ...record,
    holdings: record.holdings.filter(({ container }) => container === undefined),
    containers: Object.values(record.containers).map(({ id, state }) => [id, state]),
  }));
  return { vms, records: own, files };
}

export const SCENARIOS: readonly Scenario[] = [
  {
    name: "create sandbox",
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
    name: "create container",
    steps: CREATE_CONTAINER_STEPS,
    failure: "back",
    async prepare(fake) {
      const sandbox = await runningSandbox(fake);
      return (signal) => sandbox.createContainer(web(fake), cancel(signal));
    },
  },
  {
    name: "run container",
    steps: START_CONTAINER_STEPS,
    failure: "back",
    async prepare(fake) {
      const sandbox = await runningSandbox(fake);
      return (signal) => sandbox.run(web(fake), cancel(signal));
    },
  },
  {
    name: "start ready container",
    steps: START_CONTAINER_STEPS,
    failure: "back",
    unlike: asStopped,
    async prepare(fake) {
      const container = await (await runningSandbox(fake)).createContainer(web(fake));
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
    name: "stop container",
    steps: [],
    failure: "onward",
    async prepare(fake) {
      const container = await (await runningSandbox(fake)).run(web(fake));
      return (signal) => container.stop(cancel(signal));
    },
  },
  {
    name: "stop container by force",
    steps: [],
    failure: "onward",
    async prepare(fake) {
      const container = await (await runningSandbox(fake)).run(web(fake));
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
      await sandbox.run(web(fake));
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
