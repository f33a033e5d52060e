import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { acceptSessions, type YamuxSession } from "tapvisor/protocol";
import * as assert from "uvu/assert";
import { connect } from "../../../../plugins/agent-grpc/connect.ts";
import { createAgentServer } from "../../../../plugins/guest-linux/agent/server.ts";
import { connectSerial } from "../../../../plugins/transport-serial/connect.ts";
import type { AgentFixture } from "../../../../src/testing/agent-suite/fixture.ts";
import { streamChecks } from "../../../../src/testing/agent-suite/stream-checks.ts";
import { checksOn } from "../../../../src/testing/conformance/checks.ts";
import { quietCall } from "../../../../src/testing/quiet-call.ts";
import { serialPort } from "../../../protocol/yamux/support/serial-port.ts";
import { suite } from "../../../support/suite.ts";
import { tempDirectory } from "../../../support/temp.ts";
import { fakeGuest } from "../../guest-linux/agent/support/fake-guest.ts";
import { fakeChardev } from "../../transport-serial/support/chardev.ts";

const s = suite("streams from agent-grpc to real processes over a simulated port");

/** Everything that is real in a guest but the guest: the agent in this process, processes of this machine, and a port made of memory. */
async function fixture(): Promise<AgentFixture> {
  const guest = await fakeGuest();
  const directory = await tempDirectory();
  const server = createAgentServer(guest.agent);
  const serial = serialPort();
  let session: YamuxSession | undefined;
  const accepting = acceptSessions(serial.port, (next) => {
    session = next;
    next.onStream = (stream) => server.serve(stream);
  });
  const chardev = await fakeChardev(join(directory.path, "port"), serial);
  const runDirectory = join(directory.path, "run");
  await mkdir(runDirectory);
  return {
    agent: { needsTransport: true, connect },
    target: { sandbox: "box", endpoint: chardev.endpoint, transport: { endpoints: ["serial"], connect: connectSerial }, runDirectory },
    container: async (container, args) => ({
      container,
      storages: [],
      spec: {
        ociVersion: "1.1.0",
        root: { path: guest.rootfs, readonly: false },
        process: { terminal: false, user: { uid: 0, gid: 0 }, args, env: [`PATH=${process.env.PATH}`], cwd: "/", noNewPrivileges: true },
        mounts: [],
        linux: { namespaces: [{ type: "mount" }], maskedPaths: [], readonlyPaths: [] },
      },
    }),
    cut: async () => session?.end(),
    async [Symbol.asyncDispose]() {
      await guest[Symbol.asyncDispose]();
      await chardev[Symbol.asyncDispose]();
      serial.close();
      await accepting.catch(() => {}); // what the guest still had to write has no port any more
      await directory[Symbol.asyncDispose]();
    },
  };
}

s.test("the guest's agent offers data streams in its first answer, and the client has them then", async () => {
  await using world = await fixture();
  const client = await world.agent.connect(world.target, quietCall());
  assert.type(client.openOutput, "function");
  assert.type(client.openInput, "function");
  await client.close();
});

streamChecks(checksOn("agent-grpc and the guest's agent", fixture, { suite: s }));

s.run();
