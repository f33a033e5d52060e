import { writeFile } from "node:fs/promises";
import { totalmem } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { isTapvisorError } from "../../src/base/errors.ts";
import { containerConfig } from "../../src/config/container-config.ts";
import { loadConfig, parseConfig } from "../../src/config/engine-config.ts";
import { positionOf } from "../../src/config/json5-position.ts";
import { sandboxConfig } from "../../src/config/sandbox-config.ts";
import { suite } from "../support/suite.ts";
import { tempDirectory } from "../support/temp.ts";

const s = suite("config");

function refused(work: () => unknown): { code: string; path: unknown; message: string } {
  try {
    work();
  } catch (error) {
    if (isTapvisorError(error)) return { code: error.code, path: Reflect.get(error.data, "path"), message: error.message };
    throw error;
  }
  throw new Error("nothing was refused");
}

s.test("sandboxConfig() fills in defaults", () => {
  const config = sandboxConfig({ id: "web.1" });
  assert.is(config.memoryBytes, 512 * 2 ** 20);
  assert.is(config.vcpus, 1);
  assert.is(config.hostname, "web-1");
  assert.is(config.detached, false);
  assert.match(sandboxConfig(undefined).id, /^sb-[0-9a-f]{10}$/);
});

s.test("sandboxConfig() names the field and the value of what it refuses", () => {
  const cases: [unknown, string][] = [
    [{ memory: "512" }, "memory"],
    [{ memory: "-1MiB" }, "memory"],
    [{ memory: "64MiB" }, "memory"],
    [{ memory: 512 * 2 ** 20 + 1 }, "memory"],
    [{ memory: Number.NaN }, "memory"],
    [{ vcpus: 0 }, "vcpus"],
    [{ vcpus: 1.5 }, "vcpus"],
    [{ vcpus: "2" }, "vcpus"],
    [{ id: "../x" }, "id"],
    [{ id: "a/b" }, "id"],
    [{ id: ".." }, "id"],
    [{ id: "1a" }, "id"],
    [{ id: "a".repeat(32) }, "id"],
    [{ hostname: "no dots.here" }, "hostname"],
    [{ annotations: { a: "x\u001b[31m" } }, "annotations.a"],
    [{ boot: { timeoutMs: 0 } }, "boot.timeoutMs"],
    [{ boot: { retries: 9 } }, "boot.retries"],
    [{ colour: "red" }, "colour"],
    ["text", "sandbox"],
  ];
  for (const [given, path] of cases) {
    const error = refused(() => sandboxConfig(given));
    assert.is(error.code, "INVALID_INPUT", JSON.stringify(given));
    assert.is(error.path, path, JSON.stringify(given));
  }
  assert.match(refused(() => sandboxConfig({ memory: "512" })).message, 'sandbox.memory "512": wanted a size with its unit');
});

s.test("sandboxConfig() says what the host has when more memory is asked for", () => {
  const error = refused(() => sandboxConfig({ memory: Math.ceil(totalmem() / 2 ** 20 + 1) * 2 ** 20 }));
  assert.is(error.code, "HOST_LIMIT");
  assert.match(error.message, /the host has \d/);
});

const minimal = { rootfs: "/srv/rootfs", command: ["true"] };

s.test("containerConfig() resolves host paths and keeps the program's words as they are", () => {
  const config = containerConfig({ ...minimal, rootfs: "rel", command: ["sh", "-c", ""], mounts: [{ source: "data", target: "/data/" }] });
  assert.equal(config.rootfs, { source: { kind: "directory", path: join(process.cwd(), "rel") }, access: "copy-on-write" });
  assert.equal(config.command, ["sh", "-c", ""]);
  assert.equal(config.mounts, [{ type: "bind", source: join(process.cwd(), "data"), target: "/data", readonly: false }]);
  assert.equal(config.user, { uid: 0, gid: 0, additionalGids: [] });
});

