import { randomUUID } from "node:crypto";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { createEngine, type EngineOptions, type Plugin } from "tapvisor";
import {
  type Bytes,
  currentBootId,
  definePlugin,
  findProcessesByMark,
  type Hypervisor,
  isAlive,
  isTapvisorError,
  signalProcess,
  type VmGrant,
} from "tapvisor/plugin";
import { guestFiles } from "tapvisor/plugins/guest-files";
import { rootfsDir } from "tapvisor/plugins/rootfs-dir";
import { stateFs } from "tapvisor/plugins/state-fs";
import { type HypervisorFixture, hypervisorSuite, quietCall, sweep, withFaults } from "tapvisor/testing";
import * as assert from "uvu/assert";
import hypervisorProcess from "../../../examples/plugins/hypervisor-process/index.ts";
import { providerOf } from "../../support/fake-guest.ts";
import { rejects } from "../../support/rejects.ts";
import { startScript } from "../../support/script.ts";
import { suite } from "../../support/suite.ts";
import { tempDirectory } from "../../support/temp.ts";
import { shellGuest, socketGuest } from "./support/guests.ts";
import { unixAgent } from "./support/unix-agent.ts";

const s = suite("hypervisor-process");

const provider = () => providerOf<Hypervisor>(hypervisorProcess(), "hypervisor", "process");

hypervisorSuite("hypervisor-process", fixture, { suite: s });

async function fixture(): Promise<HypervisorFixture> {
  const temporary = await tempDirectory();
  const [guests, directory, runs] = ["guests", "shared", "runs"].map((name) => join(temporary.path, name)) as [string, string, string];
  for (const each of [guests, directory, runs]) await mkdir(each);
  await writeFile(join(directory, "file"), "of the host");
  let count = 0;
  return {
    hypervisor: await provider(),
    directory,
    async vmIntent(sandbox, guest) {
      count += 1;
      const runDirectory = join(runs, String(count));
      await mkdir(runDirectory);
      const boot = { kernel: await shellGuest(guests, guest), kernelParameters: [], agentPort: "none" };
      return { sandbox, nonce: randomUUID(), runDirectory, vcpus: 1, memoryBytes: 1 as Bytes, boot, detached: false };
    },
    kill: ({ process }) => kill(process),
    snapshot: async () => ({ processes: await machinesOf(guests), files: await filesInRuns(runs) }),
    [Symbol.asyncDispose]: () => temporary[Symbol.asyncDispose](),
  };
}

/** The machines whose guest's path begins so. */
async function machinesOf(guest: string) {
  return (await findProcessesByMark(guest)).map(({ pid }) => pid).sort();
}

async function filesInRuns(runs: string): Promise<readonly string[]> {
  const each = (await readdir(runs)).map(async (run) => (await readdir(join(runs, run))).map((file) => `${run}/${file}`));
  return (await Promise.all(each)).flat().sort();
}

async function kill(process: VmGrant["process"]): Promise<void> {
  if (process === null) throw new Error("a machine without a process");
  await signalProcess(process, "SIGKILL");
  await eventually(async () => !(await isAlive(process)));
}

/** Looks again and again; the test's own deadline ends it. */
async function eventually(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) await delay(5);
}

s.test("a share is a copy that the guest alone can change, apart from that of a later VM; a writable one is refused", async () => {
  await using at = await fixture();
  const { vm, share } = at.hypervisor.holdings;
  if (!share) throw new Error("no shares");
  const intent = await at.vmIntent("box", "quiet");
  const grant = await vm.acquire(intent, quietCall());
  try {
    const entry = { name: "files", source: at.directory, type: "directory", readonly: true } as const;
    const wanted = { sandbox: "box", vm: grant, id: "web", directory: join(intent.runDirectory, "share-web"), entries: [entry] };
    const { guest } = await share.acquire(wanted, quietCall());
    await writeFile(join(at.directory, "file"), "changed");
    assert.is(await readFile(join(guest.source, "files/file"), "utf8"), "of the host");

    const earlier = { ...wanted, vm: { ...grant, nonce: "of-an-earlier-vm-0" } };
    await share.release({ intent: earlier, grant: undefined }, quietCall());
    assert.equal(await readdir(join(guest.source, "files")), ["file"]);

    const writable = { ...wanted, id: "other", entries: [{ ...entry, readonly: false }] };
    await rejects(share.acquire(writable, quietCall()), "VM_COMMAND_FAILED");
    await share.release({ intent: wanted, grant: undefined }, quietCall());
  } finally {
    await vm.release({ intent, grant }, quietCall());
  }
});

