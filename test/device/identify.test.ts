import { execFileSync } from "node:child_process";
import { link, mkdir, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { isTapvisorError } from "tapvisor";
import * as assert from "uvu/assert";
import { identifyDevice } from "../../src/device/identify.ts";
import { suite } from "../support/suite.ts";
import { tempDirectory } from "../support/temp.ts";

const s = suite("device identity");

async function refusal(path: string): Promise<string> {
  const error = await identifyDevice("device.path", path).catch((thrown: unknown) => thrown);
  assert.ok(isTapvisorError(error) && error.code === "INVALID_INPUT", String(error));
  assert.is(error.data.path, "device.path");
  assert.is(error.data.value, path);
  return error.message;
}

s.test("links to one image are one device, a copy is another", async () => {
  await using directory = await tempDirectory();
  const [image, hard, soft, copy] = ["a", "b", "c", "d"].map((name) => join(directory.path, name)) as [string, string, string, string];
  await writeFile(image, "x");
  await writeFile(copy, "x");
  await link(image, hard);
  await symlink(image, soft);
  const identity = await identifyDevice("f", image);
  assert.is(await identifyDevice("f", hard), identity);
  assert.is(await identifyDevice("f", soft), identity);
  assert.is.not(await identifyDevice("f", copy), identity);
  assert.match(identity, /^f:\d+:\d+$/);
});

s.test("a block device is known by its numbers", async () => {
  await using directory = await tempDirectory();
  const node = join(directory.path, "node");
  execFileSync("mknod", [node, "b", "7", "300"]);
  assert.is(await identifyDevice("f", node), "b:7:300");
  execFileSync("mknod", [join(directory.path, "large"), "b", "4000", "70000"]);
  assert.is(await identifyDevice("f", join(directory.path, "large")), "b:4000:70000");
});

s.test("what is no device is refused, and it says what it is", async () => {
  await using directory = await tempDirectory();
  const at = (name: string) => join(directory.path, name);
  await mkdir(at("directory"));
  execFileSync("mkfifo", [at("fifo")]);
  const server = createServer().listen(at("socket"));
  await new Promise((resolve) => server.once("listening", resolve));
  assert.match(await refusal(at("none")), "it does not exist");
  assert.match(await refusal(at("directory")), "it is a directory");
  assert.match(await refusal(at("fifo")), "it is a named pipe");
  assert.match(await refusal(at("socket")), "it is a socket");
  assert.match(await refusal("/dev/null"), "it is a character device");
  await new Promise((resolve) => server.close(resolve));
});

s.run();