s.test("containerConfig() names the field of what it refuses", () => {
  const cases: [unknown, string][] = [
    [undefined, "container"],
    [{ ...minimal, rootfs: undefined }, "rootfs"],
    [{ ...minimal, rootfs: { directory: "/x", access: "rw" } }, "rootfs"],
    [{ ...minimal, command: [] }, "command"],
    [{ ...minimal, command: "ls -l" }, "command"],
    [{ ...minimal, command: [""] }, "command"],
    [{ ...minimal, command: ["a\0b"] }, "command.0"],
    [{ ...minimal, env: { "A=B": "c" } }, "env.A=B"],
    [{ ...minimal, cwd: "relative" }, "cwd"],
    [{ ...minimal, user: { uid: -1 } }, "user.uid"],
    [{ ...minimal, user: { uid: 2 ** 31 } }, "user.uid"],
    [{ ...minimal, mounts: [{ source: "/a", target: "data" }] }, "mounts.0.target"],
    [{ ...minimal, mounts: [{ source: "/a", target: "/data/../etc" }] }, "mounts.0.target"],
    [{ ...minimal, mounts: [{ source: "/a", target: "/" }] }, "mounts.0.target"],
    [
      {
        ...minimal,
        mounts: [
          { source: "/a", target: "/d" },
          { source: "/b", target: "/d/" },
        ],
      },
      "mounts",
    ],
    [{ ...minimal, resources: { memory: "1" } }, "resources.memory"],
    [{ ...minimal, resources: { vcpus: 0 } }, "resources.vcpus"],
    [{ ...minimal, colour: "red" }, "colour"],
  ];
  for (const [given, path] of cases) {
    const error = refused(() => containerConfig(given));
    assert.is(error.code, "INVALID_INPUT", JSON.stringify(given));
    assert.is(error.path, path, JSON.stringify(given));
  }
});

s.test("what is refused is shown whatever it is: no JSON has it, or it would steer a terminal", () => {
  const loop: Record<string, unknown> = {};
  loop.again = loop;
  const cases: [unknown, string][] = [
    [{ ...minimal, cwd: { deep: [1n] } }, "cwd"],
    [{ ...minimal, rootfs: loop }, "rootfs"],
    [{ ...minimal, env: { "\u009b=": "c" } }, "env.\u009b="],
    [{ ...minimal, "\u202e": 1 }, "\u202e"],
    [{ ...minimal, hostname: "\u009b2J\u0001" }, "hostname"],
  ];
  for (const [given, path] of cases) {
    const error = refused(() => containerConfig(given));
    assert.equal([error.code, error.path], ["INVALID_INPUT", path]);
    assert.not.match(error.message, /[\0-\x1f\x7f-\x9f\u202e]/);
  }
  assert.not.match(refused(() => parseConfig("f", '{ "\u009b": 1 }')).message, "\u009b");
});

s.test("parseConfig() gives line and column of broken JSON5", () => {
  const error = refused(() => parseConfig("/x/tapvisor.config.json5", '{\n  preset: "qemu",\n  plugins: [,\n}'));
  assert.is(error.code, "INVALID_CONFIG");
  assert.match(error.message, /"\/x\/tapvisor\.config\.json5" as JSON5 at 3:13/);
});

s.test("parseConfig() gives path, line and column of a bad field", () => {
  const text = '// mine\n{\n  plugins: [\n    "./a.ts",\n    ["b", { max: 1 }], /* c */\n    7,\n  ],\n}\n';
  const error = refused(() => parseConfig("f.json5", text));
  assert.is(error.path, "plugins.2");
  assert.match(error.message, /at 6:5/);
  const unknown = refused(() => parseConfig("f.json5", '{ preset: "qemu",\n  colour: 1 }'));
  assert.is(unknown.path, "colour");
  assert.match(unknown.message, /at 2:11/);
});

s.test("positionOf() finds values behind comments, quoted keys and nested lists", () => {
  const text = `{ 'a b': [1, {c: "}"}, // x\n 3], "d": { e: /* , */ -4.5 } }`;
  assert.equal(positionOf(text, ["a b", 2]), { line: 2, column: 2 });
  assert.equal(positionOf(text, ["a b", 1, "c"]), { line: 1, column: 18 });
  assert.equal(positionOf(text, ["d", "e"]), { line: 2, column: 24 });
});

s.test("loadConfig() takes the root relative to the file, and refuses a file that is not there by its name", async () => {
  await using directory = await tempDirectory();
  const file = join(directory.path, "my.json5");
  await writeFile(file, "{ root: './state' }");
  assert.is((await loadConfig(file)).config.root, join(directory.path, "state"));
  const error = await loadConfig(join(directory.path, "none.json5")).catch((thrown) => thrown);
  assert.ok(isTapvisorError(error) && error.code === "INVALID_CONFIG");
  assert.match((error as Error).message, "none.json5");
});

s.run();
