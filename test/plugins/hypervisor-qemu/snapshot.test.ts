import { createHash, randomBytes } from "node:crypto";
import { copyFile, mkdir, readdir, readFile, readlink, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Bytes, type DiskGrant, type DiskIntent, MiB, type Vm, type VmGrant, type VmIntent, type VmPlugged } from "tapvisor/plugin";
import * as assert from "uvu/assert";
import { suite } from "../../support/suite.ts";
import { countingKernel, unpluggingKernel } from "./support/real-mode-kernel.ts";
import { refusal } from "./support/refusal.ts";
import { call, lastWords, processesOf, shareIntent, shares, until, type World, world } from "./support/world.ts";

const s = suite("hypervisor-qemu snapshot");
const LIMITS = { vcpus: 4, memoryBytes: (1024 * MiB) as Bytes };
const after = (letter: string) => String.fromCharCode(65 + ((letter.charCodeAt(0) - 65 + 1) % 16));

interface Started extends World {
  readonly grant: VmGrant;
  readonly vm: Vm;
  readonly state: string;
  /** The intent of a VM that goes on from the snapshot, with a run directory of its own. */
  again(name: string, plugged?: VmPlugged): Promise<VmIntent>;
}

async function started(kernel: Uint8Array, amend: Partial<VmIntent> = {}): Promise<Started> {
  const w = await world(kernel, { limits: LIMITS, ...amend });
  const grant = await w.hypervisor.holdings.vm.acquire(w.intent, call());
  const state = join(w.directory, "state");
  return {
    ...w,
    grant,
    vm: await w.hypervisor.connect(grant, call()),
    state,
    async again(name, plugged) {
      const runDirectory = join(w.directory, name);
      await mkdir(runDirectory, { mode: 0o700 });
      const { memory: _, ...intent } = w.intent;
      return {
        ...intent,
        runDirectory,
        nonce: randomBytes(16).toString("hex"),
        memory: { kind: "snapshot", state },
        ...(plugged && { plugged }),
      };
    },
  };
}

const snapshot = ({ vm, state }: Started) => vm.snapshot?.(state, call()) ?? Promise.reject(new Error("QEMU saves VMs whole"));

async function restored<T>(w: Started, intent: VmIntent, body: (vm: Vm, grant: VmGrant) => Promise<T>): Promise<T> {
  try {
    const grant = await w.hypervisor.holdings.vm.acquire(intent, call());
    return await body(await w.hypervisor.connect(grant, call()), grant);
  } finally {
    await w.hypervisor.holdings.vm.release({ intent, grant: undefined }, call());
    assert.equal([await readdir(intent.runDirectory), await processesOf(intent)], [[], []]);
  }
}

/** What the host holds for a VM's memory, bytes: files without names. */
async function memoryHeld({ process: owner }: VmGrant): Promise<number> {
  const directory = `/proc/${owner?.pid}/fd`;
  const names = await readdir(directory);
  const held = await Promise.all(
    names.map(async (name) => {
      const path = join(directory, name);
      const isMemory = (await readlink(path)).startsWith("/memfd:");
      return isMemory ? (await stat(path)).blocks * 512 : 0;
    }),
  );
  return held.reduce((sum, bytes) => sum + bytes, 0);
}

s.test("saving a VM and going on from it cost the host no page that the guest has not written", async () => {
  await using w = await started(countingKernel(), { memoryBytes: (256 * MiB) as Bytes });
  await until(async () => (await w.vm.diagnostics()).console.length > 20);
  const before = await memoryHeld(w.grant);
  assert.ok(before > 0 && before < 64 * MiB, `${before} bytes before`);
  await snapshot(w);
  const after = await memoryHeld(w.grant);
  assert.ok(after <= before + MiB, `${before} bytes before it was saved, ${after} after`);
  await w.vm.resume(call());
  const { console } = await w.vm.diagnostics();
  await until(async () => (await w.vm.diagnostics()).console.length > console.length);
  await restored(w, await w.again("one"), async (vm, grant) => {
    await until(async () => (await vm.diagnostics()).console.length > 40);
    const its = await memoryHeld(grant);
    assert.ok(its <= before + MiB, `${before} bytes of the saved one, ${its} of the one that goes on`);
  });
});

s.test(
  "a VM goes on where it was saved, as often as wanted; the saved one stays stopped until it is resumed, and can be saved again",
  async () => {
    await using w = await started(countingKernel());
    await until(async () => (await w.vm.diagnostics()).console.length > 20);
    await snapshot(w);
    assert.is(await w.vm.status(call()), "paused");
    const { mode, size } = await stat(w.state);
    assert.is(mode & 0o777, 0o600);
    assert.ok(size < 64 * MiB, `pages of zeros take no room: ${size} bytes`);
    const last = (await lastWords(w.vm)).at(-1) ?? "";
    for (const name of ["one", "two"]) {
      await restored(w, await w.again(name), async (vm) => {
        await until(async () => (await vm.diagnostics()).console.length > 20);
        assert.is((await vm.diagnostics()).console.slice(0, 2), after(last) + after(after(last)), `it ended with ${last}`);
        const second = join(w.directory, `${name}.state`);
        await vm.snapshot?.(second, call());
        await vm.resume(call());
        assert.is(await vm.status(call()), "running");
      });
    }
    const { console } = await w.vm.diagnostics();
    await w.vm.resume(call());
    await until(async () => (await w.vm.diagnostics()).console.length > console.length);
  },
);

