import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { chooseAccelerator } from "../../../plugins/hypervisor-qemu/accelerator.ts";
import { isTooOld, parseVersion } from "../../../plugins/hypervisor-qemu/version.ts";
import { suite } from "../../support/suite.ts";
import { tempDirectory } from "../../support/temp.ts";
import { refusal } from "./support/refusal.ts";
import { call, qemu, world } from "./support/world.ts";

const s = suite("hypervisor-qemu host");

const opens = async () => {};
const refuses = async () => {
  throw new Error("EACCES: permission denied");
};
const cpu = (flags: string) => async () => `processor\t: 0\nmodel name\t: svm vmx\nflags\t\t: fpu ${flags} sse\n`;

s.test("auto takes KVM only when the processor shows vmx or svm and /dev/kvm opens", async () => {
  assert.is((await chooseAccelerator("auto", { cpuinfo: cpu("vmx"), openKvm: opens })).name, "kvm");
  assert.is((await chooseAccelerator("auto", { cpuinfo: cpu("svm"), openKvm: opens })).name, "kvm");
  const trap = await chooseAccelerator("auto", { cpuinfo: cpu("svm_lock"), openKvm: opens });
  assert.is(trap.name, "tcg");
  assert.match(trap.why, /neither vmx nor svm/);
  const closed = await chooseAccelerator("auto", { cpuinfo: cpu("vmx"), openKvm: refuses });
  assert.is(closed.name, "tcg");
  assert.match(closed.why, /EACCES/);
});

s.test("an accelerator asked for is not second-guessed, and KVM that does not open is HOST_MISSING", async () => {
  assert.is((await chooseAccelerator("tcg", { cpuinfo: cpu("vmx"), openKvm: opens })).name, "tcg");
  assert.is((await chooseAccelerator("kvm", { cpuinfo: cpu("none"), openKvm: opens })).name, "kvm");
  assert.is((await refusal(chooseAccelerator("kvm", { cpuinfo: cpu("vmx"), openKvm: refuses }))).code, "HOST_MISSING");
});

s.test("versions are read as distributions write them, and 7.2 is the oldest", () => {
  assert.equal(parseVersion("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\n"), { major: 7, minor: 2, micro: 22 });
  assert.equal(parseVersion("QEMU emulator version 10.0\n"), { major: 10, minor: 0, micro: 0 });
  assert.is(parseVersion("bash: no"), undefined);
  const old = [
    [6, 9],
    [7, 1],
    [7, 2],
    [8, 0],
  ].map(([major = 0, minor = 0]) => isTooOld({ major, minor, micro: 0 }));
  assert.equal(old, [true, true, false, false]);
});

s.test("a QEMU that is too old is HOST_MISSING, both for doctor and for a start", async () => {
  await using temp = await tempDirectory();
  const binary = join(temp.path, "old-qemu");
  await writeFile(binary, '#!/bin/sh\n[ "$1" = --version ] && echo "QEMU emulator version 5.2.0" && exit\nexit 1\n', { mode: 0o755 });
  const old = await qemu({ binary });
  const finding = (await old.inspectHost(call())).find(({ check }) => check === "QEMU");
  assert.is(finding?.level, "missing");
  assert.match(finding?.found ?? "", /5\.2\.0/);
  await using w = await world();
  const error = await refusal(old.holdings.vm.acquire(w.intent, call()));
  assert.is(error.code, "HOST_MISSING");
  assert.match(error.message, /5\.2\.0, wanted 7\.2 or newer/);
});

s.test("inspectHost() names the packages of what is missing", async () => {
  const findings = await (await qemu({ binary: "no-qemu", virtiofsd: "no-virtiofsd" })).inspectHost(call());
  const missing = findings.filter(({ level }) => level === "missing").flatMap(({ packages = [] }) => packages);
  assert.ok(missing.includes("qemu-system-x86"));
  assert.ok(missing.includes("qemu-system-common"));
});

s.test("inspectHost() looks at all that a VM and its shares need", async () => {
  const findings = await (await qemu()).inspectHost(call());
  const checks = ["QEMU", "accelerator", "virtiofsd", "process and namespace tools", "log tools", "root", "memory"];
  assert.equal(
    findings.map(({ check }) => check),
    checks,
  );
  for (const { check, level, fix } of findings) assert.ok(level === "ok" || fix, `${check} has a fix`);
});

for (const [options, path] of [
  [{ accelerator: "hvf" }, "hypervisor-qemu.accelerator"],
  [{ binary: "" }, "hypervisor-qemu.binary"],
  [{ virtiofsd: 3 }, "hypervisor-qemu.virtiofsd"],
  [{ bootTimeoutMs: 3 }, "hypervisor-qemu.bootTimeoutMs"],
  [[], "hypervisor-qemu"],
] as const) {
  s.test(`options ${JSON.stringify(options)} are refused, naming ${path}`, async () => {
    const error = await refusal(qemu(options as never));
    assert.is(error.code === "INVALID_INPUT" && error.data.path, path);
  });
}

s.run();
