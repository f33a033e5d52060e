import fc from "fast-check";
import { isTapvisorError, type Sandbox, type TapvisorError } from "tapvisor";
import * as assert from "uvu/assert";
import { type FakeEngine, fakeEngine } from "../support/fake-engine.ts";
import { quiet } from "../support/fault-case.ts";
import { type Fault, Injector } from "../support/injector.ts";
import { disagreements } from "../support/ledger.ts";
import { suite } from "../support/suite.ts";

const s = suite("model");

const SEQUENCES = 2_000;
const IDS = ["a", "b", "c"] as const;
type Id = (typeof IDS)[number];

/** What a script can know: which things exist and in which state. */
interface Model {
  sandbox: string;
  readonly containers: Map<Id, string>;
}

const SANDBOX_VERBS = ["create", "start", "pause", "resume", "stop", "stop by force", "delete", "gc", "kill VM", "disk"] as const;
const CONTAINER_VERBS = ["create", "run", "start", "update", "pause", "resume", "stop", "stop by force", "kill", "delete"] as const;
/** What each container asks of the VM: all three have the same disk. */
const RESOURCES = { a: { vcpus: 1 }, b: { vcpus: 2, memory: "128MiB" }, c: { memory: "300MiB" } } as const;

type Command = { readonly fault: Fault | undefined } & (
  | { readonly on: "sandbox"; readonly verb: (typeof SANDBOX_VERBS)[number] }
  | { readonly on: Id; readonly verb: (typeof CONTAINER_VERBS)[number] }
);

const fault: fc.Arbitrary<Fault | undefined> = fc.option(
  fc.record({
    at: fc.constant("*"),
    nth: fc.oneof(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 1, max: 25 })),
    mode: fc.constantFrom("before" as const, "after" as const, "abort" as const),
    persists: fc.boolean(),
  }),
  { nil: undefined, freq: 4 },
);

/** The verbs that lead to somewhere come oftener than the others. */
const sandboxVerb = fc.oneof(fc.constantFrom("create" as const, "start" as const), fc.constantFrom(...SANDBOX_VERBS));
const containerVerb = fc.oneof(fc.constantFrom("create" as const, "run" as const, "start" as const), fc.constantFrom(...CONTAINER_VERBS));
const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 1, arbitrary: fc.record({ on: fc.constant("sandbox" as const), verb: sandboxVerb, fault }) },
  { weight: 2, arbitrary: fc.record({ on: fc.constantFrom(...IDS), verb: containerVerb, fault }) },
);

/** Does a command; `undefined` when it cannot even be said, since there is no object to say it to. */
async function perform(
  fake: FakeEngine,
  sandbox: Sandbox | undefined,
  { on, verb }: Command,
  signal: AbortSignal,
): Promise<Sandbox | undefined> {
  if (on === "sandbox") {
    if (verb === "create") return fake.engine.createSandbox({ id: "box", boot: { retries: 0 } }, { signal });
    if (verb === "gc") await fake.engine.gc();
    if (!sandbox) return undefined;
    if (verb === "start") await sandbox.start({ signal });
    if (verb === "pause") await sandbox.pause({ signal });
    if (verb === "resume") await sandbox.resume({ signal });
    if (verb === "stop") await sandbox.stop({ signal });
    if (verb === "stop by force") await sandbox.stop({ force: true, signal });
    if (verb === "delete") await sandbox.delete({ signal });
    if (verb === "disk") {
      const devices = sandbox.devices().filter(({ path }) => path === fake.otherImage);
      if (devices.length === 0) await sandbox.addDevice({ path: fake.otherImage }, { signal });
      for (const { id } of devices) await sandbox.removeDevice(id, { signal });
    }
    if (verb === "kill VM") {
      if (fake.world.vm("box")) fake.world.killVm("box");
      await sandbox.status();
    }
    return sandbox;
  }
  if (!sandbox) return undefined;
  const devices = [{ path: fake.image, target: "/dev/data" }];
  const options = { id: on, rootfs: fake.rootfs, command: ["sleep", "60"], resources: RESOURCES[on], devices };
  if (verb === "create") await sandbox.createContainer(options, { signal });
  else if (verb === "run") await sandbox.run(options, { signal });
  else {
    const container = sandbox.container(on);
    if (verb === "start") await container.start({ signal });
    if (verb === "update") await container.update({ vcpus: 3, memory: on === "a" ? "64MiB" : null }, { signal });
    if (verb === "pause") await container.pause({ signal });
    if (verb === "resume") await container.resume({ signal });
    if (verb === "stop") await container.stop({ signal });
    if (verb === "stop by force") await container.stop({ force: true, signal });
    if (verb === "kill") await container.kill("SIGKILL", { signal });
    if (verb === "delete") await container.delete({ signal });
  }
  return sandbox;
}