/** An engine whose VMs are processes, with records on disk so that a later process finds them. */
async function place() {
  const temporary = await tempDirectory();
  const [root, rootfs] = ["root", "rootfs"].map((name) => join(temporary.path, name)) as [string, string];
  await mkdir(rootfs);
  const kernel = await socketGuest(temporary.path);
  const options = (hypervisor: Plugin, more: readonly Plugin[] = []): EngineOptions => ({
    root,
    preset: {
      name: "process",
      plugins: [hypervisor, guestFiles({ kernel, initrd: kernel }), unixAgent({}), stateFs(), rootfsDir(), ...more],
      slots: { hypervisor: "process", guest: "files", agent: "unix", stateStore: "fs", rootfs: "dir" },
    },
  });
  return {
    path: temporary.path,
    root,
    rootfs,
    kernel,
    open: (...more: readonly Plugin[]) => createEngine(options(hypervisorProcess(), more)),
    openWith: (hypervisor: Plugin, extra: Pick<EngineOptions, "probe"> = {}) => createEngine({ ...options(hypervisor), ...extra }),
    /** What the engines of this place hold on the host. */
    held: async () => ({
      processes: await machinesOf(kernel),
      files: (await readdir(root, { recursive: true }).catch(() => [])).filter((file) => !/^(run|state|state\/locks)$/.test(file)).sort(),
    }),
    [Symbol.asyncDispose]: () => temporary[Symbol.asyncDispose](),
  };
}

const NOTHING = { processes: [], files: [] };

s.test("a sandbox is a process: it runs a container, stops when it is paused, and leaves nothing", async () => {
  await using at = await place();
  {
    await using engine = await at.open();
    await using sandbox = await engine.runSandbox({ id: "box" });
    const web = await sandbox.run({ id: "web", rootfs: at.rootfs, command: ["echo", "hello"] });
    assert.equal([(await web.stdout.text()).trim(), (await web.wait()).exitCode], ["hello", 0]);
    const { pid } = await sandbox.status();
    assert.equal((await at.held()).processes, [pid]);
    await sandbox.pause();
    assert.match(await readFile(`/proc/${pid}/status`, "utf8"), /^State:\s+T/m);
    await sandbox.resume();
    assert.not.match(await readFile(`/proc/${pid}/status`, "utf8"), /^State:\s+T/m);
    await web.delete();
    await sandbox.stop();
    assert.equal((await at.held()).processes, []);
  }
  assert.equal(await at.held(), NOTHING);
});

s.test("a machine that dies is noticed, and its sandbox can start anew", async () => {
  await using at = await place();
  const seen: string[] = [];
  const watching = definePlugin("watching", (ctx) => {
    ctx.hooks.vmExited.tapPromise(async ({ sandbox }) => seen.push(sandbox));
  });
  await using engine = await at.open(watching());
  await using sandbox = await engine.runSandbox({ id: "box" });
  const [machine] = await findProcessesByMark(at.kernel);
  await kill(machine ?? null);
  await eventually(async () => (await sandbox.status()).state === "stopped");
  await sandbox.start();
  assert.is(sandbox.state, "running");
  await eventually(async () => seen.length > 0);
  assert.equal(seen, ["box"]);
});

s.test("a kernel that ends at once fails the boot with what it said, and leaves nothing", async () => {
  await using at = await place();
  await writeFile(at.kernel, "#!/bin/sh\necho 'no root file system'; sleep 0.3; exit 3\n");
  await using engine = await at.open();
  const error = await engine.createSandbox({ boot: { retries: 0 } }).catch((thrown: unknown) => thrown);
  if (!isTapvisorError(error)) throw error;
  assert.ok(["VM_FAILED", "GUEST_BOOT_FAILED"].includes(error.code), error.code); // it may end before it is looked at, or after
  assert.match(error.message, "no root file system");
  assert.equal(error.rollback?.left, []);
  assert.equal(await at.held(), NOTHING);
});

