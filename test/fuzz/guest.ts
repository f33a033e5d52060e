import { posix } from "node:path";
import fc from "fast-check";
import { ociFromWire, type StorageMessage, type WireSpec } from "tapvisor/protocol";
import * as assert from "uvu/assert";
import { runtimeConfig } from "../../plugins/guest-linux/agent/container/bundle.ts";
import { GUEST_PATHS, type GuestPaths } from "../../plugins/guest-linux/agent/guest-paths.ts";
import { statusOf } from "../../plugins/guest-linux/agent/status.ts";
import { planStorages } from "../../plugins/guest-linux/agent/storage/plan.ts";
import { decode } from "../../plugins/guest-linux/agent/wire/decode.ts";
import { encode } from "../../plugins/guest-linux/agent/wire/encode.ts";
import { messageType, methodsOf } from "../../plugins/guest-linux/agent/wire/schema.ts";
import { serviceDefinition } from "../../plugins/guest-linux/agent/wire/service.ts";
import { edited, edits } from "./support/bytes.ts";
import { type GuestWorld, guestWorld } from "./support/guest-world.ts";
import { anyMessage } from "./support/messages.ts";
import type { Property } from "./support/property.ts";

const SERVICES = ["grpc.AgentService", "tapvisor.Guest"] as const;
const DEFINITIONS = Object.fromEntries(SERVICES.map((service) => [service, serviceDefinition(service)]));

/** Stands for the guest's directory in a generated request. */
const HERE = "@";
const here = fc.constantFrom(
  ...[
    "tapvisor/c/rootfs",
    "tapvisor/c",
    "kata/x",
    "tapvisor/new",
    "tapvisor/../../canary/x",
    "tapvisor/..",
    "tapvisor",
    "kata//x",
    "tapvisor/./c",
  ].map((path) => `${HERE}/${path}`),
  "",
  "relative",
  "/\0",
);
const often = (likely: fc.Arbitrary<unknown>, any: fc.Arbitrary<unknown>) =>
  fc.oneof({ weight: 5, arbitrary: likely }, { weight: 1, arbitrary: any });
const text = fc.string({ unit: "binary", maxLength: 10 });
const storages = fc.array(
  fc.record({
    driver: often(fc.constantFrom("ephemeral", "local", "overlayfs", "virtio-fs", "9p", "blk", "scsi"), text),
    source: often(fc.constantFrom("tmpfs", "tag", "10/05", "0:3", "overlay"), text),
    fstype: often(fc.constantFrom("tmpfs", "ext4", "overlay"), text),
    mount_point: here,
    options: fc.array(
      often(fc.constantFrom("ro", "size=1m", `lowerdir=${HERE}/tapvisor/c`, `upperdir=${HERE}/kata/u`, `workdir=${HERE}/kata/w`), text),
      {
        maxLength: 4,
      },
    ),
  }),
  { maxLength: 3 },
);
const spec = fc.record({
  Version: fc.constant("1.0.2"),
  Root: fc.record({ Path: here }),
  Process: fc.record({
    Args: fc.array(often(fc.constant("true"), text), { maxLength: 2 }),
    Cwd: often(fc.constant("/"), text),
    Terminal: often(fc.constant(false), fc.boolean()),
  }),
  Mounts: fc.array(
    fc.record({
      destination: often(here, text),
      type: often(fc.constantFrom("bind", "proc", "tmpfs"), text),
      source: here,
      options: fc.array(text, { maxLength: 2 }),
    }),
    { maxLength: 2 },
  ),
  Linux: fc.oneof(fc.record({ Namespaces: fc.constant([{ Type: "mount" }]) }), anyMessage("grpc.Linux")),
});

/** What makes a request plausible, so that it gets past the first check. */
const LIKELY: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  container_id: often(fc.constantFrom("c", "d"), fc.constantFrom("", "..", "a/b", "c\0", "x".repeat(40))),
  exec_id: often(fc.constantFrom("c", "e"), fc.constantFrom("", "../x", "config")),
  sandbox_id: fc.constant("s"),
  sandbox_pidns: often(fc.constant(false), fc.boolean()),
  hostname: often(fc.constant("h"), text),
  storages,
  OCI: spec,
  len: often(fc.nat(100), fc.nat(2 ** 32 - 1)),
  signal: often(fc.integer({ min: 0, max: 65 }), fc.nat(2 ** 32 - 1)),
  timeout: fc.nat(2),
  vcpus: fc.nat(2),
  nb_cpus: fc.nat(2),
};

interface Request {
  readonly service: (typeof SERVICES)[number];
  readonly method: string;
  readonly message: Record<string, unknown>;
}

function requestsOf(service: Request["service"], method: string, name: string): fc.Arbitrary<Request> {
  const likely = Object.fromEntries(
    messageType(name).fields.flatMap((field) => (LIKELY[field.name] ? [[field.name, LIKELY[field.name]]] : [])),
  );
  const message = fc
    .tuple(anyMessage(name), fc.record(likely as Record<string, fc.Arbitrary<unknown>>))
    .map(([any, known]) => ({ ...any, ...known }));
  return message.map((each) => ({ service, method, message: each }));
}

