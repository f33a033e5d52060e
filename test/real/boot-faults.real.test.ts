import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmod, cp, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pino } from "pino";
import { createEngine, type Plugin } from "tapvisor";
import { guestFiles } from "tapvisor/plugins/guest-files";
import { hypervisorQemu } from "tapvisor/plugins/hypervisor-qemu";
import presetQemu from "tapvisor/plugins/preset-qemu";
import * as assert from "uvu/assert";
import type { BootAssets } from "../../src/contracts/guest.ts";
import { PluginHost } from "../../src/engine/plugin-host.ts";
import { failureOf, hostOf, NOTHING, realEngine } from "../support/real-engine.ts";
import { suite } from "../support/suite.ts";
import { tempDirectory } from "../support/temp.ts";

const s = suite("boot faults on real QEMU");
const TIMEOUT = { timeoutMs: 120_000 };

/** The files of the machine's real guest. */
async function realGuest(): Promise<BootAssets> {
  const log = pino({ level: "silent" });
  const cacheDirectory = process.env.TAPVISOR_CACHE ?? "/var/cache/tapvisor";
  const host = new PluginHost({ log, root: "/nonexistent", cacheDirectory });
  await host.load(presetQemu.plugins);
  const guest = await host.slots.get("guest", "linux");
  return guest.prepare({ signal: AbortSignal.timeout(60_000), log });
}

async function fails(plugin: Plugin, options: { slots?: { guest: string }; boot?: { timeoutMs?: number; retries?: number } } = {}) {
  await using world = await realEngine({ plugins: [plugin], ...(options.slots ? { config: { slots: options.slots } } : {}) });
  const boot = { retries: 0, ...options.boot };
  const error = await failureOf(world.engine.createSandbox({ id: "box", boot }));
  assert.equal(await world.host(), NOTHING);
  assert.equal(error.rollback?.left, []);
  return error;
}

s.test("no QEMU: the error names the program and how to install it", async () => {
  const error = await fails(hypervisorQemu({ binary: "/nonexistent/qemu-system-x86_64" }));
  assert.is(error.code, "HOST_MISSING");
  assert.match(error.message, "/nonexistent/qemu-system-x86_64");
  assert.ok(error.hint);
});

s.test("a QEMU that is too old: the error says which version there is and which is wanted", async () => {
  await using directory = await tempDirectory();
  const binary = join(directory.path, "qemu");
  await writeFile(binary, "#!/bin/sh\necho 'QEMU emulator version 6.2.0 (Debian)'\n");
  await chmod(binary, 0o755);
  const error = await fails(hypervisorQemu({ binary }));
  assert.is(error.code, "HOST_MISSING");
  assert.match(error.message, "6.2");
  assert.match(error.message, "7.2");
});

s.test("a kernel that is not there: the error names the file", async () => {
  const error = await fails(guestFiles({ kernel: "/nonexistent/vmlinuz", initrd: "/bin/busybox" }), { slots: { guest: "files" } });
  assert.match(error.message, "/nonexistent/vmlinuz");
});

s.test(
  "a damaged initrd: the guest panics, and the error quotes the panic at once",
  async () => {
    await using directory = await tempDirectory();
    const initrd = join(directory.path, "initrd");
    await writeFile(initrd, randomBytes(4096));
    const { kernel } = await realGuest();
    const error = await fails(guestFiles({ kernel, initrd }), { slots: { guest: "files" } });
    assert.is(error.code, "GUEST_BOOT_FAILED");
    assert.match(error.message, /Kernel panic - not syncing: \S+/);
    assert.match(String(Reflect.get(error.data, "panic")), "Kernel panic");
  },
  TIMEOUT,
);

s.test(
  "a guest that never answers: the deadline ends it, the VM is started again as often as asked, and nothing is left",
  async () => {
    await using directory = await tempDirectory();
    const initrd = join(directory.path, "initrd");
    await silentInitrd(directory.path, initrd);
    const { kernel } = await realGuest();
    const error = await fails(guestFiles({ kernel, initrd }), { slots: { guest: "files" }, boot: { timeoutMs: 6_000, retries: 1 } });
    assert.is(error.code, "GUEST_BOOT_FAILED");
    assert.match(error.message, "6000 ms");
  },
  TIMEOUT,
);

/** A guest that boots and then says nothing. */
async function silentInitrd(directory: string, file: string): Promise<void> {
  const tree = join(directory, "tree");
  await mkdir(join(tree, "bin"), { recursive: true });
  await cp("/bin/busybox", join(tree, "bin/busybox"));
  await writeFile(join(tree, "init"), "#!/bin/busybox sh\nexec /bin/busybox sleep 100000\n");
  await chmod(join(tree, "init"), 0o755);
  execFileSync("busybox", ["sh", "-c", 'cd "$1" && find . | busybox cpio -o -H newc > "$2"', "sh", tree, file], { stdio: "ignore" });
}

s.test("a root whose sockets would have too long a path is refused by its path, before a VM is started", async () => {
  await using directory = await tempDirectory();
  const root = join(directory.path, "r".repeat(100));
  await using engine = await createEngine({ root });
  const error = await failureOf(engine.createSandbox({ id: "box" }));
  assert.is(error.code, "INVALID_INPUT");
  assert.match(error.message, root);
  assert.match(error.message, "107");
  assert.equal(await hostOf(root), NOTHING);
});

s.run();
