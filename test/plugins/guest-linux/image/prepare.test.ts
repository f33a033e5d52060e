import { chmod, copyFile, mkdir, readdir, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { inspectGuestHost } from "../../../../plugins/guest-linux/image/inspect.ts";
import { findPrepared, type GuestSources, prepareGuest } from "../../../../plugins/guest-linux/image/prepare.ts";
import { findProgram } from "../../../../plugins/guest-linux/image/program.ts";
import { suite } from "../../../support/suite.ts";
import { tempDirectory } from "../../../support/temp.ts";
import { call, environment, failureOf, RELEASE, writeFiles, writeKernel, writeProgram } from "../fixtures.ts";

const s = suite("guest-linux prepare");

/** A made-up kernel and agent, with this machine's own node, crun and busybox. */
async function sources(directory: string): Promise<GuestSources> {
  await writeKernel(join(directory, "system"));
  await writeFiles(directory, { "agent.cjs": "console.log(1)" });
  const places = { systemRoot: join(directory, "system"), unpacked: join(directory, "kernels") };
  return { places, agent: join(directory, "agent.cjs"), cache: join(directory, "guest") };
}

async function prepared(from: GuestSources): Promise<{ directory: string; built: boolean }> {
  const lines: string[] = [];
  const { directory } = await prepareGuest(from, call(), (line) => lines.push(line));
  return { directory, built: lines.some((line) => line.startsWith("building")) };
}

async function entries(from: GuestSources): Promise<string[]> {
  return (await readdir(from.cache)).filter((name) => name !== "requests");
}

s.test(
  "a guest is built once, found the next time, found by content when only times changed, built anew when an input changed or it is damaged",
  async () => {
    await using temp = await tempDirectory();
    const from = await sources(temp.path);
    assert.is(await findPrepared(from), undefined);
    const first = await prepared(from);
    assert.ok(first.built);
    assert.equal(await prepared(from), { ...first, built: false });
    assert.is((await findPrepared(from))?.directory, first.directory);

    await writeFile(from.agent, "console.log(1)");
    assert.equal(await prepared(from), { ...first, built: true }, "the same content has the same place");
    assert.is((await entries(from)).length, 1);

    await writeFile(from.agent, "console.log(2)");
    const second = await prepared(from);
    assert.is.not(second.directory, first.directory);

    await chmod(join(second.directory, "image.erofs"), 0o644);
    await truncate(join(second.directory, "image.erofs"), 1000);
    assert.equal(await prepared(from), { ...second, built: true });
    assert.equal(await prepared(from), { ...second, built: false });
  },
  { timeoutMs: 120_000 },
);

s.test(
  "with everything in the cache no program is run at all",
  async () => {
    await using temp = await tempDirectory();
    const from = await sources(temp.path);
    const bin = join(temp.path, "bin");
    // Their paths are part of the request: the same ones before and after.
    for (const name of ["crun", "busybox"])
      await mkdir(bin, { recursive: true }).then(async () => copyFile((await findProgram(name)) ?? name, join(bin, name)));
    using _path = environment({ PATH: `${bin}:${process.env.PATH}` });
    await prepared(from);
    for (const name of ["apt-get", "apt-cache", "dpkg-deb", "mkfs.erofs", "ldd"]) {
      await writeProgram(join(bin, name), `echo ${name} >> ${temp.path}/ran`);
    }
    assert.not.ok((await prepared(from)).built);
    assert.not.ok((await readdir(temp.path)).includes("ran"));
  },
  { timeoutMs: 60_000 },
);

s.test(
  "two at once give the same guest and leave nothing else",
  async () => {
    await using temp = await tempDirectory();
    const from = await sources(temp.path);
    const [one, two] = await Promise.all([prepared(from), prepared(from)]);
    assert.is(one.directory, two.directory);
    assert.is((await entries(from)).length, 1);
  },
  { timeoutMs: 60_000 },
);

s.test("a missing agent bundle is HOST_MISSING with the command that makes it", async () => {
  await using temp = await tempDirectory();
  const error = await failureOf(prepared({ ...(await sources(temp.path)), agent: join(temp.path, "absent.cjs") }));
  assert.is(error.code, "HOST_MISSING");
  assert.match(error.hint ?? "", "npm run build:agent");
});

s.test("a missing program is HOST_MISSING with its package", async () => {
  await using temp = await tempDirectory();
  const from = await sources(temp.path);
  using _path = environment({ PATH: join(temp.path, "empty") });
  const error = await failureOf(prepared(from));
  assert.is(error.code, "HOST_MISSING");
  assert.match(error.hint ?? "", "apt-get install busybox-static");
  const findings = await inspectGuestHost(from, call());
  const packages = findings.filter(({ level }) => level === "missing").flatMap((finding) => finding.packages ?? []);
  assert.ok(packages.includes("crun") && packages.includes("busybox-static"));
});

s.test("a busybox that needs shared libraries is refused, naming the package of the static one", async () => {
  await using temp = await tempDirectory();
  const from = await sources(temp.path);
  const bin = join(temp.path, "bin");
  await mkdir(bin);
  await copyFile("/bin/sh", join(bin, "busybox"));
  using _path = environment({ PATH: `${bin}:${process.env.PATH}` });
  const error = await failureOf(prepared(from));
  assert.is(error.code, "HOST_MISSING");
  assert.match(error.hint ?? "", "busybox-static");
});

s.test("modules of another kernel release are refused, naming both", async () => {
  await using temp = await tempDirectory();
  const from = await sources(temp.path);
  await writeKernel(join(temp.path, "other"), "6.5.0-1-cloud-amd64");
  const kernel = join(temp.path, "system/boot", `vmlinuz-${RELEASE}`);
  const modules = join(temp.path, "other/lib/modules/6.5.0-1-cloud-amd64");
  const error = await failureOf(prepared({ ...from, places: { ...from.places, kernel, modules } }));
  assert.is(error.code, "INVALID_INPUT");
  assert.match(error.message, RELEASE);
  assert.match(error.message, "6.5.0-1-cloud-amd64");
});

s.test(
  "the doctor's findings go from not built to ok to damaged, and change nothing",
  async () => {
    await using temp = await tempDirectory();
    const from = await sources(temp.path);
    const image = async () => (await inspectGuestHost(from, call())).find(({ check }) => check === "guest image");
    assert.is((await image())?.level, "degraded");
    assert.not.ok((await readdir(temp.path)).includes("guest"));
    const { directory } = await prepared(from);
    assert.equal(await image(), { check: "guest image", level: "ok", found: directory });
    await chmod(join(directory, "initrd.cpio"), 0o644);
    await writeFile(join(directory, "initrd.cpio"), "x", { flag: "r+" });
    const damaged = await image();
    assert.is(damaged?.level, "missing");
    assert.match(damaged?.fix ?? "", directory);
  },
  { timeoutMs: 60_000 },
);

s.run();