for (const memoryDevice of ["virtio-mem", "pc-dimm"] as const) {
  s.test(
    `vCPUs, disks of both kinds and memory by ${memoryDevice} are where they were, and can be taken out and added to`,
    async () => {
      await using w = await started(unpluggingKernel(), {});
      const { disk } = w.hypervisor.holdings;
      if (!disk) throw new Error("QEMU plugs disks");
      const imageOf = async (name: string) => {
        const path = join(w.directory, name);
        await writeFile(path, `image ${name}`);
        await truncate(path, MiB);
        return path;
      };
      const boot = { ...w.intent.boot, virtioMem: memoryDevice === "virtio-mem" };
      const nonce = randomBytes(16).toString("hex");
      const runDirectory = join(w.directory, "first");
      await mkdir(runDirectory, { mode: 0o700 });
      const intent: VmIntent = { ...w.intent, boot, nonce, runDirectory };
      const grant = await w.hypervisor.holdings.vm.acquire(intent, call());
      try {
        const vm = await w.hypervisor.connect(grant, call());
        const common = { sandbox: "test", format: "raw", readonly: false } as const;
        const intents: DiskIntent[] = [
          { ...common, vm: grant, id: "spare", path: await imageOf("spare.img"), driver: "virtio-blk", index: 0 },
          { ...common, vm: grant, id: "blk", path: await imageOf("blk.img"), driver: "virtio-blk", index: 1 },
          { ...common, vm: grant, id: "scsi", path: await imageOf("scsi.img"), driver: "virtio-scsi", index: 300 },
          { ...common, vm: grant, id: "ro", path: await imageOf("ro.img"), readonly: true, driver: "virtio-scsi", index: 2 },
        ];
        await until(async () => (await vm.diagnostics()).console.includes("READY"));
        const grants: DiskGrant[] = [];
        for (const each of intents) grants.push(await disk.acquire(each, call()));
        await disk.release({ intent: intents[0] as DiskIntent, grant: undefined }, call());
        assert.equal(await vm.sizing?.resizeVcpus(3, call()), { reached: 3 });
        if (memoryDevice === "pc-dimm") for (const bytes of [192, 448]) await vm.sizing?.resizeMemory((bytes * MiB) as Bytes, call());
        const size = await vm.sizing?.size(call());
        if (!size) throw new Error("QEMU resizes");
        await vm.snapshot?.(w.state, call());

        await copyFile(join(w.directory, "blk.img"), join(w.directory, "blk-2.img"));
        await copyFile(join(w.directory, "scsi.img"), join(w.directory, "scsi-2.img"));
        const disks = intents
          .slice(1)
          .map(({ vm: _, ...each }) => ({ ...each, path: each.readonly ? each.path : each.path.replace(".img", "-2.img") }));
        const next: VmIntent = { ...(await w.again("again", { size, disks })), boot };
        await restored(w, next, async (again, granted) => {
          assert.equal(await again.sizing?.size(call()), size);
          const held = disks.map((each) => ({ ...each, vm: granted }));
          const fresh = await disk.acquire(
            { ...common, vm: granted, id: "fresh", path: await imageOf("fresh.img"), driver: "virtio-blk", index: 3 },
            call(),
          );
          assert.is.not(fresh.guest.address, grants[1]?.guest.address, "its place is taken");
          assert.equal(await again.sizing?.resizeVcpus(4, call()), { reached: 4 });
          if (memoryDevice === "pc-dimm") {
            const more = (size.memoryBytes + 128 * MiB) as Bytes;
            assert.equal(await again.sizing?.resizeMemory(more, call()), { reached: more });
          }
          await again.snapshot?.(join(w.directory, "second"), call());
          await again.resume(call());
          for (const each of held) await disk.release({ intent: each, grant: undefined }, call());
          const replugged = await disk.acquire({ ...held[0], path: join(w.directory, "blk-2.img") } as DiskIntent, call());
          assert.equal(replugged.guest, grants[1]?.guest, "the same place");
        });
        const { vcpus } = size;
        for (const [field, plugged] of Object.entries<VmPlugged>({
          "plugged.disks": { size, disks: disks.slice(1) },
          "plugged.size.vcpus": { size: { ...size, vcpus: vcpus - 1 }, disks },
        })) {
          const error = await refusal(w.hypervisor.holdings.vm.acquire({ ...next, plugged }, call()));
          assert.equal([error.code, (error.data as { path: string }).path], ["INVALID_INPUT", field]);
        }
        await vm.resume(call());
        assert.is(await vm.status(call()), "running");
      } finally {
        await w.hypervisor.holdings.vm.release({ intent, grant }, call());
      }
    },
    { timeoutMs: 60_000 },
  );
}

