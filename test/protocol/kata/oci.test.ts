import fc from "fast-check";
import * as assert from "uvu/assert";
import { isTapvisorError } from "../../../src/base/errors.ts";
import type { OciSpec } from "../../../src/contracts/oci.ts";
import {
  agentServiceDefinition,
  ociFromWire,
  ociToWire,
  resourcesFromWire,
  resourcesToWire,
  type WireSpec,
} from "../../../src/protocol/kata/index.ts";
import { suite } from "../../support/suite.ts";

const MINIMAL: OciSpec = {
  ociVersion: "1.1.0",
  root: { path: "/r", readonly: false },
  process: { terminal: false, user: { uid: 0, gid: 0 }, args: ["sh"], env: [], cwd: "/", noNewPrivileges: false },
  mounts: [],
  linux: { namespaces: [], maskedPaths: [], readonlyPaths: [] },
};

const FULL: OciSpec = {
  ociVersion: "1.1.0",
  hostname: "web",
  root: { path: "/run/r", readonly: true },
  process: {
    terminal: true,
    consoleSize: { height: 24, width: 80 },
    user: { uid: 1000, gid: 100, additionalGids: [5, 4_294_967_295] },
    args: ["sh", "-c", "echo grüße"],
    env: ["PATH=/bin"],
    cwd: "/tmp",
    capabilities: { bounding: ["CAP_KILL"], effective: ["CAP_CHOWN"], inheritable: [], permitted: ["CAP_FOWNER"], ambient: ["CAP_SETUID"] },
    rlimits: [{ type: "RLIMIT_NOFILE", soft: 1024, hard: 4096 }],
    noNewPrivileges: true,
  },
  mounts: [{ destination: "/proc", type: "proc", source: "proc", options: ["nosuid", "ro"] }],
  annotations: { "a.b": "c" },
  linux: {
    namespaces: [{ type: "mount" }, { type: "network", path: "/run/ns" }],
    maskedPaths: ["/proc/kcore"],
    readonlyPaths: ["/proc/sys"],
    cgroupsPath: "/tv/web",
    resources: {
      memory: { limit: 2 ** 52, reservation: 2 ** 20, swap: -1 },
      cpu: { shares: 512, quota: 150_000, period: 100_000, cpus: "0-1", mems: "0" },
      pids: { limit: 64 },
      hugepageLimits: [
        { pageSize: "2MB", limit: 2 ** 21 },
        { pageSize: "1GB", limit: -1 },
      ],
      devices: [
        { allow: false, access: "rwm" },
        { allow: true, access: "rw", type: "c", major: 1, minor: 0 },
      ],
    },
    devices: [
      { path: "/dev/data", type: "b", major: 0, minor: 1 },
      { path: "/dev/fuse", type: "c", major: 10, minor: 229, fileMode: 0o600, uid: 1000, gid: 100 },
    ],
  },
};

const s = suite("kata oci");

s.test("ociToWire writes every field under its wire name", () => {
  assert.equal(ociToWire(FULL), {
    Version: "1.1.0",
    Hostname: "web",
    Root: { Path: "/run/r", Readonly: true },
    Process: {
      Terminal: true,
      ConsoleSize: { Height: 24, Width: 80 },
      User: { UID: 1000, GID: 100, AdditionalGids: [5, 4_294_967_295] },
      Args: ["sh", "-c", "echo grüße"],
      Env: ["PATH=/bin"],
      Cwd: "/tmp",
      Capabilities: {
        Bounding: ["CAP_KILL"],
        Effective: ["CAP_CHOWN"],
        Inheritable: [],
        Permitted: ["CAP_FOWNER"],
        Ambient: ["CAP_SETUID"],
      },
      Rlimits: [{ Type: "RLIMIT_NOFILE", Soft: "1024", Hard: "4096" }],
      NoNewPrivileges: true,
    },
    Mounts: [{ destination: "/proc", type: "proc", source: "proc", options: ["nosuid", "ro"] }],
    Annotations: { "a.b": "c" },
    Linux: {
      Namespaces: [
        { Type: "mount", Path: "" },
        { Type: "network", Path: "/run/ns" },
      ],
      MaskedPaths: ["/proc/kcore"],
      ReadonlyPaths: ["/proc/sys"],
      CgroupsPath: "/tv/web",
      Resources: {
        Memory: { Limit: "4503599627370496", Reservation: "1048576", Swap: "-1" },
        CPU: { Shares: "512", Quota: "150000", Period: "100000", Cpus: "0-1", Mems: "0" },
        Pids: { Limit: "64" },
        HugepageLimits: [
          { Pagesize: "2MB", Limit: "2097152" },
          { Pagesize: "1GB", Limit: "18446744073709551615" },
        ],
        Devices: [
          { Allow: false, Type: "", Major: "-1", Minor: "-1", Access: "rwm" },
          { Allow: true, Type: "c", Major: "1", Minor: "0", Access: "rw" },
        ],
      },
      Devices: [
        { Path: "/dev/data", Type: "b", Major: "0", Minor: "1", FileMode: 0, UID: 0, GID: 0 },
        { Path: "/dev/fuse", Type: "c", Major: "10", Minor: "229", FileMode: 0o600, UID: 1000, GID: 100 },
      ],
    },
  });
});

