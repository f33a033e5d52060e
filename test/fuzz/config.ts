import fc from "fast-check";
import { isTapvisorError } from "tapvisor/plugin";
import * as assert from "uvu/assert";
import { containerConfig } from "../../src/config/container-config.ts";
import { parseConfig } from "../../src/config/engine-config.ts";
import { sandboxConfig } from "../../src/config/sandbox-config.ts";
import { assertSafeText } from "./support/bounded.ts";
import { mutated } from "./support/bytes.ts";
import type { Property } from "./support/property.ts";

const text = fc.oneof(
  fc.string({ unit: "binary", maxLength: 12 }),
  fc.constantFrom(
    "/",
    "/a",
    "a",
    "..",
    "512MiB",
    "1.5GiB",
    "0-1",
    "\0",
    "\u001b[2J",
    "\u202e",
    "__proto__",
    "constructor",
    "-1",
    "x".repeat(5000),
  ),
);
const loop: Record<string, unknown> = {};
loop.loop = loop;
const odd = fc.constantFrom<unknown>(
  Number.NaN,
  -0,
  2 ** 53,
  -1,
  1.5,
  1n,
  [1n],
  { deep: [1n] },
  loop,
  [loop],
  Symbol("s"),
  () => 1,
  null,
  undefined,
  new Date(Number.NaN),
);
/** Objects come without a prototype too, and with keys that every object has already. */
const anything = fc.oneof(
  fc.anything({ maxDepth: 3, withBigInt: true, withNullPrototype: true, withDate: true, withMap: true, withTypedArray: true, key: text }),
  odd,
  text,
);
const mostly = (valid: fc.Arbitrary<unknown>) => fc.oneof({ weight: 14, arbitrary: valid }, { weight: 1, arbitrary: anything });
const some = (valid: fc.Arbitrary<unknown>) => mostly(fc.array(mostly(valid), { maxLength: 3 }));
const shape = (fields: Record<string, fc.Arbitrary<unknown>>, required: string[] = []) =>
  mostly(fc.record({ ...fields, [Object.keys(fields)[0] === "" ? "x" : "extra"]: anything }, { requiredKeys: required }));
const only = (fields: Record<string, fc.Arbitrary<unknown>>, required: string[] = []) => fc.record(fields, { requiredKeys: required });
const size = mostly(fc.constantFrom<unknown>("512MiB", "1GiB", 2 ** 30, "128MiB"));
const path = mostly(fc.constantFrom("/srv", "rel/a", "/dev/null"));
const names = mostly(fc.dictionary(text, mostly(text), { maxKeys: 3, noNullPrototype: false }));

const mount = fc.oneof(
  shape({ source: path, target: path, readonly: mostly(fc.boolean()) }),
  shape({ type: mostly(fc.constantFrom("bind", "volume", "tmpfs", "disk")), target: path, source: path, volume: text, size }),
);
const resources = shape({
  vcpus: mostly(fc.nat(4)),
  memory: size,
  pids: mostly(fc.nat()),
  cpuset: text,
  hugepages: names,
  cpuShares: mostly(fc.nat()),
});
const container = only(
  {
    id: mostly(fc.constantFrom("c", "web.1")),
    rootfs: mostly(
      fc.oneof(path, only({ directory: path, access: text }), only({ block: path, format: text, fstype: text }), only({ image: text })),
    ),
    command: some(text),
    env: names,
    cwd: path,
    user: shape({ uid: mostly(fc.nat()), gid: mostly(fc.nat()), additionalGids: some(fc.nat()) }),
    hostname: text,
    mounts: some(mount),
    devices: some(shape({ source: path, target: path, readonly: mostly(fc.boolean()) })),
    shmSize: size,
    resources,
    annotations: names,
    hooks: shape({
      prestart: some(shape({ path: mostly(fc.constant("/bin/true")), args: some(text), env: some(text), timeout: mostly(fc.nat()) })),
    }),
  },
  ["rootfs", "command"],
);
/** A good container but for one size: of many fields one is mostly bad, which hides the others. */
const oneSize = fc.record({ rootfs: fc.constant("/srv"), command: fc.constant(["sh"]), shmSize: fc.oneof(size, odd, fc.double()) });
const sandbox = only({
  id: mostly(fc.constantFrom("s", "web.1")),
  vcpus: mostly(fc.nat(8)),
  memory: size,
  maxVcpus: mostly(fc.nat(300)),
  maxMemory: size,
  sizing: mostly(fc.constantFrom("dynamic", "static")),
  hostCpus: text,
  hostname: text,
  detached: mostly(fc.boolean()),
  annotations: mostly(
    fc.dictionary(
      fc.constantFrom("io.kubernetes.cri.sandbox-cpu-quota", "io.kubernetes.cri.sandbox-cpu-period", "io.kubernetes.cri.sandbox-memory"),
      mostly(fc.integer().map(String)),
    ),
  ),
  boot: shape({ timeoutMs: mostly(fc.nat()), retries: mostly(fc.nat(7)) }),
});

