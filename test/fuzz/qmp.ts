import type { Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import fc from "fast-check";
import { isTapvisorError } from "tapvisor/plugin";
import * as assert from "uvu/assert";
import { LineSplitter } from "../../plugins/hypervisor-qemu/line-splitter.ts";
import { Qmp } from "../../plugins/hypervisor-qemu/qmp.ts";
import { fakeQmp, GREETING } from "../plugins/hypervisor-qemu/support/fake-qmp.ts";
import { assertSafeText } from "./support/bounded.ts";
import { mutated, split, splits } from "./support/bytes.ts";
import type { Property } from "./support/property.ts";

/** What has no text or number that JavaScript could make of it, and text that steers a terminal. */
const trap = fc.constantFrom<unknown>(
  { toString: 1 },
  { valueOf: 1, toString: null },
  ["\u009b2J"],
  "\u001b]0;x\u0007\u202e\nerror: forged",
);
const json = fc.oneof(fc.jsonValue({ maxDepth: 3, stringUnit: "binary" }), trap);
/** Those of the first commands, behind the one for the capabilities. */
const id = fc.oneof({ weight: 4, arbitrary: fc.constantFrom(2, 3) }, { weight: 1, arbitrary: json });
const message = fc.oneof(
  fc.record({ return: json, id }, { requiredKeys: [] }),
  fc.record({ error: fc.oneof(fc.record({ class: json, desc: json }, { requiredKeys: [] }), json), id }),
  fc.record({ event: fc.oneof(fc.constantFrom("STOP", "DEVICE_DELETED"), json), data: json }, { requiredKeys: ["event"] }),
  fc.record({ QMP: fc.oneof(fc.record({ version: fc.oneof(fc.record({ qemu: json }), json) }), json) }),
  json,
);
const line = message.map((value) => JSON.stringify(value));
const dialogue = fc.array(line, { maxLength: 6 }).map((all) => Buffer.from([...all, ""].join("\r\n")));

const lines = (pieces: readonly Buffer[]): string[] => {
  const splitter = new LineSplitter();
  return pieces.flatMap((piece) => [...splitter.push(piece)]);
};

const hostile = fc.oneof(dialogue, mutated(dialogue));
const mostly = fc.nat(9).map((dice) => dice > 0);

/** The same in the simplest way. */
const linesOf = (bytes: Buffer): string[] => {
  const ends = [...bytes.entries()].flatMap(([index, byte]) => (byte === 0x0a ? [index] : []));
  return ends
    .map((end, index) =>
      bytes
        .subarray((ends[index - 1] ?? -1) + 1, end)
        .toString()
        .trim(),
    )
    .filter((line) => line !== "");
};

/** Ends long after the connection, and long before a command's own deadline. */
const SETTLES_MS = 3_000;

export const qmp: readonly Property[] = [
  {
    name: "qmp: lines are the same however their bytes are cut",
    runs: 1500,
    make: () => {
      const text = fc.oneof(
        dialogue,
        mutated(dialogue),
        fc.string({ unit: fc.constantFrom("\n", "\r", "é", "😀", " ", "x") }).map(Buffer.from),
      );
      return fc.property(text, splits, (bytes, sizes) => assert.equal(lines(split(bytes, sizes)), linesOf(bytes)));
    },
  },
  {
    name: "qmp: whatever QEMU says before it hangs up, every command, event and greeting that was waited for settles then",
    runs: 300,
    make: () =>
      fc.asyncProperty(hostile, splits, mostly, async (bytes, sizes, greets) => {
        let asked = false;
        const reply = async (_: unknown, socket: Socket) => {
          if (asked) return;
          asked = true;
          for (const piece of split(bytes, sizes)) socket.write(piece);
          await delay(2);
          server.hangUp();
        };
        await using server = await fakeQmp(reply, greets ? GREETING : bytes.toString("latin1"));
        const hangingUp = greets ? undefined : delay(5).then(() => server.hangUp());
        const client = await Qmp.connect(server.path);
        const options = { timeoutMs: SETTLES_MS };
        const waits = [
          client.handshake(options),
          client.execute("query-pci", {}, options),
          client.execute("device_del", { id: "x" }, options),
          client.waitForEvent("x to go", ({ event, data }) => event === "DEVICE_DELETED" && data.device === "x", options),
        ];
        for (const outcome of await Promise.allSettled(waits)) {
          if (outcome.status === "fulfilled") continue;
          assert.ok(isTapvisorError(outcome.reason), String(outcome.reason));
          assert.is(outcome.reason.code, "VM_COMMAND_FAILED");
          assertSafeText(outcome.reason.message.replaceAll("\t", ""), 4096 * 6 + 200, "the message");
        }
        await client.closed;
        await hangingUp;
      }),
  },
];
