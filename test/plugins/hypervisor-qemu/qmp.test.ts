import type { Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import * as assert from "uvu/assert";
import { LINE_BYTES } from "../../../plugins/hypervisor-qemu/line-splitter.ts";
import { Qmp } from "../../../plugins/hypervisor-qemu/qmp.ts";
import { suite } from "../../support/suite.ts";
import { answer, event, fakeQmp, type Request } from "./support/fake-qmp.ts";
import { refusal } from "./support/refusal.ts";

const s = suite("hypervisor-qemu qmp");
const silent = () => {};

s.test("handshake() gives QEMU's version", async () => {
  await using server = await fakeQmp(silent);
  const qmp = await Qmp.connect(server.path);
  assert.equal(await qmp.handshake(), { major: 7, minor: 2, micro: 22 });
});

s.test("execute() sends the arguments and gives the result", async () => {
  await using server = await fakeQmp((request, socket) => answer(socket, request, { echo: request.arguments }));
  const qmp = await Qmp.connect(server.path);
  assert.equal(await qmp.execute("device_del", { id: "x" }), { echo: { id: "x" } });
});

s.test("answers reach their commands in any order, with events between them", async () => {
  const held: [Request, Socket][] = [];
  await using server = await fakeQmp((request, socket) => {
    held.push([request, socket]);
    if (held.length < 3) return;
    for (const [one, to] of held.reverse()) {
      event(to, "STOP");
      answer(to, one, one.execute);
    }
  });
  const qmp = await Qmp.connect(server.path);
  assert.equal(await Promise.all(["a", "b", "c"].map((name) => qmp.execute(name))), ["a", "b", "c"]);
});

s.test("an answer cut at every byte, inside a character too, is read whole", async () => {
  await using server = await fakeQmp(async (request, socket) => {
    for (const byte of Buffer.from(`${JSON.stringify({ return: "grüß 😀", id: request.id })}\r\n`)) {
      socket.write(Buffer.of(byte));
      await delay(0);
    }
  });
  const qmp = await Qmp.connect(server.path);
  assert.is(await qmp.execute("query-name"), "grüß 😀");
});

s.test("an error keeps QEMU's class and words", async () => {
  await using server = await fakeQmp((request, socket) => {
    socket.write(`${JSON.stringify({ error: { class: "DeviceNotFound", desc: "Device 'x' not found" }, id: request.id })}\r\n`);
  });
  const qmp = await Qmp.connect(server.path);
  const error = await refusal(qmp.execute("device_del"));
  assert.equal([error.code, error.data], ["VM_COMMAND_FAILED", { command: "device_del", class: "DeviceNotFound" }]);
  assert.match(error.message, "Device 'x' not found");
});

s.test("words that would steer a terminal are shown, and what is no text at all still ends the command", async () => {
  const words: readonly unknown[] = ["\u001b]0;x\u0007\nerror: forged", { toString: 1 }];
  await using server = await fakeQmp((request, socket) => {
    const desc = words[Number(request.arguments.index)];
    socket.write(`${JSON.stringify({ error: { class: desc, desc }, id: request.id })}\r\n`);
  });
  const qmp = await Qmp.connect(server.path);
  const told = await refusal(qmp.execute("device_del", { index: 0 }));
  assert.match(told.message, "\\x1b]0;x\\x07\\nerror: forged");
  assert.not.match(told.message, /[\0-\x1f]/);
  const mute = await refusal(qmp.execute("device_del", { index: 1 }));
  assert.equal([mute.code, mute.data], ["VM_COMMAND_FAILED", { command: "device_del", class: "no reason given" }]);
});

s.test("waitForEvent() takes the wanted event and no other", async () => {
  await using server = await fakeQmp((request, socket) => {
    event(socket, "DEVICE_DELETED", { path: "/x" });
    event(socket, "DEVICE_DELETED", { device: "x", path: "/x" });
    answer(socket, request, {});
  });
  const qmp = await Qmp.connect(server.path);
  const deleted = qmp.waitForEvent("x to go", ({ event, data }) => event === "DEVICE_DELETED" && data.device === "x");
  await qmp.execute("device_del", { id: "x" });
  assert.equal((await deleted).data, { device: "x", path: "/x" });
});

s.test("waitForEvent() ends at its deadline", async () => {
  await using server = await fakeQmp(silent);
  const qmp = await Qmp.connect(server.path);
  assert.is((await refusal(qmp.waitForEvent("nothing", () => true, { timeoutMs: 30 }))).code, "TIMEOUT");
});

s.test("a connection that closes rejects all that waits, and what comes later", async () => {
  await using server = await fakeQmp((request) => {
    if (request.execute === "quit") server.hangUp();
  });
  const qmp = await Qmp.connect(server.path);
  await qmp.handshake();
  const waiting = [qmp.execute("query-pci"), qmp.waitForEvent("nothing", () => true), qmp.execute("quit")];
  for (const error of await Promise.all(waiting.map(refusal))) {
    assert.is(error.code === "VM_COMMAND_FAILED" && error.data.class, "Disconnected");
  }
  await qmp.closed;
  assert.is((await refusal(qmp.execute("query-pci"))).code, "VM_COMMAND_FAILED");
  assert.is((await refusal(qmp.waitForEvent("nothing", () => true))).code, "VM_COMMAND_FAILED");
});

s.test("close() rejects what waits and may be called twice", async () => {
  await using server = await fakeQmp(silent);
  const qmp = await Qmp.connect(server.path);
  const waiting = refusal(qmp.execute("query-pci"));
  await qmp.close();
  await qmp.close();
  assert.is((await waiting).code, "VM_COMMAND_FAILED");
});

s.test("a command without an answer ends at its deadline, and its late answer is dropped", async () => {
  let late: (() => void) | undefined;
  await using server = await fakeQmp((request, socket) => {
    if (request.execute === "slow") late = () => answer(socket, request, "late");
    else answer(socket, request, "in time");
  });
  const qmp = await Qmp.connect(server.path);
  const error = await refusal(qmp.execute("slow", {}, { timeoutMs: 30 }));
  assert.is(error.code, "TIMEOUT");
  assert.match(error.message, /"slow"/);
  late?.();
  assert.is(await qmp.execute("fast"), "in time");
});

s.test("a command given up is ABORTED, and not sent when the greeting comes later", async () => {
  const seen: string[] = [];
  await using server = await fakeQmp((request, socket) => {
    seen.push(request.execute);
    answer(socket, request, {});
  }, "");
  const qmp = await Qmp.connect(server.path);
  const error = await refusal(qmp.execute("device_add", {}, { signal: AbortSignal.timeout(20) }));
  assert.is(error.code, "ABORTED");
  assert.equal(seen, []);
});

s.test("a server that serves somebody else first makes the handshake time out", async () => {
  await using server = await fakeQmp(silent, "");
  const qmp = await Qmp.connect(server.path);
  assert.is((await refusal(qmp.handshake({ timeoutMs: 30 }))).code, "TIMEOUT");
});

for (const [what, bytes] of [
  ["text that is no JSON", "{ nonsense\n"],
  ["a message that is no object", "[1]\n"],
  ["nesting without end", `${"[".repeat(100_000)}\n`],
] as const) {
  s.test(`${what} ends the connection with a typed error`, async () => {
    await using server = await fakeQmp((_, socket) => socket.write(bytes));
    const qmp = await Qmp.connect(server.path);
    const error = await refusal(qmp.execute("query-pci"));
    assert.is(error.code === "VM_COMMAND_FAILED" && error.data.class, "Disconnected");
    assert.instance(error.cause, Error);
    await qmp.closed;
  });
}

s.test("a line longer than the limit ends the connection instead of filling the memory", async () => {
  await using server = await fakeQmp((_, socket) => socket.write(Buffer.alloc(LINE_BYTES + 2, "x")));
  const qmp = await Qmp.connect(server.path);
  const error = await refusal(qmp.execute("query-pci"));
  assert.match((error.cause as Error).message, /a line of more than/);
});

s.test("a 10,000 event storm with unknown ids, duplicates and empty lines harms nothing", async () => {
  await using server = await fakeQmp((request, socket) => {
    for (let n = 0; n < 10_000; n++) event(socket, "RTC_CHANGE", { offset: n });
    socket.write('\r\n\r\n{"return": {}, "id": 99999}\r\n{"return": {}, "id": "text"}\r\n{"return": {}}\r\n{"unknown": true}\r\n');
    answer(socket, request, 1);
    answer(socket, request, 2);
  });
  const qmp = await Qmp.connect(server.path);
  assert.is(await qmp.execute("a"), 1);
  assert.is(await qmp.execute("b"), 1);
});

s.test("connect() fails with the socket's own error when nobody listens", async () => {
  const error = await Qmp.connect("/nonexistent/qmp.sock").catch((thrown: NodeJS.ErrnoException) => thrown);
  assert.is((error as NodeJS.ErrnoException).code, "ENOENT");
});

s.run();
