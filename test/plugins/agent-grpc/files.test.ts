import { Metadata, Server, ServerCredentials, status } from "@grpc/grpc-js";
import * as assert from "uvu/assert";
import { agentServiceDefinition, ERRNO_KEY, filesServiceDefinition, healthServiceDefinition } from "../../../src/protocol/kata/index.ts";
import { quietCall } from "../../../src/testing/quiet-call.ts";
import { suite } from "../../support/suite.ts";
import { failure } from "./expect.ts";
import { connected, fakeGuest, grpcGuest } from "./fake-guest.ts";

const s = suite("agent-grpc files");
const PLACE = { container: "web", path: "/etc/x" };

/** A guest that answers each call on files with what it is told, or as `answers` decides. */
async function filesGuest(answers: Readonly<Record<string, object | ((request: never) => object)>>) {
  const requests: { readonly method: string; readonly request: unknown }[] = [];
  const server = new Server();
  const handlers = (definition: object) =>
    Object.fromEntries(
      Object.keys(definition).map((method) => [
        method,
        (call: { request: never }, answer: (error: unknown, value?: unknown) => void) => {
          requests.push({ method, request: call.request });
          const told = method === "Check" ? { status: "SERVING" } : (answers[method] ?? {});
          const value = typeof told === "function" ? told(call.request) : told;
          if ("code" in value) answer(value);
          else answer(null, value);
        },
      ]),
    );
  for (const definition of [healthServiceDefinition, agentServiceDefinition, filesServiceDefinition])
    server.addService(definition, handlers(definition) as never);
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  const guest = await fakeGuest((stream) => injector.injectConnection(stream));
  const client = await connected(guest);
  const { files } = client;
  if (!files) throw new Error("the client has files");
  return {
    files,
    requests,
    async [Symbol.asyncDispose]() {
      await client.close();
      server.forceShutdown();
      await guest[Symbol.asyncDispose]();
    },
  };
}

const STAT = { name: "", type: "FILE", size: "1", mode: 0o644, uid: 0, gid: 0, modified_ms: "1", target: "", identity: "1:2", links: "1" };
const refusedBecause = (errno: string, code = status.FAILED_PRECONDITION) => {
  const metadata = new Metadata();
  metadata.set(ERRNO_KEY, errno);
  return { code, details: `${errno}: refused`, metadata };
};

s.test("requests say the place, and leave what is absent", async () => {
  await using w = await filesGuest({ StatFile: STAT, WriteFile: { staged: "ab12" } });
  await w.files.stat({ ...PLACE, base: "/srv" }, { follow: true }, quietCall());
  const staged = await w.files.write(
    PLACE,
    { mode: "replace", offset: 0, data: Buffer.from("x"), last: false, attributes: { uid: 7 } },
    quietCall(),
  );
  assert.is(staged, "ab12");
  const [, , stat, write] = w.requests;
  assert.equal(stat, { method: "StatFile", request: { place: { container_id: "web", path: "/etc/x", base: "/srv" }, follow: true } });
  const { attributes } = (write as { request: { attributes: object } }).request;
  assert.equal(attributes, { has_mode: false, mode: 0, has_owner: true, uid: "7", gid: "-1", has_modified: false, modified_ms: "0" });
});

s.test("the system's word in the guest becomes NOT_FOUND or FILE_FAILED with the path; another metadata or none does not", async () => {
  for (const [errno, code] of [
    ["ENOENT", "NOT_FOUND"],
    ["EISDIR", "FILE_FAILED"],
    ["EROFS", "FILE_FAILED"],
  ] as const) {
    await using w = await filesGuest({ StatFile: refusedBecause(errno) });
    const error = await failure(code, w.files.stat(PLACE, { follow: true }, quietCall()));
    assert.equal(error.data, code === "NOT_FOUND" ? { kind: "file", id: "/etc/x" } : { path: "/etc/x", errno });
  }
  for (const errno of ["enoent", "EVIL\u001b[2J".slice(0, 4).toLowerCase(), "E".repeat(40)]) {
    await using w = await filesGuest({ StatFile: refusedBecause(errno) });
    await failure("AGENT_FAILED", w.files.stat(PLACE, { follow: true }, quietCall()));
  }
});

for (const [what, answer] of Object.entries({
  "a type that is none": { ...STAT, type: 99 },
  "a mode of more than permissions": { ...STAT, mode: 0o100644 },
  "a size that is no exact number": { ...STAT, size: "18446744073709551615" },
  "a target longer than a path": { ...STAT, type: "LINK", target: "x".repeat(5000) },
  "an identity that is none": { ...STAT, identity: "1:2\n" },
  "no identity": { ...STAT, identity: "" },
})) {
  s.test(`stat() refuses ${what}`, async () => {
    await using w = await filesGuest({ StatFile: answer });
    await failure("GUEST_PROTOCOL", w.files.stat(PLACE, { follow: true }, quietCall()));
  });
}

const entry = (name: string) => ({ ...STAT, name });
for (const [what, answer] of Object.entries({
  "a name that leads elsewhere": { entries: [entry("../../etc")], more: false },
  '".."': { entries: [entry("..")], more: false },
  "an empty name": { entries: [entry("")], more: false },
  "a name with NUL": { entries: [entry("a\0b")], more: false },
  "a name longer than one can be": { entries: [entry("x".repeat(256))], more: false },
  "a name twice": { entries: [entry("a"), entry("a")], more: false },
  "names out of order": { entries: [entry("b"), entry("a")], more: false },
  "a name of the page before": { entries: [entry("B")], more: false },
  "more entries than were asked for": { entries: ["a", "b", "c", "d"].map(entry), more: false },
  "an empty page before more": { entries: [], more: true },
})) {
  s.test(`list() refuses ${what}`, async () => {
    await using w = await filesGuest({ ListDirectory: answer });
    await failure("GUEST_PROTOCOL", w.files.list(PLACE, { after: what.includes("page before") ? "C" : "", limit: 3 }, quietCall()));
  });
}

s.test("read() refuses more bytes than it asked for, and asks for 1 MiB at most", async () => {
  await using w = await filesGuest({ ReadFile: { data: Buffer.alloc(11), identity: "1:2" } });
  await failure("GUEST_PROTOCOL", w.files.read(PLACE, { offset: 0, length: 10 }, quietCall()));
  await w.files.read(PLACE, { offset: 0, length: 2 ** 30 }, quietCall());
  assert.is(Reflect.get(w.requests.at(-1)?.request ?? {}, "length"), 2 ** 20);
});

s.test("events with names that are none, of unknown types or too many are refused", async () => {
  for (const events of [
    [{ type: "RENAME", name: "a/b" }],
    [{ type: 7, name: "a" }],
    Array.from({ length: 5000 }, () => ({ type: "CHANGE", name: "a" })),
  ]) {
    await using w = await filesGuest({ NextFileEvents: { events, ended: false } });
    await failure("GUEST_PROTOCOL", w.files.nextEvents("web", "ab", quietCall()));
  }
});

s.test("a Kata guest has no files: UNSUPPORTED, asked once a connection", async () => {
  await using guest = await grpcGuest({}, { kata: true });
  await using client = await connected(guest);
  for (let time = 0; time < 2; time++) {
    const error = await failure("UNSUPPORTED", client.files?.stat(PLACE, { follow: true }, quietCall()) ?? Promise.resolve());
    assert.is(error.data.by, "the guest's agent");
  }
});

s.run();