/** As a client begins, or nothing would ever get far. */
const BEGINNING: readonly Request[] = [
  { service: "grpc.AgentService", method: "CreateSandbox", message: { sandbox_id: "s" } },
  {
    service: "grpc.AgentService",
    method: "CreateContainer",
    message: {
      container_id: "c",
      OCI: {
        Version: "1.0.2",
        Root: { Path: `${HERE}/tapvisor/c/rootfs` },
        Process: { Args: ["true"], Cwd: "/" },
        Linux: { Namespaces: [{ Type: "mount" }] },
      },
    },
  },
  { service: "grpc.AgentService", method: "StartContainer", message: { container_id: "c" } },
];

const CREATES = ["CreateSandbox", "CreateContainer"];
/** Pausing makes the kernel's own files in a cgroup, which stay in a directory that only stands for one. Its request is a container's id, as that of others. */
const OTHERS = Object.keys(DEFINITIONS["grpc.AgentService"] ?? {}).filter((method) => !/^(Pause|Resume)/.test(method));
const anyOf = (methods: readonly string[]) =>
  fc.oneof(
    ...SERVICES.flatMap((service) =>
      Object.entries(methodsOf(service)).flatMap(([method, types]) =>
        service === "tapvisor.Guest" || methods.includes(method) ? [requestsOf(service, method, types.request)] : [],
      ),
    ),
  );
const request = fc.tuple(
  fc.oneof({ weight: 1, arbitrary: anyOf(CREATES) }, { weight: 3, arbitrary: anyOf(OTHERS) }),
  fc.oneof({ weight: 2, arbitrary: fc.constant([]) }, { weight: 1, arbitrary: edits }),
);
const sessions = fc
  .tuple(fc.nat(BEGINNING.length), fc.array(request, { minLength: 1, maxLength: 8 }))
  .map(([length, rest]) => [...BEGINNING.slice(0, length).map((each) => [each, []] as (typeof rest)[number]), ...rest]);

function placed(value: unknown, guest: string): unknown {
  if (typeof value === "string") return value.replaceAll(HERE, guest);
  if (Array.isArray(value)) return value.map((each) => placed(each, guest));
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, placed(each, guest)]));
}

async function make(world: GuestWorld, { service, method, message }: Request, wrong: Parameters<typeof edited>[1]): Promise<number> {
  const type = messageType(methodsOf(service)[method]?.request ?? "");
  const bytes = edited(encode(type, placed(message, world.guest) as Record<string, unknown>), wrong);
  let decoded: unknown;
  try {
    decoded = DEFINITIONS[service]?.[method]?.requestDeserialize(bytes);
  } catch (error) {
    assert.instance(error, Error);
    return 13; // grpc-js answers so for a request that cannot be read
  }
  return world.call(service, method, decoded);
}

/** How often each status was the answer, for looking whether requests get far. */
export const answered = new Map<string, number>();

const PATHS: GuestPaths = { ...GUEST_PATHS, open: ["/here/kata", "/here/tapvisor"], own: "/here/own" };
const isInside = (path: string, directories: readonly string[]) =>
  directories.some((each) => path.startsWith(`${each}/`)) && posix.normalize(path) === path && !path.includes("\0");

function refused(work: () => void): void {
  try {
    work();
  } catch (error) {
    if (error instanceof assert.Assertion) throw error;
    assert.ok(statusOf(error).status !== "INTERNAL", String(error));
  }
}

export const guest: readonly Property[] = [
  {
    name: "guest agent: whatever storages a client names, what is made and mounted is below the open directories",
    runs: 4000,
    make: () =>
      fc.property(storages, (named) => {
        refused(() => {
          const messages = (placed(named, "/here") as Omit<StorageMessage, "driver_options">[]).map((each) => ({
            ...each,
            driver_options: [],
          }));
          for (const step of planStorages(messages, PATHS, "/here/own/containers/c")) {
            const path = step.kind === "mount" ? step.target : step.path;
            assert.ok(isInside(path, [...PATHS.open, PATHS.own]), path);
          }
        });
      }),
  },
  {
    name: "guest agent: whatever configuration a client sends, what a container is given of the guest is below the open directories",
    runs: 1500,
    make: () =>
      fc.property(spec, (message) => {
        refused(() => {
          const type = messageType("grpc.Spec");
          const wire = decode(type, encode(type, placed(message, "/here") as Record<string, unknown>)) as unknown as WireSpec;
          const { root, mounts, linux } = runtimeConfig("c", ociFromWire(wire), PATHS);
          assert.ok(isInside(root.path, PATHS.open), root.path);
          for (const { type, source, options } of mounts) {
            if (type === "bind" || options.some((option) => /^r?bind$/.test(option))) assert.ok(isInside(source, PATHS.open), source);
          }
          assert.ok(
            ["mount", "pid", "cgroup"].every((wanted) => linux.namespaces.some(({ type, path }) => type === wanted && path === undefined)),
          );
        });
      }),
  },
  {
    name: "guest agent: whatever a client asks, each call ends in a status, none is a defect, and nothing outside of the guest's directories changes",
    runs: 150,
    make: () =>
      fc.asyncProperty(sessions, async (requests) => {
        await using world = await guestWorld();
        for (const [each, wrong] of requests) {
          const code = await make(world, each, wrong);
          const key = `${each.method} ${code}`;
          answered.set(key, (answered.get(key) ?? 0) + 1);
          assert.equal(world.defects, [], `${each.method}: ${world.defects[0]}`);
        }
        await world.assertUntouched();
      }),
  },
];
