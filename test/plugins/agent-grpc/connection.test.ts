import { mkdirSync } from "node:fs";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { connect } from "../../../plugins/agent-grpc/connect.ts";
import { agentGrpc } from "../../../plugins/agent-grpc/index.ts";
import { openLink } from "../../../plugins/agent-grpc/link.ts";
import { unary } from "../../../plugins/agent-grpc/unary.ts";
import type { Agent } from "../../../src/contracts/agent.ts";
import type { TransportConnection } from "../../../src/contracts/transport.ts";
import type { PluginContext } from "../../../src/engine/define-plugin.ts";
import { agentServiceDefinition as rpc } from "../../../src/protocol/kata/index.ts";
import { quietCall } from "../../../src/testing/quiet-call.ts";
import { suite } from "../../support/suite.ts";
import { failure } from "./expect.ts";
import { connected, type FakeGuest, fakeGuest, grpcGuest } from "./fake-guest.ts";

const INIT = { container: "c", exec: "c" };

const s = suite("agent-grpc connection");

s.test("the plugin offers the agent grpc, which needs a transport", async () => {
  const offered: [string, string, () => unknown][] = [];
  await agentGrpc().apply({ provide: (...offer: [string, string, () => unknown]) => offered.push(offer) } as unknown as PluginContext);
  assert.equal(
    offered.map(([slot, name]) => `${slot}:${name}`),
    ["agent:grpc"],
  );
  const agent = (await offered[0]?.[2]()) as Agent;
  assert.is(agent.needsTransport, true);
  assert.is(agent.connect, connect);
});

s.test("nothing stands in the run directory once connected, nor after close", async () => {
  await using guest = await grpcGuest();
  await using client = await connected(guest);
  assert.equal(guest.files(), []);
  await client.close();
  assert.equal(guest.files(), []);
});

s.test("a run directory whose socket path would be too long is refused with the path and the limit", async () => {
  await using guest = await grpcGuest();
  const runDirectory = join(guest.target.runDirectory, "x".repeat(80), "y".repeat(20));
  mkdirSync(runDirectory, { recursive: true });
  const error = await failure("HOST_LIMIT", connect({ ...guest.target, runDirectory }, quietCall()));
  assert.is(error.data.available, 107);
  assert.ok(error.data.wanted > 107);
  assert.ok(error.message.includes(runDirectory));
  assert.is(guest.closes(), 1);
});

s.test("a run directory that does not exist fails and closes the connection", async () => {
  await using guest = await grpcGuest();
  const runDirectory = join(guest.target.runDirectory, "missing");
  let thrown: unknown;
  await connect({ ...guest.target, runDirectory }, quietCall()).catch((error) => {
    thrown = error;
  });
  assert.is((thrown as NodeJS.ErrnoException).code, "ENOENT");
  assert.is(guest.closes(), 1);
});

s.test("a target without a transport is UNSUPPORTED", async () => {
  await using guest = await grpcGuest();
  await failure("UNSUPPORTED", connect({ ...guest.target, transport: undefined }, quietCall()));
});

s.test("a guest that says nothing ends at the caller's signal and leaves nothing", async () => {
  await using guest = await fakeGuest(() => {});
  await failure("ABORTED", connect(guest.target, quietCall({ timeoutMs: 100 })));
  assert.is(guest.closes(), 1);
  assert.equal(guest.files(), []);
  assert.ok(guest.nearEnd().destroyed);
});

const HANG_UPS: Readonly<Record<string, (guest: FakeGuest) => void>> = {
  "ends the stream": (guest) => guest.farEnd().end(),
  "resets the stream": (guest) => guest.nearEnd().destroy(new Error("reset")),
  "lets the transport die": (guest) => guest.die(new Error("gone")),
};
for (const [how, hangUp] of Object.entries(HANG_UPS)) {
  s.test(`a guest that ${how} while connecting is AGENT_LOST and leaves nothing`, async () => {
    await using guest = await fakeGuest(() => setImmediate(() => hangUp(guest)));
    await failure("AGENT_LOST", connect(guest.target, quietCall()));
    assert.is(guest.closes(), 1);
    assert.equal(guest.files(), []);
  });
}

