import { mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import * as assert from "uvu/assert";
import { findPort, portName } from "../../../../plugins/guest-linux/agent/find-port.ts";
import { openPort } from "../../../../plugins/guest-linux/agent/port.ts";
import { commandSearch } from "../../../../plugins/guest-linux/agent/runtime/find-command.ts";
import { StatusError, statusOf } from "../../../../plugins/guest-linux/agent/status.ts";
import { AGENT_VERSION } from "../../../../plugins/guest-linux/agent/version.ts";
import { suite } from "../../../support/suite.ts";
import { tempDirectory } from "../../../support/temp.ts";
import { Check, fakeGuest, Version } from "./support/fake-guest.ts";

const s = suite("guest agent: in the guest");

s.test("Check and Version answer before there is a sandbox, with the package's version", async () => {
  await using guest = await fakeGuest();
  assert.equal(await guest.raw(Check, { service: "" }), { status: "SERVING" });
  const { agent_version } = await guest.raw(Version, {});
  const manifest = JSON.parse(await readFile(new URL("../../../../package.json", import.meta.url), "utf8"));
  assert.is(agent_version, `tapvisor/${manifest.version}`);
  assert.is(AGENT_VERSION, manifest.version);
});

s.test("the port is found by its name, which the kernel's command line may give", async () => {
  assert.is(portName("quiet panic=1\n"), "agent.channel.0");
  assert.is(portName("a tapvisor.agent_port=x.y quiet"), "x.y");
  await using directory = await tempDirectory();
  for (const [device, name] of [
    ["vport0p1", "other"],
    ["vport1p1", "agent.channel.0"],
  ] as const) {
    await mkdir(join(directory.path, "class/virtio-ports", device), { recursive: true });
    await writeFile(join(directory.path, "class/virtio-ports", device, "name"), `${name}\n`);
  }
  assert.is(findPort("agent.channel.0", directory.path, "/dev"), "/dev/vport1p1");
  assert.throws(() => findPort("missing", directory.path), /"missing": there are other, agent/);
  assert.throws(() => findPort("missing", join(directory.path, "none")), /there are none/);
});

s.test("the port gives what arrives as it comes, an empty buffer for a read of nothing, and writes all", async () => {
  await using directory = await tempDirectory();
  const path = join(directory.path, "port");
  const content = Buffer.alloc(300_000, "0123456789");
  await writeFile(path, content);
  const port = openPort(path);
  const parts: Buffer[] = [];
  for await (const chunk of port.read(() => 0) as AsyncIterable<Buffer>) {
    if (chunk.length === 0) break;
    parts.push(chunk);
  }
  assert.ok(Buffer.concat(parts).equals(content));
  await port.write([Buffer.from("mo"), Buffer.from("re")]);
  await port.close();
  assert.ok((await readFile(path)).equals(Buffer.concat([content, Buffer.from("more")])));
});

s.test("what is owed of a frame is waited for until the host is gone", async () => {
  await using directory = await tempDirectory();
  const path = join(directory.path, "port");
  await writeFile(path, Buffer.alloc(100_000, "0123456789"));
  const port = openPort(path);
  const sizes: number[] = [];
  let owed = 0;
  for await (const chunk of port.read(() => owed) as AsyncIterable<Buffer>) {
    sizes.push(chunk.length);
    if (sizes.length === 2) break;
    owed = 150_000; // more than there is
  }
  assert.equal(sizes, [100_000, 0]);
  await port.close();
});

s.test("a command is looked for as the container would see it", async () => {
  await using directory = await tempDirectory();
  const rootfs = join(directory.path, "rootfs");
  const put = async (name: string) => {
    await mkdir(dirname(join(rootfs, name)), { recursive: true });
    await writeFile(join(rootfs, name), "");
  };
  await put("usr/bin/here");
  await put("work/tool");
  await symlink("/usr/bin", join(rootfs, "bin"));
  await symlink("../../../../../../usr/bin/here", join(rootfs, "usr/bin/up"));
  await symlink("/loop", join(rootfs, "loop"));
  await writeFile(join(directory.path, "outside"), "");
  await symlink("../../outside", join(rootfs, "usr/out"));
  const exists = (command: string, env = ["PATH=/nowhere:/bin"], cwd = "/work") =>
    commandSearch(rootfs, { args: [command], env, cwd }).exists();
  assert.is(await exists("here"), true);
  assert.is(await exists("/bin/here"), true);
  assert.is(await exists("/usr/bin/up"), true, "a link above the root stays at the root");
  assert.is(await exists("./tool"), true);
  assert.is(await exists("tool"), false, "the working directory is not searched");
  assert.is(await exists("/loop"), false);
  assert.is(await exists("/usr/out"), false, "what is outside of the rootfs is not seen");
  assert.is(await exists("/usr/bin/here/x"), false);
  assert.is(await exists("here", []), false);
});

s.test("whatever is thrown becomes one line of at most 4 KiB", () => {
  assert.equal(statusOf(new StatusError("NOT_FOUND", "a\nb\u001b[31mc", 127)), {
    status: "NOT_FOUND",
    details: "a b [31mc",
    exitCode: 127,
  });
  assert.equal(statusOf(null), { status: "INTERNAL", details: "null" });
  const long = statusOf(new Error("é".repeat(5000))).details;
  assert.ok(Buffer.byteLength(long) <= 4096 && /^é+$/.test(long));
});

s.run();
