import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { findKernel } from "../../../../plugins/guest-linux/image/kernel.ts";
import { kernelRelease } from "../../../../plugins/guest-linux/image/kernel-release.ts";
import { suite } from "../../../support/suite.ts";
import { tempDirectory } from "../../../support/temp.ts";
import { elfWith, failureOf, kernelFile, RELEASE, writeFiles, writeKernel } from "../fixtures.ts";

const s = suite("guest-linux kernel");

s.test("the newest installed cloud kernel that has its modules is taken, 10 after 9", async () => {
  await using temp = await tempDirectory();
  for (const release of ["6.1.0-9-cloud-amd64", "6.1.0-10-cloud-amd64", "6.1.0-11-amd64"]) await writeKernel(temp.path, release);
  await writeFiles(temp.path, { "boot/vmlinuz-6.1.0-12-cloud-amd64": kernelFile() });
  const found = await findKernel({ systemRoot: temp.path, unpacked: join(temp.path, "none") });
  assert.is(found?.kernel, join(temp.path, "boot/vmlinuz-6.1.0-10-cloud-amd64"));
  assert.is(found?.modules, join(temp.path, "lib/modules/6.1.0-10-cloud-amd64"));
  assert.is(found?.origin, "installed");
});

s.test("without an installed one the newest unpacked one is taken", async () => {
  await using temp = await tempDirectory();
  const unpacked = join(temp.path, "kernels");
  for (const release of ["6.1.0-9-cloud-amd64", "6.1.0-10-cloud-amd64"]) await writeKernel(join(unpacked, release), release);
  await writeFiles(unpacked, { ".work-x/root/boot/vmlinuz-7.0.0-1-cloud-amd64": kernelFile() });
  const found = await findKernel({ systemRoot: temp.path, unpacked });
  assert.is(found?.modules, join(unpacked, "6.1.0-10-cloud-amd64/lib/modules/6.1.0-10-cloud-amd64"));
  assert.is(found?.origin, "cached");
});

s.test("with none at all it is undefined", async () => {
  await using temp = await tempDirectory();
  assert.is(await findKernel({ systemRoot: temp.path, unpacked: join(temp.path, "none") }), undefined);
});

s.test("a kernel of the user's own wins, and needs its modules", async () => {
  await using temp = await tempDirectory();
  await writeKernel(temp.path);
  const places = { systemRoot: temp.path, unpacked: temp.path };
  const kernel = join(temp.path, `boot/vmlinuz-${RELEASE}`);
  const modules = join(temp.path, `lib/modules/${RELEASE}`);
  assert.equal(await findKernel({ ...places, kernel, modules }), { kernel, modules, origin: "options" });
  for (const [given, field] of [
    [{ kernel }, "modules"],
    [{ modules }, "kernel"],
    [{ kernel: `${kernel}x`, modules }, "kernel"],
    [{ kernel, modules: kernel }, "modules"],
    [{ kernel: modules, modules }, "kernel"],
  ] as const) {
    const error = await failureOf(findKernel({ ...places, ...given }));
    assert.is(error.code, "INVALID_INPUT");
    assert.is((error.data as { path: string }).path, field);
  }
});

s.test("kernelRelease() reads a bzImage's own release, none from an ELF kernel, and refuses what is no kernel", async () => {
  await using temp = await tempDirectory();
  const file = join(temp.path, "kernel");
  await writeFile(file, kernelFile("6.1.0-9-cloud-amd64"));
  assert.is(await kernelRelease(file), "6.1.0-9-cloud-amd64");
  await writeFile(file, elfWith(".text", "code"));
  assert.is(await kernelRelease(file), undefined);
  for (const content of ["", "no kernel", Buffer.alloc(70_000)]) {
    await writeFile(file, content);
    assert.is((await failureOf(kernelRelease(file))).code, "INVALID_INPUT");
  }
});

s.run();
