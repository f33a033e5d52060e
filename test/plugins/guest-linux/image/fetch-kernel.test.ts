import { readdir, readFile, watch } from "node:fs/promises";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { fetchKernel, parseDependency } from "../../../../plugins/guest-linux/image/fetch-kernel.ts";
import { identifyProcess } from "../../../../src/base/process-identity.ts";
import { suite } from "../../../support/suite.ts";
import { tempDirectory } from "../../../support/temp.ts";
import { call, environment, failureOf, RELEASE, writeKernel, writeProgram } from "../fixtures.ts";

const s = suite("guest-linux fetch-kernel");
const RECORD = `Package: linux-image-cloud-amd64\nDepends: linux-image-${RELEASE} (= 6.1.27-1)\n`;

/** Stand-ins for the package manager's programs; each call of one is a line in `log`. */
async function packageManager(path: string, scripts: Readonly<Record<string, string>>): Promise<Disposable & { log(): Promise<string> }> {
  const bin = join(path, "bin");
  const log = join(path, "log");
  for (const [name, script] of Object.entries(scripts)) await writeProgram(join(bin, name), `echo "${name} $*" >> ${log}\n${script}`);
  const restore = environment({ PATH: `${bin}:/usr/bin:/bin` });
  return { log: () => readFile(log, "utf8"), [Symbol.dispose]: () => restore[Symbol.dispose]() };
}

s.test("the package is the one the meta package depends on, with its version", () => {
  assert.is(parseDependency(RECORD), `linux-image-${RELEASE}=6.1.27-1`);
  assert.is(parseDependency("Depends: kmod, linux-image-6.1.0-9-cloud-amd64"), "linux-image-6.1.0-9-cloud-amd64");
  assert.is(parseDependency("Package: linux-image-cloud-amd64\nVersion: 1\n"), undefined);
  assert.is(parseDependency(""), undefined);
});

s.test("the package is downloaded, unpacked, kept under its release, and nothing else is left", async () => {
  await using temp = await tempDirectory();
  const packed = join(temp.path, "packed");
  await writeKernel(packed);
  using _programs = await packageManager(temp.path, {
    "apt-cache": `printf '${RECORD.replaceAll("\n", "\\n")}'`,
    "apt-get": "touch linux-image.deb",
    "dpkg-deb": `cp -r ${packed} "$3"`,
  });
  const unpacked = join(temp.path, "kernels");
  const progress: string[] = [];
  const kernel = await fetchKernel(unpacked, call(), (line) => progress.push(line));
  assert.is(kernel.kernel, join(unpacked, RELEASE, "boot", `vmlinuz-${RELEASE}`));
  assert.equal(await readdir(unpacked), [RELEASE]);
  assert.match(progress[0] ?? "", `linux-image-${RELEASE}=6.1.27-1`);
});

s.test("a failed download is HOST_MISSING with the program's words and the command for an administrator; nothing is left", async () => {
  await using temp = await tempDirectory();
  using programs = await packageManager(temp.path, {
    "apt-cache": `printf '${RECORD.replaceAll("\n", "\\n")}'`,
    "apt-get": "echo 'E: no such mirror' >&2; exit 100",
    "dpkg-deb": "exit 1",
  });
  const unpacked = join(temp.path, "kernels");
  const error = await failureOf(fetchKernel(unpacked, call(), () => {}));
  assert.is(error.code, "HOST_MISSING");
  assert.match(error.message, "no such mirror");
  assert.match(error.hint ?? "", "sudo apt-get install linux-image-cloud-amd64");
  assert.equal(await readdir(unpacked), []);
  if (process.getuid?.() === 0) assert.match(await programs.log(), "apt-get update");
});

s.test("a package that holds no kernel is refused and not kept", async () => {
  await using temp = await tempDirectory();
  using _programs = await packageManager(temp.path, {
    "apt-cache": `printf '${RECORD.replaceAll("\n", "\\n")}'`,
    "apt-get": "touch linux-image.deb",
    "dpkg-deb": 'mkdir -p "$3/boot"',
  });
  const unpacked = join(temp.path, "kernels");
  assert.match((await failureOf(fetchKernel(unpacked, call(), () => {}))).message, "holds no kernel");
  assert.equal(await readdir(unpacked), []);
});

s.test("giving up ends the package manager and leaves nothing", async () => {
  await using temp = await tempDirectory();
  const control = new AbortController();
  using _programs = await packageManager(temp.path, {
    "apt-cache": `printf '${RECORD.replaceAll("\n", "\\n")}'`,
    "apt-get": `echo $$ > ${temp.path}/pid; mv ${temp.path}/pid ${temp.path}/started; exec sleep 600`,
    "dpkg-deb": "exit 1",
  });
  const unpacked = join(temp.path, "kernels");
  const started = appears(temp.path, "started").then(() => control.abort());
  const error = await failureOf(fetchKernel(unpacked, call(control.signal), () => {}));
  await started;
  assert.is(error.code, "ABORTED");
  assert.equal(await readdir(unpacked), []);
  const pid = Number(await readFile(join(temp.path, "started"), "utf8"));
  assert.is(await identifyProcess(pid), undefined, "the package manager still runs");
});

/** Resolves when a file of this name is made in the directory. */
async function appears(directory: string, name: string): Promise<void> {
  for await (const event of watch(directory)) if (event.filename === name) return;
}

s.run();