/** What a command does when nothing goes wrong: the error's code, or "ok" with the model changed. */
function predict(model: Model, { on, verb }: Command): string {
  const { sandbox, containers } = model;
  const stopAll = () => {
    for (const [id, state] of containers) if (state !== "failed") containers.set(id, "stopped");
  };
  const to = (state: string) => {
    model.sandbox = state;
    return "ok";
  };
  if (on === "sandbox") {
    if (verb === "create") return sandbox === "none" ? to("ready") : "ALREADY_EXISTS";
    if (verb === "gc" || sandbox === "none") return "ok";
    switch (verb) {
      case "start":
        return sandbox === "running" ? "ok" : sandbox === "ready" || sandbox === "stopped" ? to("running") : "INVALID_STATE";
      case "pause":
        return sandbox === "running" ? to("paused") : "INVALID_STATE";
      case "resume":
        return sandbox === "paused" ? to("running") : "INVALID_STATE";
      case "stop":
      case "stop by force":
        if (sandbox === "failed" || sandbox === "stopped") return "ok";
        stopAll();
        return to("stopped");
      case "disk":
        return sandbox === "ready" || sandbox === "running" ? "ok" : "INVALID_STATE";
      case "delete":
        if (sandbox === "running") return "INVALID_STATE";
        containers.clear();
        return to("none");
      case "kill VM":
        if (!["ready", "running", "paused"].includes(sandbox)) return "ok";
        stopAll();
        return to("stopped");
    }
  }
  if (sandbox === "none") return "ok";
  const state = containers.get(on) ?? "none";
  const put = (next: string) => {
    containers.set(on, next);
    return "ok";
  };
  const up = sandbox === "ready" || sandbox === "running";
  switch (verb) {
    case "create":
      return !up ? "INVALID_STATE" : state === "none" ? put("ready") : "ALREADY_EXISTS";
    case "run":
      if (!up) return "INVALID_STATE";
      if (state !== "none") return "ALREADY_EXISTS";
      return sandbox === "running" ? put("running") : "INVALID_STATE";
  }
  if (state === "none") return "NOT_FOUND";
  switch (verb) {
    case "start":
      return sandbox === "running" && (state === "ready" || state === "stopped") ? put("running") : "INVALID_STATE";
    case "update":
      return up && (state === "ready" || state === "running") ? "ok" : "INVALID_STATE";
    case "pause":
      return sandbox === "running" && state === "running" ? put("paused") : "INVALID_STATE";
    case "resume":
      return sandbox === "running" && state === "paused" ? put("running") : "INVALID_STATE";
    case "stop":
      return state === "stopped" ? "ok" : up && state !== "failed" ? put("stopped") : "INVALID_STATE";
    case "stop by force":
      return state === "failed" ? "INVALID_STATE" : sandbox === "paused" && state !== "stopped" ? "skip" : put("stopped");
    case "kill":
      if (state === "stopped") return "ok";
      if (state === "ready") return "skip"; // nobody follows a process that has not been started
      if (!up || state === "failed") return "INVALID_STATE";
      return put("stopped");
    case "delete":
      if (sandbox === "paused" || state === "running" || state === "paused") return "INVALID_STATE";
      containers.delete(on);
      return "ok";
  }
}

function observe(fake: FakeEngine, sandbox: Sandbox | undefined): Model {
  if (!sandbox || !fake.state.has("box")) return { sandbox: "none", containers: new Map() };
  return { sandbox: sandbox.state, containers: new Map(sandbox.containers().map(({ id, state }) => [id as Id, state])) };
}

const text = ({ sandbox, containers }: Model) => `${sandbox} ${[...containers].sort().join(" ")}`;