s.test("a full and a minimal configuration come back the same over the wire", () => {
  assert.equal(overTheWire(FULL), FULL);
  assert.equal(overTheWire(MINIMAL), MINIMAL);
});

s.test("any configuration comes back the same over the wire", () => {
  fc.assert(fc.property(specs(), (spec) => assert.equal(overTheWire(spec), spec)));
});

s.test("RLIM_INFINITY, as JSON.parse reads it, is sent exactly and read as the largest exact number", () => {
  const infinity = JSON.parse("18446744073709551615");
  const spec = { ...MINIMAL, process: { ...MINIMAL.process, rlimits: [{ type: "RLIMIT_CORE", soft: infinity, hard: infinity }] } };
  assert.is(ociToWire(spec).Process?.Rlimits[0]?.Hard, "18446744073709551615");
  assert.equal(overTheWire(spec).process.rlimits, [{ type: "RLIMIT_CORE", soft: Number.MAX_SAFE_INTEGER, hard: Number.MAX_SAFE_INTEGER }]);
});

s.test("a number that is no exact integer is refused with the field's name", () => {
  for (const limit of [1.5, Number.NaN, 2 ** 53, Number.POSITIVE_INFINITY]) {
    const spec = { ...MINIMAL, linux: { ...MINIMAL.linux, resources: { memory: { limit } } } };
    assert.throws(() => ociToWire(spec), refused("linux.resources.memory.limit"));
  }
  const rlimits = [{ type: "RLIMIT_NOFILE", soft: 1, hard: 2 ** 60 }];
  assert.throws(() => ociToWire({ ...MINIMAL, process: { ...MINIMAL.process, rlimits } }), refused("process.rlimits[0].hard"));
});

s.test("a received number above 2^53 is refused with the field's name", () => {
  const wire = decoded({ Root: {}, Process: {}, Linux: { Resources: { Pids: { Limit: "9007199254740993" } } } });
  assert.throws(() => ociFromWire(wire), refused("linux.resources.pids.limit"));
});

s.test("a node that is no device is refused with the field's name, one without a buffer is a character device", () => {
  const node = (Type: string) => decoded({ Root: {}, Process: {}, Linux: { Devices: [{ Path: "/dev/x", Type, Major: "1", Minor: "3" }] } });
  assert.throws(() => ociFromWire(node("p")), refused("linux.devices[0].type"));
  assert.is(ociFromWire(node("u")).linux.devices?.[0]?.type, "c");
});

s.test("limits on their own come back the same over the wire, and are called what the caller calls them", () => {
  const resources = FULL.linux.resources ?? {};
  const { requestSerialize, requestDeserialize } = agentServiceDefinition.UpdateContainer;
  const { resources: wire } = requestDeserialize(
    requestSerialize({ container_id: "c", resources: resourcesToWire(resources, "resources") }),
  );
  assert.equal(wire && resourcesFromWire(wire, "resources"), resources);
  assert.throws(() => resourcesToWire({ pids: { limit: 0.5 } }, "resources"), refused("resources.pids.limit"));
  assert.throws(
    () => wire && resourcesFromWire({ ...wire, HugepageLimits: [{ Pagesize: "2MB", Limit: "9007199254740993" }] }, "resources"),
    refused("resources.hugepageLimits[0].limit"),
  );
});

s.test("a configuration without process, root or linux is refused with the field's name", () => {
  assert.throws(() => ociFromWire(decoded({ Process: {}, Linux: {} })), refused("root"));
  assert.throws(() => ociFromWire(decoded({ Root: {}, Linux: {} })), refused("process"));
  assert.throws(() => ociFromWire(decoded({ Root: {}, Process: {} })), refused("linux"));
});

