import { connect, createServer, type Socket } from "node:net";
import { dirname, join } from "node:path";
import type { AgentClient } from "tapvisor/plugin";
import { quietCall } from "tapvisor/testing";
import * as assert from "uvu/assert";
import { suite } from "../../support/suite.ts";
import { failure } from "./expect.ts";
import { machineGuest } from "./support/machine-guest.ts";

const s = suite("agent-grpc over a real port that is cut");
const CUTS = 20;
const call = () => quietCall({ timeoutMs: 60_000 });

/** A way to the port that breaks when so many bytes have come from the guest, in the middle of whatever they are. */
async function breakable(port: string) {
  const path = join(dirname(port), "cut");
  let left = Number.POSITIVE_INFINITY;
  const sockets = new Set<Socket>();
  const server = createServer((host) => {
    const guest = connect(port);
    const cut = () => {
      for (const socket of [host, guest]) socket.destroy();
    };
    for (const socket of [host, guest]) {
      sockets.add(socket);
      socket.on("error", cut).on("close", cut);
    }
    host.pipe(guest);
    guest.on("data", (bytes: Buffer) => {
      host.write(bytes.subarray(0, left));
      left -= bytes.length;
      if (left <= 0) cut();
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return {
    path,
    breakAfter(bytes: number) {
      left = bytes;
    },
    [Symbol.dispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

/** Calls until the connection breaks. */
async function talk(client: AgentClient): Promise<void> {
  for (;;) await Promise.all([client.check(call()), client.guestDetails(call()), client.listInterfaces(call())]);
}

s.test(
  `a connection that breaks at any of ${CUTS} places is lost at once, and the next one is answered`,
  async () => {
    await using guest = await machineGuest();
    await guest.client.close();
    const { endpoint } = guest.target;
    if (endpoint.kind !== "serial") throw new Error("a serial port");
    using way = await breakable(endpoint.path);
    const target = { ...guest.target, endpoint: { ...endpoint, path: way.path } };
    for (let cut = 0; cut < CUTS; cut++) {
      way.breakAfter(Number.POSITIVE_INFINITY);
      const client = await guest.agent.connect(target, call());
      way.breakAfter(1 + cut * 97); // from the first byte of an answer to some answers later
      await failure("AGENT_LOST", talk(client));
      assert.ok(await client.lost, `cut ${cut}`);
      await client.close();
    }
    way.breakAfter(Number.POSITIVE_INFINITY);
    const last = await guest.agent.connect(target, call());
    await last.check(call());
    await last.close();
  },
  { timeoutMs: 240_000 },
);

s.run();
