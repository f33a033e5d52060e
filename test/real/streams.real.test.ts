import { createHash, randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import type { Container, Sandbox } from "tapvisor";
import * as assert from "uvu/assert";
import { NOTHING, realEngine } from "../support/real-engine.ts";
import { suite } from "../support/suite.ts";

// One VM serves all tests of this file, since a boot under emulation takes seconds; the last test ends it and looks at what is left.
const s = suite("standard streams on real QEMU");
const world = await realEngine();
const { rootfs } = world;
const shared = world.engine.runSandbox({ memory: "512MiB" });
const TIMEOUT = { timeoutMs: 300_000 };
const MiB = 2 ** 20;

const sh = (script: string) => ["sh", "-c", script];

async function ended(container: Container, exitCode = 0): Promise<void> {
  assert.is((await container.wait()).exitCode, exitCode);
  await container.delete();
}

async function availableMemory(sandbox: Sandbox): Promise<number> {
  const container = await sandbox.run({ rootfs, command: ["cat", "/proc/meminfo"] });
  const text = await container.stdout.text();
  await ended(container);
  return Number(/MemAvailable:\s+(\d+)/.exec(text)?.[1]) * 1024;
}

s.test(
  "64 MiB go through stdin, cat and stdout unchanged",
  async () => {
    const container = await (await shared).run({ rootfs, command: ["cat"] });
    const block = randomBytes(MiB);
    const sent = createHash("sha256");
    const writing = (async () => {
      for (let count = 0; count < 64; count++) {
        block.writeUInt32BE(count, 0);
        sent.update(block);
        const piece = Buffer.from(block);
        await new Promise<void>((resolve, reject) => container.stdin.write(piece, (error) => (error ? reject(error) : resolve())));
      }
      container.stdin.end();
    })();
    const received = createHash("sha256");
    let bytes = 0;
    for await (const chunk of container.stdout) {
      received.update(chunk);
      bytes += chunk.length;
    }
    await writing;
    assert.is(bytes, 64 * MiB);
    assert.is(received.digest("hex"), sent.digest("hex"));
    await ended(container);
  },
  TIMEOUT,
);

s.test(
  "every byte and what is no UTF-8 come back as they went",
  async () => {
    const every = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
    const invalid = Buffer.from([0xc3, 0x28, 0xe2, 0x82, 0xff, 0xfe, 0x00, 0x0a, 0xf0, 0x9f]);
    const bytes = Buffer.concat([every, invalid, every.reverse()]);
    const container = await (await shared).run({ rootfs, command: sh("cat; cat /dev/null >&2") });
    container.stdin.end(bytes);
    const [stdout, stderr] = await Promise.all([container.stdout.bytes(), container.stderr.bytes()]);
    assert.is(stdout.toString("hex"), bytes.toString("hex"));
    assert.is(stderr.length, 0);
    await ended(container);
  },
  TIMEOUT,
);

s.test(
  "a producer of 256 MiB with a reader that stops grows neither the host's memory nor the guest's",
  async () => {
    const sandbox = await shared;
    const free = await availableMemory(sandbox);
    const container = await sandbox.run({ rootfs, command: ["dd", "if=/dev/zero", "bs=64k", "count=4096"] });
    await new Promise((resolve) => container.stdout.once("readable", resolve));
    globalThis.gc?.();
    const before = process.memoryUsage();
    await delay(3_000); // the producer runs on as far as it is let
    const after = process.memoryUsage();
    const held = await availableMemory(sandbox);
    assert.ok(after.arrayBuffers - before.arrayBuffers < 4 * MiB, `the host holds ${after.arrayBuffers - before.arrayBuffers} bytes more`);
    assert.ok(after.rss - before.rss < 64 * MiB, `the host uses ${after.rss - before.rss} bytes more`);
    assert.ok(free - held < 48 * MiB, `the guest uses ${free - held} bytes more`);
    let bytes = 0;
    for await (const chunk of container.stdout) bytes += chunk.length;
    assert.is(bytes, 256 * MiB);
    await ended(container);
  },
  TIMEOUT,
);

s.test(
  "lines() takes a line of 3 MiB in pieces, and the lines around it whole",
  async () => {
    const script = "echo first; dd if=/dev/zero bs=1024k count=3 2>/dev/null | tr '\\0' x; echo; echo last";
    const container = await (await shared).run({ rootfs, command: sh(script) });
    const lengths: number[] = [];
    for await (const line of container.stdout.lines()) lengths.push(line.length);
    assert.is(lengths.at(0), 5);
    assert.is(lengths.at(-1), 4);
    assert.is(
      lengths.reduce((sum, length) => sum + length, 0),
      5 + 3 * MiB + 4,
    );
    assert.ok(Math.max(...lengths) <= MiB);
    await ended(container);
  },
  TIMEOUT,
);

s.test(
  "a process that ends without reading its input fails the writer, and its output is whole",
  async () => {
    const container = await (await shared).run({ rootfs, command: sh("head -c 10; exec <&-; echo; echo done") });
    const failed = new Promise<Error>((resolve) => container.stdin.once("error", resolve));
    const writing = setInterval(() => container.stdin.write(randomBytes(64 * 1024)), 20);
    const output = await container.stdout.bytes();
    assert.is(output.subarray(-5).toString(), "done\n");
    assert.match((await failed).message, /takes no more|is closed/);
    clearInterval(writing);
    await ended(container);
  },
  TIMEOUT,
);

s.test(
  "the end of the engine leaves nothing on the host",
  async () => {
    await (await shared).run({ rootfs, command: ["yes"] });
    await world.engine.close();
    assert.equal(await world.host(), NOTHING);
    await world[Symbol.asyncDispose]();
  },
  TIMEOUT,
);

s.run();
