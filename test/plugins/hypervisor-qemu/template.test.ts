import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { chmod, mkdir, readdir, readFile, rename, rm, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isTapvisorError, KiB, MiB, type Vm, type VmGrant, type VmIntent } from "tapvisor/plugin";
import * as assert from "uvu/assert";
import { leaseMachine } from "../../../plugins/hypervisor-qemu/machines.ts";
import { copyMemory, openMemoryFile } from "../../../plugins/hypervisor-qemu/memory-file.ts";
import { suite } from "../../support/suite.ts";
import { tempDirectory } from "../../support/temp.ts";
import { countingKernel } from "./support/real-mode-kernel.ts";
import { refusal } from "./support/refusal.ts";
import { call, lastWords, processesOf, qemu, until, type World, world } from "./support/world.ts";

const s = suite("hypervisor-qemu template");

interface Template extends World {
  readonly vm: Vm;
  readonly grant: VmGrant;
  readonly memory: string;
  readonly state: string;
  /** The intent of a clone with a run directory of its own; with `copy`, in memory of its own that is copied there. */
  clone(name: string, copy?: string): Promise<VmIntent>;
}

/** A VM that counts, with its memory in a template's file. */
async function template(): Promise<Template> {
  const w = await world(countingKernel());
  const [file, state] = [join(w.directory, "memory, shared"), join(w.directory, "state")];
  await writeFile(file, "", { mode: 0o600 });
  await truncate(file, w.intent.memoryBytes);
  const intent: VmIntent = { ...w.intent, memory: { kind: "template", file } };
  const grant = await w.hypervisor.holdings.vm.acquire(intent, call());
  const vm = await w.hypervisor.connect(grant, call());
  await until(async () => (await vm.diagnostics()).console.length > 20);
  return {
    ...w,
    intent,
    grant,
    vm,
    memory: file,
    state,
    async clone(name, copy) {
      const runDirectory = join(w.directory, name);
      await mkdir(runDirectory, { mode: 0o700 });
      const memory = copy === undefined ? ({ kind: "clone", file, state } as const) : ({ kind: "copy", file, state, copy } as const);
      return { ...intent, runDirectory, nonce: `${intent.nonce}-${name}`, memory };
    },
  };
}

const save = ({ vm, state }: Template) => vm.save?.(state, call()) ?? Promise.reject(new Error("QEMU saves"));

const sumOf = async (file: string) =>
  createHash("sha256")
    .update(await readFile(file))
    .digest("hex");
const after = (letter: string) => String.fromCharCode(65 + ((letter.charCodeAt(0) - 65 + 1) % 16));

for (const kind of ["clone", "copy"]) {
  s.test(
    `${kind === "clone" ? "clones" : "copies"} go on where the template was saved, each by itself, and write to neither of its files`,
    async () => {
      await using t = await template();
      await save(t);
      assert.is(await t.vm.status(call()), "paused");
      assert.is((await stat(t.state)).mode & 0o777, 0o600);
      assert.ok((await stat(t.state)).size > 10_000);
      const last = (await lastWords(t.vm)).at(-1) ?? "";
      await t.hypervisor.holdings.vm.release({ intent: t.intent, grant: t.grant }, call());
      assert.equal(await readdir(t.intent.runDirectory), []);
      const sums = [await sumOf(t.memory), await sumOf(t.state)];

      const copyAt = (name: string) => (kind === "copy" ? join(t.directory, `copy, ${name}`) : undefined);
      const intents = [await t.clone("one", copyAt("one")), await t.clone("two", copyAt("two"))];
      try {
        for (const intent of intents) {
          const vm = await t.hypervisor.connect(await t.hypervisor.holdings.vm.acquire(intent, call()), call());
          await until(async () => (await vm.diagnostics()).console.length > 40);
          assert.is(await vm.status(call()), "running");
          const { console } = await vm.diagnostics();
          assert.is(console.slice(0, 2), after(last) + after(after(last)), `the template ended with ${last}`);
          assert.not.ok(
            (await readdir(t.directory)).some((name) => name.startsWith("copy")),
            "the file is gone as soon as QEMU has it",
          );
        }
        assert.equal([await sumOf(t.memory), await sumOf(t.state)], sums);
      } finally {
        for (const intent of intents) await t.hypervisor.holdings.vm.release({ intent, grant: undefined }, call());
      }
      for (const intent of intents) assert.equal([await readdir(intent.runDirectory), await processesOf(intent)], [[], []]);
    },
  );
}

