import { gzipSync } from "node:zlib";
import fc from "fast-check";
import * as assert from "uvu/assert";
import { connect } from "../../../plugins/agent-grpc/connect.ts";
import { isTapvisorError } from "../../../src/base/errors.ts";
import type { AgentClient } from "../../../src/contracts/agent.ts";
import { quietCall } from "../../../src/testing/quiet-call.ts";
import { suite } from "../../support/suite.ts";
import { failure } from "./expect.ts";
import { connected, fakeGuest, grpcGuest } from "./fake-guest.ts";
import { answerWith, frame, rawGuest } from "./raw-guest.ts";

const INIT = { container: "c", exec: "c" };
const DISK = { driver: "scsi", address: "0:3" } as const;
const MIB = 2 ** 20;

const s = suite("agent-grpc against a hostile guest");

const BAD_ANSWERS: Readonly<Record<string, Parameters<typeof rawGuest>[0]>> = {
  "bytes that are no message": (stream) => answerWith(stream, [frame(Buffer.from("ff".repeat(40), "hex"))]),
  "a length that goes past the message's end": (stream) => answerWith(stream, [frame(Buffer.from("0affffffff0f", "hex"))]),
  "groups nested a hundred thousand deep": (stream) => answerWith(stream, [frame(Buffer.alloc(100_000, 0x13))]),
  "no message and OK": (stream) => answerWith(stream, []),
  "a message above the limit": (stream) => answerWith(stream, [frame(Buffer.alloc(2 * MIB))]),
  "the promise of a message of 4 GiB": (stream) => answerWith(stream, [frame(Buffer.alloc(10), { length: 0xffffffff })]),
  "a compressed message that grows above the limit": (stream) =>
    answerWith(stream, [frame(gzipSync(Buffer.alloc(64 * MIB)), { compressed: true })], { headers: { "grpc-encoding": "gzip" } }),
};
for (const [what, answer] of Object.entries(BAD_ANSWERS)) {
  s.test(`${what} is GUEST_PROTOCOL, and the connection lives on`, async () => {
    let good = false;
    await using guest = await rawGuest((stream, headers) =>
      good ? answerWith(stream, [frame(Buffer.from("0a0168", "hex"))]) : answer(stream, headers),
    );
    await using client = await connected(guest);
    await failure("GUEST_PROTOCOL", client.readStdout(INIT, MIB, quietCall()));
    good = true;
    assert.is(Buffer.from(await client.readStdout(INIT, MIB, quietCall())).toString(), "h");
  });
}

const REFUSALS: Readonly<Record<string, Parameters<typeof rawGuest>[0]>> = {
  "a broken compressed message": (stream) =>
    answerWith(stream, [frame(Buffer.from("garbage"), { compressed: true })], { headers: { "grpc-encoding": "gzip" } }),
  "a compression nobody knows": (stream) =>
    answerWith(stream, [frame(Buffer.from("x"), { compressed: true })], { headers: { "grpc-encoding": "snake" } }),
  "an HTTP error": (stream) => {
    stream.respond({ ":status": 503, "content-type": "text/html" });
    stream.end("<html>");
  },
  "a status that is no number": (stream) => answerWith(stream, [], { trailers: { "grpc-status": "12abc" } }),
  "a status that no table has": (stream) => answerWith(stream, [], { trailers: { "grpc-status": "4711" } }),
  "a reset stream": (stream) => stream.close(0x8),
  "a refused stream": (stream) => stream.close(0x7),
};
for (const [what, answer] of Object.entries(REFUSALS)) {
  s.test(`${what} fails the call with a typed error, and the connection lives on`, async () => {
    let good = false;
    await using guest = await rawGuest((stream, headers) =>
      good ? answerWith(stream, [frame(Buffer.alloc(0))]) : answer(stream, headers),
    );
    await using client = await connected(guest);
    const outcome = await client.startContainer("c", quietCall()).catch((error) => error);
    assert.ok(isTapvisorError(outcome) && ["AGENT_FAILED", "GUEST_PROTOCOL"].includes(outcome.code), String(outcome));
    good = true;
    await client.startContainer("c", quietCall());
  });
}

