import { Metadata, status } from "@grpc/grpc-js";
import fc from "fast-check";
import { type AgentClient, type AgentFiles, type AgentIdentity, isTapvisorError, type OciSpec, TapvisorError } from "tapvisor/plugin";
import { EXIT_CODE_KEY, OWN_AGENT, RENEWAL_VERSION } from "tapvisor/protocol";
import * as assert from "uvu/assert";
import { createClient } from "../../plugins/agent-grpc/client.ts";
import { toTapvisorError } from "../../plugins/agent-grpc/errors.ts";
import { Http2Guard } from "../../plugins/agent-grpc/http2-guard.ts";
import type { Link } from "../../plugins/agent-grpc/link.ts";
import { methodsOf } from "../../plugins/guest-linux/agent/wire/schema.ts";
import { quietCall } from "../../src/testing/quiet-call.ts";
import { assertBounded, assertSafeText } from "./support/bounded.ts";
import { mutated, split, splits } from "./support/bytes.ts";
import { encoded } from "./support/messages.ts";
import type { Property } from "./support/property.ts";

const P = { container: "c", exec: "c" };
const DISK = { driver: "scsi", address: "0:3" } as const;
const ASKED_BYTES = 16;
const SPEC: OciSpec = {
  ociVersion: "1.1.0",
  root: { path: "/r", readonly: false },
  process: { terminal: false, user: { uid: 0, gid: 0 }, args: ["sh"], env: [], cwd: "/", noNewPrivileges: false },
  mounts: [],
  linux: { namespaces: [], maskedPaths: [], readonlyPaths: [] },
};

/** A renewal is no call either. */
type IdentityVerb = `identity.${Exclude<keyof AgentIdentity, "renew">}`;
type FileVerb = `files.${keyof AgentFiles}`;
/** Data streams have fuzzers of their own kind: they are no calls. */
type Verb = Exclude<keyof AgentClient, "lost" | "close" | "files" | "identity" | "openOutput" | "openInput"> | FileVerb | IdentityVerb;

const FILE = { container: "c", path: "/f" };
const NIC = { name: "eth0", mac: "02:00:00:00:00:01", mtu: 1500, addresses: [] };
const COPIED = { path: "/run/tapvisor/f", bytes: 1, mode: 0o600, directoryMode: 0o700, uid: 0, gid: 0 };

/** The files of a client, which this agent always has. */
function filesOf({ files }: AgentClient): AgentFiles {
  if (!files) throw new Error("no files");
  return files;
}

/** A client of a guest that offers all that is a call. */
const clientOf = (link: Link) =>
  createClient(link, { grpc_version: "", agent_version: OWN_AGENT, tapvisor_data_streams: 0, tapvisor_renewal: RENEWAL_VERSION });

function identityOf({ identity }: AgentClient): AgentIdentity {
  if (!identity) throw new Error("no identity");
  return identity;
}