s.test("an aborted call ends at once as ABORTED, is cancelled in the agent, and the others go on", async () => {
  let cancelled: () => void = () => {};
  const cancelledInAgent = new Promise<void>((resolve) => {
    cancelled = resolve;
  });
  const control = new AbortController();
  const reason = new Error("the user left");
  await using guest = await grpcGuest({
    WaitProcess: (call) => {
      call.on("cancelled", cancelled);
      control.abort(reason);
    },
  });
  await using client = await connected(guest);
  const error = await failure("ABORTED", client.waitProcess(INIT, quietCall({ signal: control.signal })));
  assert.is(error.cause, reason);
  await cancelledInAgent;
  await client.startContainer("c", quietCall());
});

s.test("a signal that has fired already makes no call", async () => {
  await using guest = await grpcGuest();
  await using client = await connected(guest);
  await failure("ABORTED", client.startContainer("c", quietCall({ signal: AbortSignal.abort() })));
  assert.not(guest.received.some(({ method }) => method === "StartContainer"));
});

s.test("a call that is not answered by its deadline is TIMEOUT, is cancelled in the agent, and the others go on", async () => {
  let cancelled: () => void = () => {};
  const cancelledInAgent = new Promise<void>((resolve) => {
    cancelled = resolve;
  });
  await using guest = await grpcGuest({ DestroySandbox: (call) => call.on("cancelled", cancelled) });
  const { sandbox, runDirectory, transport, endpoint } = guest.target;
  const connection = await transport?.connect(endpoint, quietCall());
  const link = await openLink(sandbox, connection as TransportConnection, runDirectory);
  const subject = 'sandbox "web"';
  const slow = { name: "DestroySandbox", method: rpc.DestroySandbox, request: {}, subject, timeoutMs: 50 } as const;
  const error = await failure("TIMEOUT", unary(link, slow, quietCall()));
  assert.equal(error.data, { what: 'DestroySandbox of sandbox "web"', timeoutMs: 50 });
  assert.is(error.message, 'Timed out waiting for DestroySandbox of sandbox "web": no answer within 50 ms');
  await cancelledInAgent;
  await unary(
    link,
    { ...slow, name: "StartContainer", method: rpc.StartContainer, request: { container_id: "c" }, timeoutMs: 5000 },
    quietCall(),
  );
  await link.close();
});

s.test("every call but the four that wait for a process tells the agent its deadline", async () => {
  const deadlines = new Map<string, boolean>();
  const methods = [
    "CreateSandbox",
    "DestroySandbox",
    "GetGuestDetails",
    "StartContainer",
    "RemoveContainer",
    "SignalProcess",
    "CloseStdin",
    "WaitProcess",
    "ReadStdout",
    "ReadStderr",
    "WriteStdin",
  ];
  await using guest = await grpcGuest(
    Object.fromEntries(
      methods.map((method) => [
        method,
        (call, answer) => {
          deadlines.set(method, call.getDeadline() !== Number.POSITIVE_INFINITY);
          answer(null, method === "WriteStdin" ? { len: 1 } : {});
        },
      ]),
    ),
  );
  await using client = await connected(guest);
  const call = quietCall();
  await client.createSandbox({ hostname: "", sandbox: "web", storages: [] }, call);
  await client.destroySandbox(call);
  await client.guestDetails(call);
  await client.startContainer("c", call);
  await client.removeContainer("c", call);
  await client.signalProcess(INIT, 9, false, call);
  await client.closeStdin(INIT, call);
  await client.waitProcess(INIT, call);
  await client.readStdout(INIT, 1, call);
  await client.readStderr(INIT, 1, call);
  await client.writeStdin(INIT, Buffer.from("x"), call);
  const without = methods.filter((method) => !deadlines.get(method));
  assert.equal(without, ["WaitProcess", "ReadStdout", "ReadStderr", "WriteStdin"]);
});

