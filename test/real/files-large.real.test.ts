import { createHash, randomBytes } from "node:crypto";
import { packTar } from "modern-tar";
import * as assert from "uvu/assert";
import { failureOf, realEngine } from "../support/real-engine.ts";
import { suite } from "../support/suite.ts";

const s = suite("large and many files of containers on real QEMU");
const sha = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/** Makes 5,000 files without a process for each. */
const MANY = "mkdir /many; i=0; while [ $i -lt 5000 ]; do : > /many/file-$i; i=$((i+1)); done; echo made; sleep 3600";

s.test(
  "32 MiB go in and come out unchanged; 5,000 files are listed, and removed with their directory; 100 go in as an archive",
  async () => {
    await using world = await realEngine();
    await using sandbox = await world.engine.runSandbox({ memory: "512MiB" });
    const web = await sandbox.run({ rootfs: world.rootfs, command: ["sh", "-c", MANY] });
    const { files } = web;
    const timed = async <T>(what: string, work: Promise<T>): Promise<T> => {
      const from = performance.now();
      const result = await work;
      console.log(`${what} in ${Math.round(performance.now() - from)} ms`);
      return result;
    };
    const bytes = randomBytes(32 * 2 ** 20);
    await timed("32 MiB written", files.write("/large", bytes));
    assert.is(sha(await timed("32 MiB read", files.read("/large"))), sha(bytes));
    await files.remove("/large");

    const small = Array.from({ length: 100 }, (_, index) => ({ header: { name: `small-${index}`, size: 5 }, body: "small" }));
    await timed("100 files unpacked", files.tarIn([await packTar(small)], "/small"));
    assert.is((await files.list("/small")).length, 100);

    const names = Array.from({ length: 5000 }, (_, index) => `file-${index}`);
    for await (const line of web.stdout.lines()) if (line === "made") break;
    const listed = await timed("5,000 files listed", files.list("/many"));
    assert.equal(
      listed.map(({ name }) => name),
      [...names].sort(),
    );
    const { data } = await failureOf(files.remove("/many"));
    assert.is(Reflect.get(data, "errno"), "ENOTEMPTY");
    await timed("5,000 files removed", files.remove("/many", { recursive: true }));
    assert.is(await files.exists("/many"), false);
  },
  { timeoutMs: 590_000 },
);

s.run();