/** Each verb of the client once. One that is missing here would be a way in that nobody tries. */
const VERBS: Readonly<Record<Verb, (client: AgentClient) => Promise<unknown>>> = {
  createSandbox: (client) => client.createSandbox({ hostname: "h", sandbox: "s", storages: [] }, quietCall()),
  destroySandbox: (client) => client.destroySandbox(quietCall()),
  guestDetails: (client) => client.guestDetails(quietCall()),
  createContainer: (client) => client.createContainer({ container: "c", storages: [], spec: SPEC }, quietCall()),
  startContainer: (client) => client.startContainer("c", quietCall()),
  removeContainer: (client) => client.removeContainer("c", quietCall()),
  pauseContainer: (client) => client.pauseContainer("c", quietCall()),
  resumeContainer: (client) => client.resumeContainer("c", quietCall()),
  updateContainer: (client) => client.updateContainer("c", {}, quietCall()),
  statsContainer: (client) => client.statsContainer("c", quietCall()),
  onlineCpuMem: (client) => client.onlineCpuMem({ vcpus: 1, cpuOnly: false }, quietCall()),
  syncResources: (client) => client.syncResources({}, quietCall()),
  findDisk: (client) => client.findDisk(DISK, quietCall()),
  releaseDisk: (client) => client.releaseDisk(DISK, quietCall()),
  waitProcess: (client) => client.waitProcess(P, quietCall()),
  signalProcess: (client) => client.signalProcess(P, 15, false, quietCall()),
  readStdout: (client) => client.readStdout(P, ASKED_BYTES, quietCall()),
  readStderr: (client) => client.readStderr(P, ASKED_BYTES, quietCall()),
  writeStdin: (client) => client.writeStdin(P, Buffer.alloc(ASKED_BYTES), quietCall()),
  closeStdin: (client) => client.closeStdin(P, quietCall()),
  execProcess: (client) => client.execProcess(P, SPEC.process, quietCall()),
  resizeTty: (client) => client.resizeTty(P, { rows: 1, columns: 1 }, quietCall()),
  listProcesses: (client) => client.listProcesses("c", quietCall()),
  listInterfaces: (client) => client.listInterfaces(quietCall()),
  updateInterface: (client) => client.updateInterface(NIC, quietCall()),
  addInterface: (client) => client.addInterface(NIC, quietCall()),
  removeInterface: (client) => client.removeInterface(NIC.mac, quietCall()),
  listRoutes: (client) => client.listRoutes(quietCall()),
  updateRoutes: (client) => client.updateRoutes([], quietCall()),
  addArpNeighbors: (client) => client.addArpNeighbors([], quietCall()),
  check: (client) => client.check(quietCall()),
  reseedRandom: (client) => client.reseedRandom(Buffer.from("x"), quietCall()),
  setTime: (client) => client.setTime(1, quietCall()),
  nextOom: (client) => client.nextOom(quietCall()),
  probeMemory: (client) => client.probeMemory([0], quietCall()),
  startTracing: (client) => client.startTracing(quietCall()),
  stopTracing: (client) => client.stopTracing(quietCall()),
  copyFile: (client) => client.copyFile(COPIED, [Buffer.from("x")], quietCall()),
  "files.stat": (client) => filesOf(client).stat(FILE, { follow: true }, quietCall()),
  "files.list": (client) => filesOf(client).list(FILE, { after: "", limit: 10 }, quietCall()),
  "files.read": (client) => filesOf(client).read(FILE, { offset: 0, length: ASKED_BYTES }, quietCall()),
  "files.write": (client) => filesOf(client).write(FILE, { mode: "replace", offset: 0, data: Buffer.from("x"), last: true }, quietCall()),
  "files.discard": (client) => filesOf(client).discard(FILE, "w", quietCall()),
  "files.makeDirectory": (client) => filesOf(client).makeDirectory(FILE, { recursive: false }, quietCall()),
  "files.makeLink": (client) => filesOf(client).makeLink(FILE, { target: "/etc", hard: false }, quietCall()),
  "files.setAttributes": (client) => filesOf(client).setAttributes(FILE, { mode: 0o600 }, quietCall()),
  "files.remove": (client) => filesOf(client).remove(FILE, { recursive: false }, quietCall()),
  "files.rename": (client) => filesOf(client).rename(FILE, "/g", quietCall()),
  "files.watch": (client) => filesOf(client).watch(FILE, quietCall()),
  "files.nextEvents": (client) => filesOf(client).nextEvents("c", "w", quietCall()),
  "identity.warmUp": (client) => identityOf(client).warmUp(quietCall()),
  "identity.prepareToBeSaved": (client) => identityOf(client).prepareToBeSaved(quietCall()),
  "files.unwatch": (client) => filesOf(client).unwatch("c", "w", quietCall()),
};

type Answer = (path: string) => Buffer;
type Request = { path: string; read: (bytes: Buffer) => unknown; done: (error: unknown, answer?: unknown) => void };

/** A link whose calls are answered with bytes at once, through the decoding and the checks that every answer goes through. */
function linkTo(answer: Answer): Link {
  const makeUnaryRequest = (
    ...[path, , read, , , , done]: [string, unknown, Request["read"], unknown, unknown, unknown, Request["done"]]
  ) => {
    queueMicrotask(() => {
      try {
        done(null, read(answer(path)));
      } catch (error) {
        done({ code: status.INTERNAL, details: String(error), metadata: new Metadata() });
      }
    });
    return { cancel: () => {} };
  };
  return {
    sandbox: "web",
    client: { makeUnaryRequest } as unknown as Link["client"],
    openStream: () =>
      Promise.reject(new TapvisorError("AGENT_FAILED", "no streams here", { data: { method: "OpenStream", status: "ABORTED" } })),
    over: () => undefined,
    isGoingDown: () => false,
    lose: () => {},
    onOver: () => () => {},
    lost: new Promise(() => {}),
    unlinked: () => Promise.resolve(),
    close: async () => {},
  };
}

/** A text is cut at 4096 characters, each of which an escape may make eight of, in a sentence of ours. */
const MOST_TEXT = 4096 * 8 + 600;

function assertTyped(error: unknown): void {
  assert.ok(isTapvisorError(error), `threw ${String(error)}`);
  assertSafeText(error.message, MOST_TEXT, "the message");
  assert.ok(["GUEST_PROTOCOL", "AGENT_FAILED"].includes(error.code), error.code);
}

/** Those whose answers say much. */
const CONTENT: readonly Verb[] = ["guestDetails", "statsContainer", "findDisk", "syncResources", "readStdout"];

/** The path that each verb's call has, found by making it. */
const pathOf = new Map<Verb, string>();

async function findPaths(): Promise<void> {
  for (const [verb, run] of Object.entries(VERBS) as [Verb, (client: AgentClient) => Promise<unknown>][]) {
    await run(
      clientOf(
        linkTo((path) => {
          if (!pathOf.has(verb)) pathOf.set(verb, path);
          return Buffer.alloc(0);
        }),
      ),
    ).catch(() => {});
  }
}