/** What a refusal must say; a value in it may be cut. */
function assertRefusal(error: unknown, codes: readonly string[]): void {
  assert.ok(isTapvisorError(error), `threw ${error instanceof Error ? error.stack : String(error)}`);
  assert.ok(codes.includes(error.code), `${error.code}: ${error.message}`);
  assertSafeText(error.message, 12_000, "the message");
  if (error.code === "INVALID_INPUT") assert.ok(error.data.path !== "" && error.data.wanted !== "", error.message);
}

/** Plain data that a record of the sandbox gives back as it was. */
function assertPlain(config: object): void {
  assert.equal(JSON.parse(JSON.stringify(config)), JSON.parse(JSON.stringify(structuredClone(config))));
  assert.is(Object.getPrototypeOf(config), Object.prototype);
  assert.is(Reflect.get({}, "polluted"), undefined);
}

const source = fc.constantFrom(
  '// mine\n{\n  preset: "qemu",\n  root: "./state",\n  plugins: ["./a.ts", ["b", { max: 1 }]], /* c */\n  slots: { agent: "grpc" },\n}\n',
  "{ 'preset': 'fake', slots: { \"state\": 'fs', }, }",
  '{ plugins: [["a", { deep: [[[{ b: -4.5, c: NaN }]]] }], 7], "__proto__": { preset: 1 } }',
);
const documents = fc.oneof(
  mutated(source.map((each) => Buffer.from(each))).map((bytes) => bytes.toString("utf8")),
  fc.string({ unit: "binary", maxLength: 60 }),
  fc.string({ unit: fc.constantFrom(..."{}[],:\"'/*\\\n a1\u2028"), maxLength: 60 }),
  fc.json({ maxDepth: 4, stringUnit: "binary" }),
  fc.tuple(fc.constantFrom("[", "{a:", " ", "/**/", '"x'), fc.constantFrom(100, 2000)).map(([part, times]) => part.repeat(times)),
);

export const config: readonly Property[] = [
  {
    name: "config: any container options are a configuration or INVALID_INPUT with the field's path",
    runs: 1500,
    make: () =>
      fc.property(
        fc.oneof({ weight: 8, arbitrary: container }, { weight: 1, arbitrary: oneSize }, { weight: 1, arbitrary: anything }),
        (options) => {
          try {
            const made = containerConfig(options);
            assertPlain(made);
            assert.ok(Number.isSafeInteger(made.shmBytes) && made.shmBytes > 0, `${made.shmBytes} bytes`);
          } catch (error) {
            if (error instanceof assert.Assertion) throw error;
            assertRefusal(error, ["INVALID_INPUT"]);
          }
        },
      ),
  },
  {
    name: "config: any sandbox options are a configuration or INVALID_INPUT with the field's path, or more than the host has",
    runs: 1500,
    make: () =>
      fc.property(fc.oneof({ weight: 9, arbitrary: sandbox }, { weight: 1, arbitrary: anything }), (options) => {
        try {
          assertPlain(sandboxConfig(options));
        } catch (error) {
          if (error instanceof assert.Assertion) throw error;
          assertRefusal(error, ["INVALID_INPUT", "HOST_LIMIT"]);
        }
      }),
  },
  {
    name: "config: any text is an engine's configuration or INVALID_CONFIG with file and position",
    runs: 2000,
    make: () =>
      fc.property(documents, (document) => {
        try {
          assertPlain(parseConfig("f.json5", document));
        } catch (error) {
          if (error instanceof assert.Assertion) throw error;
          assertRefusal(error, ["INVALID_CONFIG"]);
          if (!isTapvisorError(error) || error.code !== "INVALID_CONFIG") return;
          const { line = 0, column = 0 } = error.data;
          const text = document.split("\n")[line - 1];
          assert.ok(text !== undefined && column >= 1 && column <= text.length + 1, `${line}:${column} of ${JSON.stringify(document)}`);
        }
      }),
  },
];
