import { Metadata, status } from "@grpc/grpc-js";
import * as assert from "uvu/assert";
import { quietCall } from "../../../src/testing/quiet-call.ts";
import { suite } from "../../support/suite.ts";
import { failure } from "./expect.ts";
import { connected, grpcGuest, type Handlers } from "./fake-guest.ts";

const INIT = { container: "c", exec: "c" };
const SPEC = {
  ociVersion: "1.1.0",
  root: { path: "/r", readonly: true },
  process: { terminal: false, user: { uid: 0, gid: 0 }, args: ["frobnicate", "-x"], env: [], cwd: "/", noNewPrivileges: true },
  mounts: [],
  linux: { namespaces: [], maskedPaths: [], readonlyPaths: [] },
};

/** A handler that always fails so. */
function fails(method: string, code: status, details: string, trailers: Record<string, string> = {}): Handlers {
  const metadata = new Metadata();
  for (const [key, value] of Object.entries(trailers)) metadata.set(key, value);
  return { [method]: (_, answer) => answer({ code, details, metadata }) };
}

const s = suite("agent-grpc errors");

const PASSED_ON = [
  status.CANCELLED,
  status.UNKNOWN,
  status.INVALID_ARGUMENT,
  status.NOT_FOUND,
  status.ALREADY_EXISTS,
  status.PERMISSION_DENIED,
  status.RESOURCE_EXHAUSTED,
  status.FAILED_PRECONDITION,
  status.ABORTED,
  status.OUT_OF_RANGE,
  status.UNIMPLEMENTED,
  status.INTERNAL,
  status.UNAVAILABLE,
  status.DATA_LOSS,
  status.UNAUTHENTICATED,
];
for (const code of PASSED_ON) {
  s.test(`${status[code]} is AGENT_FAILED with the call, the status and the agent's text, and the connection lives on`, async () => {
    await using guest = await grpcGuest(fails("CreateSandbox", code, "already started"));
    await using client = await connected(guest);
    const error = await failure("AGENT_FAILED", client.createSandbox({ hostname: "", sandbox: "web", storages: [] }, quietCall()));
    assert.equal(error.data, { method: "CreateSandbox", status: status[code] });
    assert.match(error.message, /sandbox "web".*already started/);
    await client.startContainer("c", quietCall());
  });
}

s.test("DEADLINE_EXCEEDED from the agent is TIMEOUT", async () => {
  await using guest = await grpcGuest(fails("RemoveContainer", status.DEADLINE_EXCEEDED, "Timeout reached after 8s"));
  await using client = await connected(guest);
  const error = await failure("TIMEOUT", client.removeContainer("c", quietCall()));
  assert.equal(error.data, { what: 'RemoveContainer of container "c"', timeoutMs: 30_000 });
  assert.match(error.message, "Timeout reached after 8s");
});

for (const [exitCode, code] of [
  ["127", "COMMAND_NOT_FOUND"],
  ["126", "COMMAND_NOT_EXECUTABLE"],
] as const) {
  for (const method of ["CreateContainer", "StartContainer"]) {
    s.test(`${method} that fails with the exit code ${exitCode} in the trailers is ${code} with the command`, async () => {
      await using guest = await grpcGuest(fails(method, status.FAILED_PRECONDITION, "no", { "tapvisor-exit-code": exitCode }));
      await using client = await connected(guest);
      const start = client
        .createContainer({ container: "c", storages: [], spec: SPEC }, quietCall())
        .then(() => client.startContainer("c", quietCall()));
      const error = await failure(code, start);
      assert.equal(error.data, { command: "frobnicate", exitCode: Number(exitCode) });
    });
  }
}

const KATA_TEXTS = [
  [
    `container_linux.go:345: starting container process caused "exec: \\"frobnicate\\": executable file not found in $PATH"`,
    "COMMAND_NOT_FOUND",
  ],
  [`starting container process caused "exec: \\"/frobnicate\\": stat /frobnicate: no such file or directory"`, "COMMAND_NOT_FOUND"],
  ["executable file `frobnicate` not found in $PATH: No such file or directory", "COMMAND_NOT_FOUND"],
  [`starting container process caused "exec: \\"/etc\\": permission denied"`, "COMMAND_NOT_EXECUTABLE"],
  [`standard_init_linux.go:207: exec user process caused "exec format error"`, "COMMAND_NOT_EXECUTABLE"],
  [`rootfs_linux.go:58: mounting "/x" to rootfs caused "no such file or directory"`, "AGENT_FAILED"],
  [`mkdir /run/x: permission denied`, "AGENT_FAILED"],
] as const;
for (const [text, code] of KATA_TEXTS) {
  s.test(`a Kata agent's "${text.slice(-60)}" at start is ${code}`, async () => {
    await using guest = await grpcGuest(fails("CreateContainer", status.UNKNOWN, text));
    await using client = await connected(guest);
    await failure(code, client.createContainer({ container: "c", storages: [], spec: SPEC }, quietCall()));
  });
}