s.test(
  "kill -9 of the script ends its machine; a detached one goes on, is adopted, and given back",
  async () => {
    await using at = await place();
    const url = (path: string) => JSON.stringify(join(import.meta.dirname, path));
    const script = await startScript(
      at.path,
      "script",
      `
      import { createEngine } from "tapvisor";
      import { guestFiles } from "tapvisor/plugins/guest-files";
      import { stateFs } from "tapvisor/plugins/state-fs";
      import hypervisorProcess from ${url("../../../examples/plugins/hypervisor-process/index.ts")};
      import { unixAgent } from ${url("support/unix-agent.ts")};
      const kernel = ${JSON.stringify(at.kernel)};
      const engine = await createEngine({
        root: ${JSON.stringify(at.root)},
        preset: "fake",
        plugins: [hypervisorProcess(), guestFiles({ kernel, initrd: kernel }), unixAgent({}), stateFs()],
        config: { slots: { hypervisor: "process", guest: "files", agent: "unix", stateStore: "fs" } },
      });
      await engine.runSandbox({ id: "attached" });
      await engine.runSandbox({ id: "kept", detached: true });
      console.log("up");
      setInterval(() => {}, 1000);
      `,
    );
    await script.line("up");
    const before = (await at.held()).processes.length;
    script.child.kill("SIGKILL");
    await script.ended;
    await eventually(async () => (await at.held()).processes.length === 1);
    assert.is(before, 2);
    {
      await using engine = await at.open();
      assert.equal((await engine.gc()).collected, ["attached"]);
      const kept = await engine.sandbox("kept");
      assert.is(kept.state, "running");
      assert.is((await at.held()).processes.length, 1);
      await kept.stop({ force: true });
      await kept.delete();
    }
    assert.equal(await at.held(), NOTHING);
  },
  { timeoutMs: 60_000 },
);

s.test("the findings of inspectHost name what is missing, and the package that has it", async () => {
  const path = process.env.PATH;
  const hypervisor = await provider();
  assert.equal(
    (await hypervisor.inspectHost(quietCall())).map(({ level }) => level),
    ["ok"],
  );
  process.env.PATH = "/nonexistent";
  const [finding] = await hypervisor.inspectHost(quietCall()).finally(() => {
    process.env.PATH = path;
  });
  assert.equal([finding?.level, finding?.packages], ["missing", ["util-linux"]]);
});

s.test("a process of another boot is not the VM, whatever its pid", async () => {
  const self = { pid: process.pid, startTime: "0", bootId: currentBootId() };
  const grant = { sandbox: "box", nonce: "n", runDirectory: "/", accelerator: "none", agentEndpoint: { kind: "unix", path: "/" } } as const;
  const hypervisor = await provider();
  await rejects(hypervisor.connect({ ...grant, process: self }, quietCall()), "VM_FAILED");
});

s.test(
  "a fault at any step, or inside any of its calls, leaves nothing",
  async () => {
    await using at = await place();
    const faulty = withFaults(await provider());
    const plugin = definePlugin("faulty", (ctx) => ctx.provide("hypervisor", "process", () => faulty.provider));
    const report = await sweep(
      async (probe) => {
        await using engine = await at.openWith(plugin(), { probe });
        await using sandbox = await engine.runSandbox({ id: "box", boot: { retries: 0 } });
        const web = await sandbox.run({ id: "web", rootfs: at.rootfs, command: ["true"] });
        await web.wait();
        await web.delete();
      },
      {
        snapshot: at.held,
        inside: [faulty],
        async recover() {
          await using engine = await at.open();
          await engine.gc();
        },
      },
    );
    console.log(`${report.cases.length} cases, ${report.leaks.length} leaks`);
    for (const found of [report.leaks, report.unreached, report.swallowed])
      assert.equal(
        found.map(({ at }) => at),
        [],
      );
    assert.ok(report.cases.some(({ at }) => "call" in at && at.call === "share.acquire"));
  },
  { timeoutMs: 150_000 },
);

s.run();
