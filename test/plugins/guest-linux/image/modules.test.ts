import * as assert from "uvu/assert";
import { resolveModules } from "../../../../plugins/guest-linux/image/modules.ts";
import { suite } from "../../../support/suite.ts";
import { tempDirectory } from "../../../support/temp.ts";
import { failureOf, moduleFile, RELEASE, writeFiles } from "../fixtures.ts";

const s = suite("guest-linux modules");

s.test("each module comes after all it depends on, once, whatever the directory", async () => {
  await using temp = await tempDirectory();
  await writeFiles(temp.path, {
    "kernel/a/virtio_ring.ko": moduleFile(),
    "kernel/b/virtio.ko": moduleFile(["virtio_ring"]),
    "kernel/c/virtio-pci.ko": moduleFile(["virtio-ring", "virtio"]),
    "kernel/d/virtio_blk.ko": moduleFile(["virtio", "virtio_ring"]),
  });
  const modules = await resolveModules(temp.path, ["virtio_pci", "virtio_blk"]);
  assert.equal(
    modules.map(({ name }) => name),
    ["virtio_ring", "virtio", "virtio_pci", "virtio_blk"],
  );
  assert.is(modules[2]?.file, `${temp.path}/kernel/c/virtio-pci.ko`);
  assert.is(modules[0]?.release, RELEASE);
});

s.test("what is built into the kernel is left out", async () => {
  await using temp = await tempDirectory();
  await writeFiles(temp.path, {
    "modules.builtin": "kernel/drivers/virtio/virtio-pci.ko\nkernel/lib/libcrc32c.ko\n",
    "kernel/erofs.ko": moduleFile(["libcrc32c"]),
  });
  assert.equal(
    (await resolveModules(temp.path, ["virtio_pci", "erofs"])).map(({ name }) => name),
    ["erofs"],
  );
});

s.test("modules that need each other do not hang it", async () => {
  await using temp = await tempDirectory();
  await writeFiles(temp.path, { "kernel/a.ko": moduleFile(["b"]), "kernel/b.ko": moduleFile(["a"]) });
  assert.is((await resolveModules(temp.path, ["a"])).length, 2);
});

s.test("an absent module is HOST_MISSING naming it and the directory", async () => {
  await using temp = await tempDirectory();
  await writeFiles(temp.path, { "kernel/virtiofs.ko": moduleFile(["fuse"]) });
  const error = await failureOf(resolveModules(temp.path, ["virtiofs"]));
  assert.is(error.code, "HOST_MISSING");
  assert.match(error.message, "fuse");
  assert.match(error.message, temp.path);
});

s.test("a compressed module is refused, saying so", async () => {
  await using temp = await tempDirectory();
  await writeFiles(temp.path, { "kernel/erofs.ko.xz": "x" });
  const error = await failureOf(resolveModules(temp.path, ["erofs"]));
  assert.is(error.code, "HOST_MISSING");
  assert.match(error.message, "erofs.ko.xz: it is compressed");
});

s.test("a file that is no module is refused", async () => {
  await using temp = await tempDirectory();
  await writeFiles(temp.path, { "kernel/erofs.ko": "not a module" });
  assert.match((await failureOf(resolveModules(temp.path, ["erofs"]))).message, "is no module");
});

s.run();