s.test("an exit code in the trailers of a call that starts nothing means nothing", async () => {
  await using guest = await grpcGuest(fails("WaitProcess", status.NOT_FOUND, "no such container", { "tapvisor-exit-code": "127" }));
  await using client = await connected(guest);
  await failure("AGENT_FAILED", client.waitProcess(INIT, quietCall()));
});

s.test("removing a container that the agent does not know is success", async () => {
  await using guest = await grpcGuest(fails("RemoveContainer", status.NOT_FOUND, "container c not found"));
  await using client = await connected(guest);
  await client.removeContainer("c", quietCall());
});

s.test("closing the input of a process that the agent does not know is success", async () => {
  await using guest = await grpcGuest(fails("CloseStdin", status.NOT_FOUND, "process c not found"));
  await using client = await connected(guest);
  await client.closeStdin(INIT, quietCall());
});

for (const [code, text] of [
  [status.NOT_FOUND, "process c not found"],
  [status.FAILED_PRECONDITION, "Could not signal process c: rpc error: code = NotFound desc = Container c not found"],
  [status.UNKNOWN, "os: process already finished"],
  [status.UNKNOWN, "no such process"],
] as const) {
  s.test(`signalling a process that is gone is success: ${status[code]} ${text}`, async () => {
    await using guest = await grpcGuest(fails("SignalProcess", code, text));
    await using client = await connected(guest);
    await client.signalProcess(INIT, 15, false, quietCall());
  });
}

s.test("signalling that fails for another reason is AGENT_FAILED", async () => {
  await using guest = await grpcGuest(fails("SignalProcess", status.UNKNOWN, "operation not permitted"));
  await using client = await connected(guest);
  assert.is((await failure("AGENT_FAILED", client.signalProcess(INIT, 15, false, quietCall()))).data.status, "UNKNOWN");
});

for (const text of ["EOF", "read |0: file already closed"]) {
  s.test(`a Kata agent's "${text}" is the end of the stream`, async () => {
    await using guest = await grpcGuest({ ...fails("ReadStdout", status.UNKNOWN, text), ...fails("ReadStderr", status.UNKNOWN, text) });
    await using client = await connected(guest);
    assert.is((await client.readStdout(INIT, 10, quietCall())).length, 0);
    assert.is((await client.readStderr(INIT, 10, quietCall())).length, 0);
  });
}

for (const [said, handlers] of [
  ["by our agent's status", fails("WriteStdin", status.FAILED_PRECONDITION, "standard input of c is closed")],
  ["by a Kata agent's broken pipe", fails("WriteStdin", status.UNKNOWN, "write |1: broken pipe")],
  ["by a Kata agent that takes nothing", { WriteStdin: (_, answer) => answer(null, { len: 0 }) }],
] as readonly (readonly [string, Handlers])[]) {
  s.test(`writing to a closed input is AGENT_FAILED FAILED_PRECONDITION, told ${said}`, async () => {
    await using guest = await grpcGuest(handlers);
    await using client = await connected(guest);
    const error = await failure("AGENT_FAILED", client.writeStdin(INIT, Buffer.from("x"), quietCall()));
    assert.equal(error.data, { method: "WriteStdin", status: "FAILED_PRECONDITION" });
  });
}

s.test("an agent that does not serve is AGENT_FAILED and leaves nothing", async () => {
  await using guest = await grpcGuest({ Check: (_, answer) => answer(null, { status: "NOT_SERVING" }) });
  const error = await failure("AGENT_FAILED", connected(guest));
  assert.equal(error.data, { method: "Check", status: "NOT_SERVING" });
  assert.is(guest.closes(), 1);
  assert.equal(guest.files(), []);
});

s.test("an agent without Version is taken", async () => {
  await using guest = await grpcGuest(fails("Version", status.UNIMPLEMENTED, "unknown method Version"));
  await using client = await connected(guest);
  assert.is((await client.guestDetails(quietCall())).agentVersion, "");
});

s.run();
