import { chmod, link, mkdir, readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { ensureVolume, listVolumes, removeVolume, volumeDirectory } from "../../src/volume/volumes.ts";
import { rejects } from "../support/rejects.ts";
import { suite } from "../support/suite.ts";
import { tempDirectory } from "../support/temp.ts";

const s = suite("volumes");

const modeOf = async (path: string) => ((await stat(path)).mode & 0o7777).toString(8);

/** A root that is not there yet. */
async function world() {
  const temporary = await tempDirectory();
  return { root: join(temporary.path, "root"), top: temporary.path, [Symbol.asyncDispose]: () => temporary[Symbol.asyncDispose]() };
}

s.test("a volume lies below the root under its name, and a name that is none is INVALID_INPUT for every call", async () => {
  await using w = await world();
  assert.is(volumeDirectory("/srv/tapvisor", "data-1"), "/srv/tapvisor/volumes/data-1");
  for (const name of ["", ".", "..", "../x", "a/b", ".removed-x", "1st", "a".repeat(32), "a\0b"]) {
    for (const call of [
      async () => volumeDirectory(w.root, name),
      () => ensureVolume(w.root, name),
      () => removeVolume(w.root, name, []),
    ]) {
      assert.is((await rejects(call(), "INVALID_INPUT")).data.path, "volume");
    }
  }
  assert.equal(await readdir(w.top), []);
});

s.test("ensureVolume() makes the directory for everybody in one that is private, whatever the umask", async () => {
  await using w = await world();
  const umask = process.umask(0o077);
  try {
    assert.is(await ensureVolume(w.root, "data"), volumeDirectory(w.root, "data"));
  } finally {
    process.umask(umask);
  }
  assert.is(await modeOf(join(w.root, "volumes")), "700");
  assert.is(await modeOf(volumeDirectory(w.root, "data")), "755");
});

s.test("ensureVolume() leaves an existing volume as its containers made it, and finishes one whose maker died", async () => {
  await using w = await world();
  const directory = await ensureVolume(w.root, "data");
  await writeFile(join(directory, "file"), "kept");
  await chmod(directory, 0o700);
  await ensureVolume(w.root, "data");
  assert.is(await modeOf(directory), "700");
  assert.is(await readFile(join(directory, "file"), "utf8"), "kept");
  await mkdir(volumeDirectory(w.root, "half"), 0o1700);
  assert.is(await modeOf(await ensureVolume(w.root, "half")), "755");
});

s.test("of many that ensure one volume at once all get the same directory, and what one writes there stays", async () => {
  await using w = await world();
  const write = async (number: number) => writeFile(join(await ensureVolume(w.root, "data"), `file-${number}`), "");
  await Promise.all(Array.from({ length: 50 }, (_, number) => write(number)));
  assert.is((await readdir(volumeDirectory(w.root, "data"))).length, 50);
  assert.is(await modeOf(volumeDirectory(w.root, "data")), "755");
});

s.test(
  "ensureVolume() and removeVolume() of one name at once end with the volume there or not, never with an error or remains",
  async () => {
    await using w = await world();
    const both = () => [ensureVolume(w.root, "data"), removeVolume(w.root, "data", [])];
    await Promise.all(Array.from({ length: 50 }, both).flat());
    await removeVolume(w.root, "data", []);
    assert.equal(await readdir(join(w.root, "volumes")), []);
  },
);

s.test("a link or a file in a volume's place is refused by ensureVolume() and removeVolume(), and left alone", async () => {
  await using w = await world();
  await mkdir(join(w.root, "volumes"), { recursive: true });
  const outside = join(w.top, "outside");
  await mkdir(outside);
  await symlink(outside, volumeDirectory(w.root, "link"));
  await symlink("nowhere", volumeDirectory(w.root, "dangling"));
  await writeFile(volumeDirectory(w.root, "file"), "");
  for (const [name, text] of [
    ["link", /link is a link/],
    ["dangling", /dangling is a link/],
    ["file", /file is a file/],
  ] as const) {
    for (const call of [() => ensureVolume(w.root, name), () => removeVolume(w.root, name, [])]) {
      const error = await rejects(call(), "INVALID_INPUT");
      assert.match(error.message, text);
      assert.equal(error.data, { path: "volume", value: name, wanted: "a directory" });
    }
  }
  assert.equal((await readdir(join(w.root, "volumes"))).sort(), ["dangling", "file", "link"]);
  assert.equal(await listVolumes(w.root), []);
});

s.test("listVolumes() has all volumes by name with the time they were made; none when there is no root", async () => {
  await using w = await world();
  assert.equal(await listVolumes(w.root), []);
  const before = Date.now();
  for (const name of ["web", "db"]) await ensureVolume(w.root, name);
  await writeFile(join(volumeDirectory(w.root, "db"), "file"), "");
  const volumes = await listVolumes(w.root);
  assert.equal(
    volumes.map(({ name }) => name),
    ["db", "web"],
  );
  for (const volume of volumes) {
    assert.equal(Object.keys(volume), ["name", "created"]);
    assert.ok(Math.abs(Date.parse(volume.created) - before) < 60_000, volume.created);
  }
});

s.test("listVolumes({ measure }) says what the files take on the disk, one of two names once", async () => {
  await using w = await world();
  const directory = await ensureVolume(w.root, "data");
  const measured = async () => (await listVolumes(w.root, { measure: true }))[0]?.bytes ?? Number.NaN;
  const empty = await measured();
  await mkdir(join(directory, "below"));
  await writeFile(join(directory, "below", "file"), Buffer.alloc(2 ** 20, 1));
  const one = await measured();
  assert.ok(one - empty >= 2 ** 20 && one - empty < 2 ** 20 + 65_536, `${one - empty} bytes`);
  await link(join(directory, "below", "file"), join(directory, "same"));
  await symlink("/usr", join(directory, "usr"));
  assert.ok((await measured()) - one < 65_536);
  assert.is((await listVolumes(w.root, { measure: true, signal: AbortSignal.abort() }))[0]?.bytes, undefined);
});

s.run();