s.test("a copy takes as much room as the template has written, is private, and is given back by the intent alone", async () => {
  await using temporary = await tempDirectory();
  const [file, copy] = [join(temporary.path, "memory"), join(temporary.path, "copy")];
  await writeFile(file, "");
  await truncate(file, 512 * MiB);
  await using memory = await openMemoryFile(file, 512 * MiB);
  for (const at of [0, 100 * MiB, 511 * MiB]) await memory.write(Buffer.alloc(64 * KiB, at === 0 ? 0 : 1), 0, 64 * KiB, at);
  await copyMemory(memory, copy, call().signal);
  const found = await stat(copy);
  assert.equal([found.size, found.mode & 0o777], [512 * MiB, 0o600]);
  assert.ok(found.blocks * 512 <= 192 * KiB, `${found.blocks * 512} bytes are taken`);
  assert.is(await sumOf(copy), await sumOf(file));
  await using w = await world();
  await w.hypervisor.holdings.vm.release(
    { intent: { ...w.intent, memory: { kind: "copy", file, state: file, copy } }, grant: undefined },
    call(),
  );
  assert.equal(await readdir(temporary.path), ["memory"]);
});

s.test(
  "a full file system while copying is STATE_IO with ENOSPC, a copy that is there is INVALID_INPUT; neither leaves anything",
  async () => {
    await using t = await template();
    await save(t);
    await t.hypervisor.holdings.vm.release({ intent: t.intent, grant: t.grant }, call());
    await using small = await tempDirectory();
    const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=4k", "tapvisor-test", small.path]);
    assert.is(mounted.status, 0, String(mounted.stderr));
    try {
      const full = await t.clone("full", join(small.path, "copy"));
      const error = await refusal(t.hypervisor.holdings.vm.acquire(full, call()));
      assert.equal([error.code, error.data], ["STATE_IO", { file: join(small.path, "copy"), operation: "copy", errno: "ENOSPC" }]);
      assert.equal([await readdir(small.path), await readdir(full.runDirectory), await processesOf(full)], [[], [], []]);
    } finally {
      spawnSync("umount", [small.path]);
    }
    const taken = await t.clone("taken", t.state);
    const before = await sumOf(t.state);
    const error = await refusal(t.hypervisor.holdings.vm.acquire(taken, call()));
    assert.equal([error.code, (error.data as { path: string }).path], ["INVALID_INPUT", "memory.copy"]);
    assert.is(await sumOf(t.state), before);
  },
);

s.test("copying whose caller gives up is ABORTED and leaves nothing", async () => {
  await using temporary = await tempDirectory();
  const [file, copy] = [join(temporary.path, "memory"), join(temporary.path, "copy")];
  await writeFile(file, Buffer.alloc(64 * MiB, 1));
  await using memory = await openMemoryFile(file, 64 * MiB);
  const control = new AbortController();
  const copying = copyMemory(memory, copy, control.signal);
  await until(async () => (await stat(copy).catch(() => undefined)) !== undefined);
  control.abort();
  assert.is((await refusal(copying)).code, "ABORTED");
  assert.equal(await readdir(temporary.path), ["memory"]);
});

s.test("save() into a directory that is not there is STATE_IO, the VM runs on, and can be saved after that", async () => {
  await using t = await template();
  const error = await refusal(t.vm.save?.("/nowhere/state", call()) ?? Promise.resolve());
  assert.is(error.code, "STATE_IO");
  assert.equal(error.data, { file: "/nowhere/state", operation: "write", errno: "ENOENT" });
  assert.is(await t.vm.status(call()), "running");
  const { console } = await t.vm.diagnostics();
  await until(async () => (await t.vm.diagnostics()).console.length > console.length);
  await save(t);
  assert.is(await t.vm.status(call()), "paused");
});

s.test("save() over a file that is there is STATE_IO, and leaves no half of it", async () => {
  await using t = await template();
  await writeFile(t.state, "mine");
  const error = await refusal(save(t));
  assert.is(error.code, "STATE_IO");
  assert.is(await t.vm.status(call()), "running");
});

