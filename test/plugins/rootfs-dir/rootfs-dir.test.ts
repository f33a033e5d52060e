import { chmod, mkdir, readdir, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import type { RootfsIntent, RootfsSource, RootfsStorage } from "tapvisor/plugin";
import { rootfsDir } from "tapvisor/plugins/rootfs-dir";
import { quietCall } from "tapvisor/testing";
import * as assert from "uvu/assert";
import { providerOf } from "../../support/fake-guest.ts";
import { rejects } from "../../support/rejects.ts";
import { suite } from "../../support/suite.ts";
import { tempDirectory } from "../../support/temp.ts";

const s = suite("rootfs-dir");
const NOBODY = 65534;

async function world() {
  const temporary = await tempDirectory();
  const top = await realpath(temporary.path);
  const rootfs = join(top, "rootfs");
  const state = join(top, "engine", "state");
  await mkdir(rootfs);
  await mkdir(state, { recursive: true });
  const storage = await providerOf<RootfsStorage>(rootfsDir(), "rootfs", "dir", state);
  const { rootfs: holding } = storage.holdings;
  const intentOf = (source: RootfsSource): RootfsIntent => ({ sandbox: "web", container: "c1", source, access: "copy-on-write" });
  const acquire = (path: string) => holding.acquire(intentOf({ kind: "directory", path }), quietCall());
  return { top, rootfs, state, storage, holding, intentOf, acquire, [Symbol.asyncDispose]: () => temporary[Symbol.asyncDispose]() };
}

s.test("takes directories only", async () => {
  await using w = await world();
  assert.equal(w.storage.sources, ["directory"]);
  await rejects(w.holding.acquire(w.intentOf({ kind: "image", reference: "alpine" }), quietCall()), "UNSUPPORTED");
});

s.test("grants the real path of an absolute path, a relative one and a link, and changes nothing", async () => {
  await using w = await world();
  await symlink("rootfs", join(w.top, "link"));
  for (const path of [w.rootfs, `${w.rootfs}/`, relative(process.cwd(), w.rootfs), join(w.top, "link")]) {
    assert.equal(await w.acquire(path), { type: "share", directory: w.rootfs });
  }
  assert.equal(await readdir(w.rootfs), []);
});

s.test("a link that is changed later does not change the grant", async () => {
  await using w = await world();
  const link = join(w.top, "link");
  await symlink("rootfs", link);
  const grant = await w.acquire(link);
  await rm(link);
  await symlink("engine", link);
  assert.equal(grant, { type: "share", directory: w.rootfs });
});

s.test("release is success with a grant, without one, twice, and when the directory is gone", async () => {
  await using w = await world();
  const intent = w.intentOf({ kind: "directory", path: w.rootfs });
  const grant = await w.holding.acquire(intent, quietCall());
  await w.holding.release({ intent, grant }, quietCall());
  assert.equal((await readdir(w.top)).sort(), ["engine", "rootfs"]);
  await rm(w.rootfs, { recursive: true });
  await w.holding.release({ intent, grant }, quietCall());
  await w.holding.release({ intent, grant: undefined }, quietCall());
});

s.test("what cannot be a rootfs is INVALID_INPUT with the value as given and the absolute path", async () => {
  await using w = await world();
  await writeFile(join(w.top, "file"), "");
  await symlink("loop", join(w.top, "loop"));
  for (const [path, text] of [
    [join(w.top, "missing"), /missing does not exist/],
    [relative(process.cwd(), join(w.top, "missing")), new RegExp(`${w.top}/missing does not exist`)],
    [join(w.top, "file"), /file is not a directory/],
    [join(w.top, "file", "below"), /below is not a directory/],
    [join(w.top, "loop"), /leads to itself/],
    ["/tmp/a\0b", /null bytes/],
    ["/", /host's own root/],
    ["/..", /host's own root/],
  ] as const) {
    const error = await rejects(w.acquire(path), "INVALID_INPUT");
    assert.equal(error.data, { path: "rootfs", value: path, wanted: "a readable directory" });
    assert.match(error.message, text);
  }
});

s.test("a directory that holds, or lies in, the engine's state is refused; one beside it is not", async () => {
  await using w = await world();
  await mkdir(join(w.state, "inner"));
  await mkdir(join(w.top, "engine", "state-of-mind"));
  await symlink(w.state, join(w.top, "link"));
  for (const path of [w.top, join(w.top, "engine"), w.state, join(w.state, "inner"), join(w.top, "link")]) {
    assert.match((await rejects(w.acquire(path), "INVALID_INPUT")).message, /engine's own state/);
  }
  await w.acquire(join(w.top, "engine", "state-of-mind"));
});

s.test("a directory that this user cannot read is INVALID_INPUT", async () => {
  await using w = await world();
  await chmod(w.rootfs, 0o300);
  const root = process.geteuid?.() === 0;
  if (root) {
    await chmod(w.top, 0o755);
    process.seteuid?.(NOBODY); // root can read everything
  }
  try {
    assert.match((await rejects(w.acquire(w.rootfs), "INVALID_INPUT")).message, /rootfs cannot be read/);
  } finally {
    if (root) process.seteuid?.(0);
  }
});

s.run();