s.test("when the VM dies, every pending call ends with AGENT_LOST and its reason, and lost settles with it", async () => {
  let waiting = 0;
  const arrived: (() => void)[] = [];
  const pending = (_: unknown) => {
    waiting += 1;
    if (waiting === 3) for (const resolve of arrived) resolve();
  };
  const allArrived = new Promise<void>((resolve) => arrived.push(resolve));
  await using guest = await grpcGuest({ WaitProcess: pending, ReadStdout: pending, StartContainer: pending });
  await using client = await connected(guest);
  const calls = [
    failure("AGENT_LOST", client.waitProcess(INIT, quietCall())),
    failure("AGENT_LOST", client.readStdout(INIT, 10, quietCall())),
    failure("AGENT_LOST", client.startContainer("c", quietCall())),
  ];
  await allArrived;
  guest.die(new Error("the VM ended"));
  for (const error of await Promise.all(calls)) {
    assert.match(error.message, /sandbox "web".*the VM ended/);
    assert.equal(error.data, { id: "web" });
  }
  assert.match((await client.lost)?.message ?? "", "the VM ended");
  await failure("AGENT_LOST", client.startContainer("c", quietCall()));
});

s.test("a stream that fails while the transport lives is AGENT_LOST too, and the transport is closed", async () => {
  await using guest = await grpcGuest({ WaitProcess: () => guest.nearEnd().destroy(new Error("stream reset")) });
  await using client = await connected(guest);
  const error = await failure("AGENT_LOST", client.waitProcess(INIT, quietCall()));
  assert.match(error.message, "stream reset");
  assert.ok(await client.lost);
  assert.is(guest.closes(), 1);
});

s.test("an agent that shuts down gracefully is AGENT_LOST for the next call", async () => {
  await using guest = await grpcGuest();
  await using client = await connected(guest);
  guest.server.tryShutdown(() => {});
  assert.ok(await client.lost);
  await failure("AGENT_LOST", client.startContainer("c", quietCall()));
});

s.test("an answer that is followed by the end of the connection still arrives", async () => {
  await using guest = await grpcGuest({
    DestroySandbox: (_, answer) => {
      answer(null, {});
      guest.server.tryShutdown(() => {});
    },
  });
  await using client = await connected(guest);
  await client.destroySandbox(quietCall());
});

s.test("close ends pending calls, settles lost with undefined, closes the transport once, and may be repeated", async () => {
  let arrived: () => void = () => {};
  const inAgent = new Promise<void>((resolve) => {
    arrived = resolve;
  });
  await using guest = await grpcGuest({ WaitProcess: () => arrived() });
  await using client = await connected(guest);
  const pending = failure("AGENT_LOST", client.waitProcess(INIT, quietCall()));
  await inAgent;
  await Promise.all([client.close(), client.close()]);
  await pending;
  await client.close();
  assert.is(await client.lost, undefined);
  assert.is(guest.closes(), 1);
  assert.ok(guest.nearEnd().destroyed);
  assert.match((await failure("AGENT_LOST", client.startContainer("c", quietCall()))).message, "has been closed");
});

s.test("close after a loss keeps the reason and succeeds", async () => {
  await using guest = await grpcGuest();
  await using client = await connected(guest);
  guest.die(new Error("gone"));
  assert.match((await client.lost)?.message ?? "", "gone");
  await client.close();
  assert.match((await client.lost)?.message ?? "", "gone");
});

s.test("close gives up on a transport that hangs, with TIMEOUT", async () => {
  await using guest = await grpcGuest({}, { hangOnClose: true });
  const client = await connect(guest.target, quietCall());
  await failure("TIMEOUT", client.close());
});

s.test("a hundred connections leave no socket, file or timer", async () => {
  await using guest = await grpcGuest();
  await using first = await connected(guest);
  await first.close();
  const before = process.getActiveResourcesInfo().length;
  for (let round = 0; round < 100; round += 1) {
    await using again = await grpcGuest();
    await using client = await connected(again);
    await client.guestDetails(quietCall());
    await client.close();
    assert.equal(again.files(), []);
  }
  await new Promise((resolve) => setImmediate(resolve));
  const left = process.getActiveResourcesInfo();
  assert.ok(left.length <= before + 1, left.join(" "));
});

s.run();