s.test("a rule for all devices from a client that sends 0 for no number has no number", () => {
  const rule = { Allow: false, Type: "a", Major: "0", Minor: "0", Access: "rwm" };
  const wire = decoded({ Root: {}, Process: {}, Linux: { Resources: { Devices: [rule] } } });
  assert.equal(ociFromWire(wire).linux.resources?.devices, [{ allow: false, access: "rwm", type: "a" }]);
});

s.run();

function overTheWire(spec: OciSpec): OciSpec {
  return ociFromWire(decoded(ociToWire(spec)));
}

function decoded(OCI: object): WireSpec {
  const { requestSerialize, requestDeserialize } = agentServiceDefinition.CreateContainer;
  const wire = requestDeserialize(requestSerialize({ OCI } as never)).OCI;
  if (!wire) throw new Error("the configuration was not sent");
  return wire;
}

function refused(path: string): (error: unknown) => boolean {
  return (error) => isTapvisorError(error) && error.code === "INVALID_INPUT" && error.data.path === path;
}

/** Configurations in their normal form: what the wire cannot tell from "not given" is not given. */
function specs(): fc.Arbitrary<OciSpec> {
  const text = fc.string({ unit: "grapheme" });
  const word = fc.string({ unit: "grapheme", minLength: 1 });
  const texts = fc.array(text, { maxLength: 4 });
  const id = fc.nat(0xffffffff);
  const integer = fc.maxSafeInteger().filter((value) => value !== 0);
  const natural = fc.maxSafeNat().filter((value) => value !== 0);
  const some = { requiredKeys: [] };
  return fc
    .record(
      {
        ociVersion: text,
        hostname: word,
        root: fc.record({ path: text, readonly: fc.boolean() }),
        process: fc.record(
          {
            terminal: fc.boolean(),
            user: fc.record(
              { uid: id, gid: id, additionalGids: fc.array(id, { minLength: 1, maxLength: 3 }) },
              { requiredKeys: ["uid", "gid"] },
            ),
            args: texts,
            env: texts,
            cwd: text,
            capabilities: fc.record({ bounding: texts, effective: texts, inheritable: texts, permitted: texts, ambient: texts }),
            rlimits: fc.array(fc.record({ type: text, soft: fc.maxSafeNat(), hard: fc.maxSafeNat() }), { minLength: 1, maxLength: 3 }),
            noNewPrivileges: fc.boolean(),
          },
          { requiredKeys: ["terminal", "user", "args", "env", "cwd", "noNewPrivileges"] },
        ),
        mounts: fc.array(fc.record({ destination: text, type: text, source: text, options: texts }), { maxLength: 3 }),
        annotations: fc.dictionary(word, text, { minKeys: 1, noNullPrototype: true }),
        linux: fc.record(
          {
            namespaces: fc.array(fc.record({ type: text, path: word }, { requiredKeys: ["type"] }), { maxLength: 3 }),
            maskedPaths: texts,
            readonlyPaths: texts,
            cgroupsPath: word,
            resources: fc.record(
              {
                memory: fc.record({ limit: integer, reservation: integer, swap: integer }, some),
                cpu: fc.record({ shares: natural, quota: integer, period: natural, cpus: word, mems: word }, some),
                pids: fc.record({ limit: fc.maxSafeInteger() }),
                hugepageLimits: fc.array(fc.record({ pageSize: text, limit: fc.oneof(fc.maxSafeNat(), fc.constant(-1)) }), {
                  minLength: 1,
                  maxLength: 3,
                }),
                devices: fc.array(
                  fc.oneof(
                    fc.record({ allow: fc.boolean(), access: text }),
                    fc.record({ allow: fc.boolean(), access: text, type: fc.constantFrom("b", "c"), major: fc.nat(), minor: fc.nat() }),
                  ),
                  { minLength: 1, maxLength: 3 },
                ),
              },
              some,
            ),
            devices: fc.array(
              fc.record(
                {
                  path: text,
                  type: fc.constantFrom("b" as const, "c" as const),
                  major: fc.maxSafeInteger(),
                  minor: fc.maxSafeInteger(),
                  fileMode: fc.integer({ min: 1, max: 0o7777 }),
                  uid: id.filter(Boolean),
                  gid: id.filter(Boolean),
                },
                { requiredKeys: ["path", "type", "major", "minor"] },
              ),
              { minLength: 1, maxLength: 3 },
            ),
          },
          { requiredKeys: ["namespaces", "maskedPaths", "readonlyPaths"] },
        ),
      },
      { requiredKeys: ["ociVersion", "root", "process", "mounts", "linux"] },
    )
    .map((spec) => structuredClone(spec) as OciSpec); // gives every object the ordinary prototype
}