s.test("two messages are no answer: the call waits on, and ends with the caller's signal", async () => {
  await using guest = await rawGuest((stream, headers) =>
    answerWith(
      stream,
      headers[":path"]?.endsWith("ReadStdout") ? [frame(Buffer.alloc(0)), frame(Buffer.alloc(0))] : [frame(Buffer.alloc(0))],
    ),
  );
  await using client = await connected(guest);
  await failure("ABORTED", client.readStdout(INIT, 10, quietCall({ timeoutMs: 200 })));
  await client.startContainer("c", quietCall());
});

s.test("headers that grpc-js complains about on standard error are escaped there", async () => {
  const written: unknown[] = [];
  const before = console.error;
  console.error = (...parts: unknown[]) => written.push(...parts);
  try {
    await using guest = await rawGuest((stream) => answerWith(stream, [], { trailers: { "x-note": "\u009b2J" } }));
    await using client = await connected(guest);
    await client.startContainer("c", quietCall()).catch(() => {});
  } finally {
    console.error = before;
  }
  assert.match(written.join("\n"), "\\u{9b}2J");
  assert.not.match(written.join("\n"), "\u009b");
});

s.test("an error text is escaped and cut, and its raw form is nowhere in the error", async () => {
  const text = `\u001b]52;c;aGk=\u0007\u202e${"x".repeat(9000)}`;
  await using guest = await rawGuest((stream) =>
    answerWith(stream, [], { trailers: { "grpc-status": "13", "grpc-message": encodeURI(text) } }),
  );
  await using client = await connected(guest);
  const error = await failure("AGENT_FAILED", client.startContainer("c", quietCall()));
  assert.not.match(error.message, /[\p{Cc}\p{Bidi_Control}]/u);
  assert.match(error.message, "\\u{1b}]52;c;aGk=\\u{7}\\u{202e}xxx");
  assert.ok(error.message.length < 4500);
  assert.is(error.cause, undefined);
});

for (const [what, run, answer] of [
  ["an exit status of 256", (client) => client.waitProcess(INIT, quietCall()), "08 8002"],
  ["an exit status below zero", (client) => client.waitProcess(INIT, quietCall()), "08 ffffffffffffffffff01"],
  ["more output than was asked for", (client) => client.readStdout(INIT, 2, quietCall()), "0a 03 616161"],
  ["more input taken than was sent", (client) => client.writeStdin(INIT, Buffer.from("ab"), quietCall()), "08 03"],
  ["a memory block size above 2^53", (client) => client.guestDetails(quietCall()), "08 ffffffffffffffffff01"],
  ["a guest without a vCPU", (client) => client.syncResources({}, quietCall()), "10 8080808002"],
  ["a guest without memory", (client) => client.syncResources({}, quietCall()), "08 01"],
  ["memory above 2^53", (client) => client.syncResources({}, quietCall()), "08 01 10 ffffffffffffffffff01"],
  ["a disk of more than 2^53 bytes", (client) => client.findDisk(DISK, quietCall()), "0a 08 2f6465762f736461 10 ffffffffffffffffff01"],
  ["a disk without a node", (client) => client.findDisk(DISK, quietCall()), "10 01"],
  [
    "a node that leaves /dev",
    (client) => client.findDisk(DISK, quietCall()),
    `0a 0e ${Buffer.from("/dev/../etc/x1").toString("hex")} 10 01`,
  ],
  ["a node with an escape", (client) => client.findDisk(DISK, quietCall()), `0a 09 ${Buffer.from("/dev/\u001b[m").toString("hex")} 10 01`],
  ["statistics of nothing", (client) => client.statsContainer("c", quietCall()), ""],
] as readonly (readonly [string, (client: AgentClient) => Promise<unknown>, string])[]) {
  s.test(`${what} is GUEST_PROTOCOL`, async () => {
    await using guest = await rawGuest((stream) => answerWith(stream, [frame(Buffer.from(answer.replaceAll(" ", ""), "hex"))]));
    await using client = await connected(guest);
    await failure("GUEST_PROTOCOL", run(client));
  });
}

