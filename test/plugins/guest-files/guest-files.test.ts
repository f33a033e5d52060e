import { mkdir, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { pino } from "pino";
import * as assert from "uvu/assert";
import { type GuestFilesOptions, guestFiles } from "../../../plugins/guest-files/index.ts";
import type { Guest } from "../../../src/contracts/guest.ts";
import type { PluginContext } from "../../../src/engine/define-plugin.ts";
import { suite } from "../../support/suite.ts";
import { tempDirectory } from "../../support/temp.ts";

const s = suite("guest-files");
const call = { signal: new AbortController().signal, log: pino({ level: "silent" }) };

async function load(options: object): Promise<Guest> {
  const offers: [string, string, () => Guest][] = [];
  const provide = (...offer: [string, string, () => Guest]) => offers.push(offer);
  await guestFiles(options as GuestFilesOptions).apply({ provide } as unknown as PluginContext);
  const [offer] = offers;
  assert.equal(offer?.slice(0, 2), ["guest", "files"]);
  if (offer === undefined) throw new Error("nothing was provided");
  return offer[2]();
}

async function failureOf(work: Promise<unknown>): Promise<{ code?: string; message: string; data?: object }> {
  try {
    await work;
  } catch (error) {
    return error as Error;
  }
  throw new Error("wanted a failure, it resolved");
}

s.test("ready files are given as they are, absolute, with Kata's port by default", async () => {
  await using temp = await tempDirectory();
  const [kernel, image] = [join(temp.path, "vmlinuz"), join(temp.path, "kata.img")];
  for (const file of [kernel, image]) await writeFile(file, "x");
  const guest = await load({ kernel: relative(process.cwd(), kernel), image, kernelParameters: ["root=/dev/vda1", "ro"] });
  const ready = { kernel, image, kernelParameters: ["root=/dev/vda1", "ro"], agentPort: "agent.channel.0", virtioMem: false };
  assert.equal(await guest.prepare(call), ready);
  assert.equal(await guest.inspectHost(call), [{ check: "guest files", level: "ok", found: `${kernel}, ${image}` }]);
});

s.test("whether the guest drives virtio-mem devices is the user's word", async () => {
  await using temp = await tempDirectory();
  const kernel = join(temp.path, "vmlinuz");
  await writeFile(kernel, "x");
  assert.is((await (await load({ kernel, initrd: kernel, virtioMem: true })).prepare(call)).virtioMem, true);
});

s.test("a file that does not exist is HOST_MISSING naming field and file, and a finding", async () => {
  await using temp = await tempDirectory();
  const kernel = join(temp.path, "vmlinuz");
  await writeFile(kernel, "x");
  for (const [options, field] of [
    [{ kernel: `${kernel}.gone`, initrd: kernel }, "kernel"],
    [{ kernel, initrd: `${kernel}.gone` }, "initrd"],
    [{ kernel, image: `${kernel}/gone` }, "image"],
  ] as const) {
    const guest = await load(options);
    const error = await failureOf(guest.prepare(call));
    assert.is(error.code, "HOST_MISSING");
    assert.match(error.message, `guest-files.${field} ${options[field as keyof typeof options]}`);
    assert.is((await guest.inspectHost(call))[0]?.level, "missing");
  }
});

s.test("a directory or an empty file is INVALID_INPUT naming field and file", async () => {
  await using temp = await tempDirectory();
  const kernel = join(temp.path, "vmlinuz");
  const empty = join(temp.path, "empty");
  const folder = join(temp.path, "folder");
  await writeFile(kernel, "x");
  await writeFile(empty, "");
  await mkdir(folder);
  for (const image of [empty, folder]) {
    const error = await failureOf((await load({ kernel, image })).prepare(call));
    assert.is(error.code, "INVALID_INPUT");
    assert.match(error.message, `guest-files.image ${image}`);
  }
});

s.test("a kernel with nothing to start is refused", async () => {
  await using temp = await tempDirectory();
  const kernel = join(temp.path, "vmlinuz");
  await writeFile(kernel, "x");
  assert.is((await failureOf((await load({ kernel })).prepare(call))).code, "INVALID_INPUT");
});

s.test("options of another kind or name, and words that would become two, are INVALID_INPUT when the plugin loads", async () => {
  for (const options of [
    {},
    { kernel: "" },
    { kernel: 1 },
    { kernel: "k", initrd: 1 },
    { kernel: "k", kernelParameters: ["quiet init=/bin/sh"] },
    { kernel: "k", kernelParameters: ["a\nb"] },
    { kernel: "k", agentPort: "agent,path=/x" },
    { kernel: "k", virtioMem: "yes" },
    { kernel: "k", imgae: "x" },
  ]) {
    assert.is((await failureOf(load(options))).code, "INVALID_INPUT", JSON.stringify(options));
  }
});

s.run();