s.test("save() whose caller gives up is ABORTED, and the VM runs on", async () => {
  await using t = await template();
  const control = new AbortController();
  const saving = t.vm.save?.(t.state, { ...call(), signal: control.signal }) ?? Promise.resolve();
  control.abort();
  assert.is((await refusal(saving)).code, "ABORTED");
  await until(async () => (await t.vm.status(call())) === "running");
  assert.equal(await stat(t.state).catch(({ code }) => code), "ENOENT");
});

s.test("save() of a QEMU that is killed meanwhile is VM_FAILED", async () => {
  await using t = await template();
  const pid = t.grant.process?.pid ?? 0;
  process.kill(pid, "SIGSTOP");
  const saving = refusal(save(t));
  process.kill(pid, "SIGKILL");
  assert.is((await saving).code, "VM_FAILED");
  await t.hypervisor.holdings.vm.release({ intent: t.intent, grant: t.grant }, call());
  assert.equal(await readdir(t.intent.runDirectory), []);
});

s.test("save() of a VM with memory of its own is INVALID_STATE", async () => {
  await using w = await world(countingKernel());
  const vm = await w.hypervisor.connect(await w.hypervisor.holdings.vm.acquire(w.intent, call()), call());
  const error = await refusal(vm.save?.(join(w.directory, "state"), call()) ?? Promise.resolve());
  assert.is(error.code, "INVALID_STATE");
  assert.is(await vm.status(call()), "running");
});

for (const kind of ["clone", "copy"]) {
  s.test(`QEMU that is killed while a ${kind} goes on is VM_FAILED, and leaves nothing`, async () => {
    await using t = await template();
    await save(t);
    await t.hypervisor.holdings.vm.release({ intent: t.intent, grant: t.grant }, call());
    const sums = [await sumOf(t.memory), await sumOf(t.state)];
    const [binary, pid] = [join(t.directory, "qemu"), join(t.directory, "pid")];
    await writeFile(binary, `#!/bin/sh\necho $$ >'${pid}'\nexec qemu-system-x86_64 "$@"\n`, { mode: 0o755 });
    const { vm } = (await qemu({ binary, accelerator: "tcg" })).holdings;
    let killed = false;
    for (let time = 0; time < 20 && !killed; time++) {
      const intent = await t.clone(`try-${time}`, kind === "copy" ? join(t.directory, "copy") : undefined);
      const going = vm.acquire(intent, call()).then(
        () => "it was quicker",
        (error: unknown) => (isTapvisorError(error) ? error.code : "no error of ours"),
      );
      while (!existsSync(join(intent.runDirectory, "qmp.sock"))) await new Promise(setImmediate);
      process.kill(Number(await readFile(pid, "utf8")), "SIGKILL");
      const how = await going;
      killed = how === "VM_FAILED";
      assert.ok(killed || how === "it was quicker", how);
      if (!killed) await vm.release({ intent, grant: undefined }, call());
      assert.equal([await readdir(intent.runDirectory), await processesOf(intent)], [[], []]);
    }
    assert.ok(killed);
    assert.equal(
      (await readdir(t.directory)).filter((name) => name.startsWith("copy")),
      [],
    );
    assert.equal([await sumOf(t.memory), await sumOf(t.state)], sums);
  });
}