s.test("names from the guest are escaped and bounded in length and number", async () => {
  await using guest = await grpcGuest({
    GetGuestDetails: (_, answer) =>
      answer(null, { agent_details: { version: `\u001b${"v".repeat(10_000)}`, storage_handlers: Array(10_000).fill("\u001bblk") } }),
  });
  await using client = await connected(guest);
  const details = await client.guestDetails(quietCall());
  assert.ok(details.agentVersion.length < 200);
  assert.match(details.agentVersion, /^\\u\{1b\}v/);
  assert.is(details.storageHandlers.length, 64);
  assert.is(details.storageHandlers[0], "\\u{1b}blk");
});

s.test("garbage instead of HTTP/2 while connecting is AGENT_LOST and leaves nothing", async () => {
  await using guest = await fakeGuest((stream) => stream.write(Buffer.alloc(4096, "garbage ")));
  await failure("AGENT_LOST", connect(guest.target, quietCall()));
  assert.equal(guest.files(), []);
  assert.is(guest.closes(), 1);
});

s.test("garbage in the middle of calls is AGENT_LOST for all of them", async () => {
  let waiting = 0;
  await using guest = await grpcGuest({
    WaitProcess: () => {
      waiting += 1;
      if (waiting === 2) guest.farEnd().write(Buffer.alloc(4096, "garbage "));
    },
  });
  await using client = await connected(guest);
  await Promise.all([
    failure("AGENT_LOST", client.waitProcess(INIT, quietCall())),
    failure("AGENT_LOST", client.waitProcess(INIT, quietCall())),
  ]);
  assert.ok(await client.lost);
});

s.test("a stream that the guest pushes is AGENT_LOST, also when its error would have nobody to listen", async () => {
  await using guest = await rawGuest((stream) => {
    stream.pushStream({ ":path": "/" }, (_, pushed) => {
      pushed.on("error", () => {});
      pushed.respond();
      pushed.write("x");
      stream.session?.goaway(2);
    });
  });
  await using client = await connected(guest);
  const error = await failure("AGENT_LOST", client.waitProcess(INIT, quietCall()));
  assert.is(isTapvisorError(error.cause) && error.cause.code, "GUEST_PROTOCOL");
  await new Promise((resolve) => setTimeout(resolve, 50)); // an error that nobody listens for comes a little later
});

s.test("any bytes at any time: every call ends with a typed error and nothing is left", async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 200 }), async (bytes) => {
      await using guest = await rawGuest(() => {
        guest.farEnd().write(bytes);
        guest.farEnd().end();
      });
      const client = await connect(guest.target, quietCall());
      await failure("AGENT_LOST", client.waitProcess(INIT, quietCall()));
      await client.close();
      assert.equal(guest.files(), []);
    }),
    { numRuns: 100 },
  );
});

s.test("any message as an answer: the call ends with a value or a typed error", async () => {
  let next: Uint8Array = Buffer.alloc(0);
  await using guest = await rawGuest((stream) => answerWith(stream, [frame(next)]));
  await using client = await connected(guest);
  const calls = [
    () => client.guestDetails(quietCall()),
    () => client.waitProcess(INIT, quietCall()),
    () => client.readStdout(INIT, 10, quietCall()),
    () => client.writeStdin(INIT, Buffer.from("x"), quietCall()),
    () => client.startContainer("c", quietCall()),
    () => client.statsContainer("c", quietCall()),
    () => client.syncResources({}, quietCall()),
    () => client.findDisk(DISK, quietCall()),
  ];
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 60 }), fc.constantFrom(...calls), async (bytes, run) => {
      next = bytes;
      await run().catch((error) => assert.ok(isTapvisorError(error), String(error)));
    }),
    { numRuns: 500 },
  );
});

s.test("a flood of settings and pings ends no call and blocks none", async () => {
  await using guest = await rawGuest((stream) => {
    const ping = Buffer.from("0000080600000000000000000000000000", "hex");
    guest.farEnd().write(Buffer.concat(Array<Buffer>(500).fill(ping)));
    answerWith(stream, [frame(Buffer.alloc(0))]);
  });
  await using client = await connected(guest);
  await client.startContainer("c", quietCall());
});

s.run();