s.test(
  "a VM with a share is UNSUPPORTED by the device's name, before anything has happened; without it can be saved, and shared with after that",
  async () => {
    await using w = await started(unpluggingKernel());
    await until(async () => (await w.vm.diagnostics()).console.includes("READY"));
    const intent = await shareIntent(w.directory, w.grant);
    await shares(w.hypervisor).acquire(intent, call());
    const error = await refusal(snapshot(w));
    assert.is(error.code, "UNSUPPORTED");
    assert.match(error.message, /share-web.*vhost-user-fs-pci/);
    assert.is(await w.vm.status(call()), "running");
    assert.not.ok((await readdir(w.directory)).includes("state"));
    await shares(w.hypervisor).release({ intent, grant: undefined }, call());
    await snapshot(w);
    await restored(w, await w.again("one"), async (_, grant) => {
      const again = await shareIntent(w.directory, grant, "later");
      await shares(w.hypervisor).acquire(again, call());
      await shares(w.hypervisor).release({ intent: again, grant: undefined }, call());
    });
  },
);

s.test(
  "a snapshot into a file that is there or a place that is not is STATE_IO; the file stays as it is and the VM runs on, or stays paused",
  async () => {
    await using w = await started(countingKernel());
    await writeFile(w.state, "mine");
    assert.is((await refusal(snapshot(w))).code, "STATE_IO");
    assert.is(await readFile(w.state, "utf8"), "mine");
    assert.is(await w.vm.status(call()), "running");
    await w.vm.pause(call());
    assert.is((await refusal(w.vm.snapshot?.("/nowhere/state", call()) ?? Promise.resolve())).code, "STATE_IO");
    assert.is(await w.vm.status(call()), "paused");
  },
);

s.test("a state that is damaged, cut short or a template's is VM_FAILED and leaves nothing", async () => {
  await using w = await started(countingKernel());
  await snapshot(w);
  const whole = await readFile(w.state);
  const tries: Record<string, Buffer> = {
    "cut short": whole.subarray(0, whole.length / 2),
    "without a header": whole.subarray(100),
    "with another header": Buffer.concat([whole.subarray(0, 40), Buffer.from("xx"), whole.subarray(42)]),
    empty: Buffer.alloc(0),
  };
  for (const [what, bytes] of Object.entries(tries)) {
    await writeFile(w.state, bytes);
    const intent = await w.again(what.replaceAll(" ", "-"));
    const error = await refusal(w.hypervisor.holdings.vm.acquire(intent, call()));
    assert.is(error.code, "VM_FAILED", what);
    assert.equal([await readdir(intent.runDirectory), await processesOf(intent)], [[], []]);
  }
  await writeFile(w.state, whole);
  const other = { ...(await w.again("other")), limits: { ...LIMITS, vcpus: 2 } };
  const error = await refusal(w.hypervisor.holdings.vm.acquire(other, call()));
  assert.equal([error.code, (error.data as { path: string }).path], ["INVALID_INPUT", "limits"]);
});

s.test("QEMU that is killed while it saves, or while it goes on from a snapshot, is VM_FAILED and leaves nothing", async () => {
  await using w = await started(countingKernel(), { memoryBytes: (512 * MiB) as Bytes });
  await snapshot(w);
  await w.vm.resume(call());
  const sum = async () =>
    createHash("sha256")
      .update(await readFile(w.state))
      .digest("hex");
  const before = await sum();
  const intent = await w.again("one");
  const restoring = refusal(w.hypervisor.holdings.vm.acquire(intent, call()));
  await until(async () => (await processesOf(intent)).some((each) => / qemu-system|\/qemu-system/.test(each)));
  for (const line of await processesOf(intent)) if (/qemu-system/.test(line)) process.kill(Number(line.split(" ")[0]), "SIGKILL");
  assert.is((await restoring).code, "VM_FAILED");
  assert.equal([await readdir(intent.runDirectory), await processesOf(intent), await sum()], [[], [], before]);

  const second = join(w.directory, "second");
  const saving = refusal(w.vm.snapshot?.(second, call()) ?? Promise.resolve());
  await until(async () => (await stat(second).catch(() => undefined)) !== undefined);
  process.kill(w.grant.process?.pid ?? 0, "SIGKILL");
  assert.is((await saving).code, "VM_FAILED");
  assert.not.ok((await readdir(w.directory)).includes("second"));
  await w.hypervisor.holdings.vm.release({ intent: w.intent, grant: w.grant }, call());
  assert.equal(await readdir(w.intent.runDirectory), []);
});

s.test("a snapshot whose caller gives up is ABORTED: no file, and the VM runs on and can be saved", async () => {
  await using w = await started(countingKernel(), { memoryBytes: (512 * MiB) as Bytes });
  const control = new AbortController();
  const saving = refusal(w.vm.snapshot?.(w.state, { ...call(), signal: control.signal }) ?? Promise.resolve());
  await until(async () => (await stat(w.state).catch(() => undefined)) !== undefined);
  control.abort();
  assert.is((await saving).code, "ABORTED");
  assert.not.ok((await readdir(w.directory)).includes("state"));
  await until(async () => (await w.vm.status(call())) === "running");
  await snapshot(w);
});

s.run();