s.test(
  "what a clone writes reaches neither its template nor its sibling, and a template that is replaced or removed changes nothing for them",
  async () => {
    await using t = await template();
    await save(t);
    await t.hypervisor.holdings.vm.release({ intent: t.intent, grant: t.grant }, call());
    const sums = [await sumOf(t.memory), await sumOf(t.state)];
    const intents = [await t.clone("one"), await t.clone("two"), await t.clone("three", join(t.directory, "copy"))];
    const seen = async (grant: VmGrant, file: string) => {
      await using lease = await leaseMachine(grant);
      const path = join(t.directory, file);
      await lease.machine.execute("pmemsave", { val: 0, size: t.intent.memoryBytes, filename: path });
      return sumOf(path);
    };
    try {
      const grants = [];
      for (const intent of intents) grants.push(await t.hypervisor.holdings.vm.acquire(intent, call()));
      const vms = await Promise.all(grants.map((grant) => t.hypervisor.connect(grant, call())));
      await until(async () => (await Promise.all(vms.map((vm) => vm.diagnostics()))).every(({ console }) => console.length > 20));
      for (const vm of vms) await vm.pause(call());
      const before = await Promise.all(grants.map((grant, index) => seen(grant, `seen-${index}`)));
      for (const [index, vm] of vms.entries()) {
        await vm.resume(call());
        const { console } = await vm.diagnostics();
        await until(async () => (await vm.diagnostics()).console.length > console.length + 20);
        await vm.pause(call());
        const now = await Promise.all(grants.map((grant, other) => seen(grant, `again-${other}`)));
        assert.is.not(now[index], before[index], "it has written");
        assert.equal(now.toSpliced(index, 1), before.toSpliced(index, 1), "its siblings see what they saw");
        before[index] = now[index] as string;
      }
      assert.equal([await sumOf(t.memory), await sumOf(t.state)], sums);
      await writeFile(join(t.directory, "other"), Buffer.alloc(t.intent.memoryBytes, 1));
      await rename(join(t.directory, "other"), t.memory);
      await rm(t.state);
      const now = await Promise.all(grants.map((grant, index) => seen(grant, `late-${index}`)));
      assert.equal(now, before);
      await rm(t.memory);
      for (const vm of vms) await vm.resume(call());
      for (const vm of vms) assert.is(await vm.status(call()), "running");
    } finally {
      for (const intent of intents) await t.hypervisor.holdings.vm.release({ intent, grant: undefined }, call());
    }
  },
);

s.test("a template into which something has been plugged is not saved: INVALID_STATE, and it runs on", async () => {
  await using t = await template();
  await writeFile(join(t.directory, "disk.img"), Buffer.alloc(MiB));
  const { disk } = t.hypervisor.holdings;
  const path = join(t.directory, "disk.img");
  const intent = {
    sandbox: "test",
    vm: t.grant,
    id: "data",
    path,
    format: "raw",
    readonly: false,
    driver: "virtio-scsi",
    index: 0,
  } as const;
  await disk?.acquire(intent, call());
  assert.is((await refusal(save(t))).code, "INVALID_STATE");
  assert.is(await t.vm.status(call()), "running");
  await disk?.release({ intent, grant: undefined }, call());
  await save(t);
});

const DAMAGES: Record<string, (t: Template) => Promise<void>> = {
  "a state cut short": async ({ state }) => truncate(state, 5_000),
  "a state that is none": async ({ state }) => writeFile(state, "not a state at all".repeat(1000)),
};
for (const [what, damage] of Object.entries(DAMAGES)) {
  s.test(`a clone of ${what} is VM_FAILED with QEMU's reason, and leaves nothing`, async () => {
    await using t = await template();
    await save(t);
    await t.hypervisor.holdings.vm.release({ intent: t.intent, grant: t.grant }, call());
    await chmod(t.state, 0o600);
    await damage(t);
    const intent = await t.clone("one");
    const error = await refusal(t.hypervisor.holdings.vm.acquire(intent, call()));
    assert.is(error.code, "VM_FAILED");
    assert.match(error.message, /load of migration failed|Not a migration stream/);
    assert.equal([await readdir(intent.runDirectory), await processesOf(intent)], [[], []]);
  });
}

s.test("a clone's memory of another size, and a state that is not there, are INVALID_INPUT before anything has happened", async () => {
  await using t = await template();
  await save(t);
  await t.hypervisor.holdings.vm.release({ intent: t.intent, grant: t.grant }, call());
  const intent = await t.clone("one");
  const clone = { kind: "clone", file: t.memory, state: t.state } as const;
  const cases: [VmIntent["memory"], string][] = [
    [{ ...clone, state: "/nowhere" }, "memory.state"],
    [{ ...clone, state: "/" }, "memory.state"],
    [{ ...clone, file: "/nowhere" }, "memory.file"],
    [{ ...clone, file: "relative" }, "memory.file"],
    [{ ...clone, file: t.state }, "memory.file"],
  ];
  for (const [memory, path] of cases) {
    const error = await refusal(t.hypervisor.holdings.vm.acquire({ ...intent, ...(memory && { memory }) }, call()));
    assert.equal([error.code, (error.data as { path: string }).path], ["INVALID_INPUT", path]);
    assert.equal([await readdir(intent.runDirectory), await processesOf(intent)], [[], []]);
  }
});

s.run();