/** Where a command that met a fault may have left what it is about; everything else has to be as it was. */
function checkFailure(before: Model, after: Model, { on, verb }: Command, error: TapvisorError | undefined): void {
  const left = leftOf(error);
  if (on === "sandbox") {
    const meant: Model = { sandbox: before.sandbox, containers: new Map(before.containers) };
    predict(meant, { on, verb, fault: undefined } as Command);
    const allowed = [before.sandbox, meant.sandbox, ...(left > 0 || verb === "kill VM" ? ["failed"] : [])];
    assert.ok(allowed.includes(after.sandbox), `${before.sandbox} became ${after.sandbox}, wanted one of ${allowed}`);
    if (left > 0 && verb !== "disk") assert.is(after.sandbox, "failed"); // a disk's remains are no reason to end what runs
    return;
  }
  assert.is(after.sandbox, before.sandbox);
  for (const id of IDS) if (id !== on) assert.is(after.containers.get(id), before.containers.get(id), `${id} has nothing to do with it`);
  const [was, is] = [before.containers.get(on) ?? "none", after.containers.get(on) ?? "none"];
  const onward: Record<string, readonly string[]> = {
    create: [],
    run: [],
    start: ["stopped"],
    update: [],
    pause: ["paused"],
    resume: ["running"],
    kill: ["stopped"],
    delete: ["none"],
  };
  const allowed = [was, ...(onward[verb] ?? ["stopped"]), ...(left > 0 ? ["failed", "stopped", ...(verb === "run" ? ["ready"] : [])] : [])];
  if (verb === "stop by force") allowed.push("failed");
  assert.ok(allowed.includes(is), `${on} was ${was}, became ${is}, wanted one of ${allowed}`);
}

function leftOf(error: TapvisorError | undefined): number {
  if (!error) return 0;
  if (isTapvisorError(error) && error.code === "RELEASE_INCOMPLETE") return error.data.left.length;
  return error.rollback?.left.length ?? 0;
}

const tally = { commands: 0, faults: 0, failures: 0 };

async function play(commands: readonly Command[]): Promise<void> {
  const injector = new Injector();
  await using fake = await fakeEngine({ injector });
  let sandbox: Sandbox | undefined;
  for (const command of commands) {
    const before = observe(fake, sandbox);
    const model: Model = { sandbox: before.sandbox, containers: new Map(before.containers) };
    const wanted = predict(model, command);
    if (wanted === "skip") continue;
    injector.begin(command.fault ? [command.fault] : []);
    let error: TapvisorError | undefined;
    try {
      const made = await perform(fake, sandbox, command, injector.caller.signal);
      sandbox = made ?? sandbox;
    } catch (thrown) {
      if (!isTapvisorError(thrown)) throw thrown;
      error = thrown as TapvisorError;
    }
    await quiet();
    const struck = injector.end().struck.some((times) => times > 0);
    if (command.verb === "kill VM") await sandbox?.status(); // what could not be seen then is seen now
    // One that could not be made and left something is taken up by its id.
    if (!fake.state.has("box")) sandbox = undefined;
    else if (!sandbox || command.verb === "create") sandbox = await fake.engine.sandbox("box");
    const after = observe(fake, sandbox);
    tally.commands++;
    if (struck) {
      tally.faults++;
      // A verb that ignores what fails may still not have got to its end.
      const ignores = command.verb === "stop by force" || command.verb === "kill VM";
      if (!error && !ignores) assert.is(text(after), text(model), `after ${command.verb} of ${command.on} in ${text(before)}`);
      else checkFailure(before, after, command, error);
      if (error) tally.failures++;
    } else {
      assert.is(error?.code ?? "ok", wanted, `${command.verb} of ${command.on} in ${text(before)}: ${error?.message}`);
      if (wanted === "ok") assert.is(text(after), text(model), `after ${command.verb} of ${command.on} in ${text(before)}`);
    }
    assert.equal(disagreements(await fake.everything()), [], `after ${command.verb} of ${command.on} in ${text(before)}`);
  }
  await fake.engine.close();
  await fake.engine.gc();
  const { world, records, files } = await fake.everything();
  assert.equal([world.vms, records, files], [[], [], []]);
}

s.test(
  `${SEQUENCES} random sequences of verbs with random faults keep to the model, and the ledger is true after each verb`,
  async () => {
    const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31);
    console.log(`model: seed ${seed} (SEED=${seed} plays the same sequences again)`);
    await fc.assert(fc.asyncProperty(fc.array(command, { minLength: 1, maxLength: 16, size: "max" }), play), {
      numRuns: SEQUENCES,
      seed,
      includeErrorInReport: true,
    });
    console.log(`model: ${JSON.stringify(tally)}`);
    assert.ok(tally.failures > SEQUENCES / 2, "faults made operations fail");
  },
  { timeoutMs: 240_000 },
);

s.run();
