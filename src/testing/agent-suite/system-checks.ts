import assert from "node:assert/strict";
import { MiB } from "../../base/units.ts";
import type { GuestProcessId } from "../../contracts/agent.ts";
import type { CheckOn } from "../conformance/checks.ts";
import { begun, failure, firedCall, rejects } from "../conformance/expect.ts";
import { quietCall } from "../quiet-call.ts";
import { refuses } from "./expect-status.ts";
import { type AgentFixture, type AgentWorld, unlessIdle, withSandbox } from "./fixture.ts";

/** Uses more and more memory, until it is killed. */
const GREEDY = "x=a; while :; do x=$x$x; done";
const SIGKILL = 9;
/** A call that waits for what the check does meanwhile. */
const patientCall = () => quietCall({ timeoutMs: 60_000 });
const FILE = { path: "/run/kata-containers/copied/in/file", mode: 0o640, directoryMode: 0o750, uid: 0, gid: 0 };

/** The guest as a machine. */
export function systemChecks(check: CheckOn<AgentFixture>): void {
  const checkIn = (behaviour: string, body: (world: AgentWorld) => Promise<void>) =>
    check(behaviour, (fixture) => withSandbox(fixture, body));

  checkIn("check() resolves as often as it is asked, and ends with its caller", async ({ client }) => {
    for (let time = 0; time < 2; time++) await client.check(quietCall());
    await failure("check() with a fired signal", client.check(firedCall()));
  });

  checkIn("reseedRandom() takes 1 byte to 64 KiB", async ({ client }) => {
    for (const bytes of [1, 65_536]) await client.reseedRandom(Buffer.alloc(bytes, 7), quietCall());
    for (const bytes of [0, 65_537]) {
      await rejects(`reseedRandom() with ${bytes} bytes`, client.reseedRandom(Buffer.alloc(bytes), quietCall()), "INVALID_INPUT");
    }
  });

  checkIn("setTime() sets the clock, and refuses what is no time", async ({ client }) => {
    await client.setTime(Date.now(), quietCall());
    for (const bad of [-1, Number.NaN, Number.POSITIVE_INFINITY]) {
      await rejects(`setTime(${bad})`, client.setTime(bad, quietCall()), "INVALID_INPUT");
    }
  });

  checkIn("probeMemory() refuses what is no address, and a guest that finds memory itself refuses all", async ({ client }) => {
    for (const bad of [-1, 0.5, 2 ** 53]) {
      await rejects(`probeMemory([${bad}])`, client.probeMemory([bad], quietCall()), "INVALID_INPUT");
    }
    const [probed] = await Promise.allSettled([client.probeMemory([], quietCall())]);
    if (probed.status === "rejected") await refuses("probeMemory()", client.probeMemory([], quietCall()), "FAILED_PRECONDITION");
  });

  checkIn("tracing stops only after it has been started, and starts once", async ({ client }) => {
    const stop = () => client.stopTracing(quietCall());
    await refuses("stopTracing() before a start", stop(), "FAILED_PRECONDITION");
    const [started] = await Promise.allSettled([client.startTracing(quietCall())]);
    await refuses("startTracing() when it has been started, or cannot be", client.startTracing(quietCall()), "FAILED_PRECONDITION");
    if (started.status === "fulfilled") await stop();
    await refuses("stopTracing() after a stop", stop(), "FAILED_PRECONDITION");
  });

  checkIn("nextOom() waits until memory runs out in a container, and says in which", async (world) => {
    const { client } = world;
    const told = begun(client.nextOom(patientCall()));
    assert.equal(await client.waitProcess(await world.run("calm", ["true"]), quietCall()), 0);
    assert.equal(await unlessIdle(told), undefined, "nothing has happened");
    await greedy(world, "greedy");
    assert.equal(await told, "greedy");
  });

  checkIn("nextOom() tells what happened while nobody asked, once, also of a container that is gone", async (world) => {
    const { client } = world;
    const first = begun(client.nextOom(patientCall()));
    await greedy(world, "first");
    assert.equal(await first, "first");
    await greedy(world, "second");
    await client.removeContainer("second", quietCall());
    assert.equal(await client.nextOom(patientCall()), "second");
    const giveUp = new AbortController();
    const nothing = begun(client.nextOom(quietCall({ signal: giveUp.signal })));
    assert.equal(await unlessIdle(nothing), undefined, "it was told twice");
    giveUp.abort(new Error("the caller gave up"));
    await failure("nextOom() whose caller gave up", nothing);
  });

  checkIn("each event is given to one of several who wait, and none is lost to one who gave up", async (world) => {
    const { client } = world;
    const giveUp = new AbortController();
    const gone = begun(client.nextOom(quietCall({ signal: giveUp.signal })));
    await unlessIdle(gone);
    giveUp.abort(new Error("the caller gave up"));
    await failure("nextOom() whose caller gave up", gone);
    const waiting = [begun(client.nextOom(patientCall())), begun(client.nextOom(patientCall()))];
    for (const id of ["one", "two"]) await greedy(world, id);
    assert.deepEqual((await Promise.all(waiting)).sort(), ["one", "two"]);
  });

  checkIn("nextOom() ends with the sandbox, and needs one", async ({ client }) => {
    const waiting = begun(client.nextOom(patientCall()));
    await unlessIdle(waiting);
    await client.destroySandbox(quietCall());
    await refuses("nextOom() when the sandbox is destroyed", waiting, "NOT_FOUND");
    await refuses("nextOom() without a sandbox", client.nextOom(patientCall()), "FAILED_PRECONDITION");
  });

  checkIn("copyFile() writes a file that a container can be given, in as many pieces as there are", async (world) => {
    const { client } = world;
    for (const [index, pieces] of [[], ["a"], ["a", "", "bc"]].entries()) {
      const content = pieces.map((piece) => Buffer.from(piece));
      await client.copyFile({ ...FILE, bytes: Buffer.concat(content).length }, content, quietCall());
      assert.equal(await exitOf(world, `reader-${index}`, FILE.path), 0);
    }
  });

  checkIn("copyFile() of more or less than was said makes no file, and none outside of the open directories", async (world) => {
    const { client } = world;
    const file = { ...FILE, path: "/run/kata-containers/copied/not", bytes: 2 };
    for (const content of ["a", "abc"]) {
      await rejects("copyFile() of another length", client.copyFile(file, [Buffer.from(content)], quietCall()), "INVALID_INPUT");
    }
    await failure("a container with a file that is not there", exitOf(world, "reader", file.path));
    await client.removeContainer("reader", quietCall());
    await refuses("copyFile() elsewhere", client.copyFile({ ...file, path: "/etc/passwd" }, [Buffer.from("ab")], quietCall()));
    const above = { ...file, path: "/run/kata-containers/../../etc/passwd" };
    await rejects("copyFile() with ..", client.copyFile(above, [Buffer.from("ab")], quietCall()), "INVALID_INPUT");
  });

  checkIn("a sandbox that asks for what there is not is not made, and one that asks for what there is, is", async ({ client }) => {
    await client.destroySandbox(quietCall());
    const plain = { hostname: "box", sandbox: "box", storages: [] };
    for (const bad of [
      { kernelModules: [{ name: "no_such_module" }] },
      { dns: ["nameserver 10.0.2.3\nevil"] },
      { guestHookPath: "hooks" },
    ]) {
      await refuses(`createSandbox() with ${JSON.stringify(bad)}`, client.createSandbox({ ...plain, ...bad }, quietCall()));
    }
    const good = { dns: ["nameserver 10.0.2.3", "search box"], guestHookPath: "/no/such/hooks", kernelModules: [{ name: "loop" }] };
    await client.createSandbox({ ...plain, ...good }, quietCall());
  });
}

/** Runs a container until its memory has run out. */
async function greedy({ client, fixture }: AgentWorld, id: string): Promise<void> {
  const request = await fixture.container(id, ["sh", "-c", GREEDY]);
  const linux = { ...request.spec.linux, resources: { ...request.spec.linux.resources, memory: { limit: 24 * MiB } } };
  await client.createContainer({ ...request, spec: { ...request.spec, linux } }, quietCall());
  await client.startContainer(id, quietCall());
  assert.equal(await client.waitProcess(processOf(id), quietCall()), 128 + SIGKILL);
}

/** How a container that is given the file ends; it is removed then. */
async function exitOf({ client, fixture }: AgentWorld, id: string, path: string): Promise<number> {
  const request = await fixture.container(id, ["true"]);
  const mount = { destination: "/file", type: "bind", source: path, options: ["bind", "ro"] };
  await client.createContainer({ ...request, spec: { ...request.spec, mounts: [...request.spec.mounts, mount] } }, quietCall());
  await client.startContainer(id, quietCall());
  const code = await client.waitProcess(processOf(id), quietCall());
  await client.removeContainer(id, quietCall());
  return code;
}

function processOf(container: string): GuestProcessId {
  return { container, exec: container };
}