function answersTo(verb: Verb): fc.Arbitrary<{ verb: Verb; bytes: Buffer }> {
  const [, service = "", method = ""] = (pathOf.get(verb) ?? "").split("/");
  const valid = encoded(methodsOf(service)[method]?.response ?? "");
  const bytes = fc.oneof(
    valid,
    mutated(valid),
    fc.uint8Array({ maxLength: 100 }).map((random) => Buffer.from(random)),
  );
  return bytes.map((each) => ({ verb, bytes: each }));
}

await findPaths();

const text = fc.oneof(
  fc.string({ unit: "binary", maxLength: 200 }),
  fc.constantFrom("EOF", "x: broken pipe", "No message received", "Deadline exceeded after", "exec: no such file or directory"),
  fc
    .tuple(fc.string({ unit: "binary", minLength: 1, maxLength: 3 }), fc.constantFrom(2000, 4096, 5000))
    .map(([one, many]) => one.repeat(many)),
);

const http2Frame = fc
  .tuple(fc.nat(12), fc.nat(255), fc.nat(9), fc.oneof(fc.nat(40), fc.constantFrom(16_384, 16_385, 2 ** 24 - 1)))
  .map(([type, flags, id, length]) => {
    const header = Buffer.alloc(9);
    header.writeUIntBE(length, 0, 3);
    header.writeUInt8(type, 3);
    header.writeUInt8(flags, 4);
    header.writeUInt32BE(id, 5);
    return Buffer.concat([header, Buffer.alloc(Math.min(length, 16_384))]);
  });

/** How many bytes the guard passes on, and what it says then. */
function guarded(pieces: readonly Buffer[]): string | undefined {
  const guard = new Http2Guard();
  for (const piece of pieces) {
    const wrong = guard.received(piece);
    if (wrong) return wrong.message;
  }
  return undefined;
}

export const answers: readonly Property[] = [
  {
    name: "answers: whatever an agent answers to a call, it ends with a value within bounds or a typed error",
    runs: 4000,
    make: () =>
      fc.asyncProperty(
        fc.oneof(...(Object.keys(VERBS) as Verb[]).map((verb) => ({ weight: CONTENT.includes(verb) ? 8 : 1, arbitrary: answersTo(verb) }))),
        async ({ verb, bytes }) => {
          const client = clientOf(linkTo(() => bytes));
          const files = Object.keys(filesOf(client)).map((name) => `files.${name}`);
          const parts = Object.keys(identityOf(client)).map((name) => `identity.${name}`);
          const others = ["lost", "close", "files", "identity", "identity.renew"];
          const verbs = [...Object.keys(client), ...files, ...parts].filter((name) => !others.includes(name));
          assert.equal(new Set(verbs), new Set(Object.keys(VERBS)), "the verbs of the client");
          try {
            // command lines of 4096 characters, escaped; so many processes. Names of files are data: whoever prints them escapes them.
            assertBounded(await VERBS[verb](client), {
              bytes: ASKED_BYTES,
              text: MOST_TEXT,
              entries: 4096,
              raw: verb.startsWith("files."),
            });
          } catch (error) {
            if (error instanceof assert.Assertion) throw error;
            assertTyped(error);
          }
        },
      ),
  },
  {
    name: "answers: whatever text and status a call fails with, its error is typed, bounded and safe to print",
    runs: 2000,
    make: () =>
      fc.property(fc.nat(20), text, fc.constantFrom("", "126", "127", "128"), fc.boolean(), (code, said, exitCode, unreadable) => {
        const metadata = new Metadata();
        if (exitCode !== "") metadata.set(EXIT_CODE_KEY, exitCode);
        const call = { name: "StartContainer", subject: 'container "c"', command: "sh", timeoutMs: 1 };
        const error = toTapvisorError({ ...call, code, text: said, metadata, unreadable });
        assertSafeText(error.message, MOST_TEXT, "the message");
        assertSafeText(JSON.stringify(error.data), 500, "the data");
        assert.is(error.cause, undefined);
      }),
  },
  {
    name: "answers: what is wrong with HTTP/2 frames is found however they are cut, and no pushed stream comes through",
    runs: 1500,
    make: () =>
      fc.property(mutated(fc.array(http2Frame, { maxLength: 8 }).map((frames) => Buffer.concat(frames))), splits, (bytes, sizes) => {
        const found = guarded([bytes]);
        assert.is(guarded(split(bytes, sizes)), found);
        if (found === undefined) assert.ok(frameTypes(bytes).every(({ type, length }) => type !== 5 && length <= 16_384));
      }),
  },
];

/** The frames' heads, read in the simplest way. */
function frameTypes(bytes: Buffer): { type: number; length: number }[] {
  const frames: { type: number; length: number }[] = [];
  for (let at = 0; at + 9 <= bytes.length; at += 9 + bytes.readUIntBE(at, 3)) {
    frames.push({ length: bytes.readUIntBE(at, 3), type: bytes.readUInt8(at + 3) });
  }
  return frames;
}
