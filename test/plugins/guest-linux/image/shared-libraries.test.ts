import { existsSync } from "node:fs";
import * as assert from "uvu/assert";
import { parseListing, sharedLibraries } from "../../../../plugins/guest-linux/image/shared-libraries.ts";
import { suite } from "../../../support/suite.ts";
import { call } from "../fixtures.ts";

const s = suite("guest-linux shared-libraries");

s.test("the paths of libraries and loader are taken, the kernel's own object is not", () => {
  const listing = [
    "\tlinux-vdso.so.1 (0x00007f6a43f45000)",
    "\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f6a43e4e000)",
    "\t/lib64/ld-linux-x86-64.so.2 (0x00007f6a43f47000)",
    "",
  ].join("\n");
  assert.equal(parseListing("/bin/x", listing), ["/lib/x86_64-linux-gnu/libm.so.6", "/lib64/ld-linux-x86-64.so.2"]);
});

s.test("a library that is not installed is HOST_MISSING naming it", () => {
  assert.throws(
    () => parseListing("/bin/x", "\tlibyajl.so.2 => not found\n"),
    (error: { code?: string; message: string }) => error.code === "HOST_MISSING" && error.message.includes("libyajl.so.2"),
  );
});

s.test("this machine's node needs a loader and a C library, and they are there", async () => {
  const libraries = await sharedLibraries(process.execPath, call());
  assert.ok(libraries.some((path) => /\/ld-linux/.test(path)));
  assert.ok(libraries.some((path) => /\/libc\.so/.test(path)));
  assert.ok(libraries.every((path) => existsSync(path)));
});

s.run();
