import { Metadata, status } from "@grpc/grpc-js";
import * as assert from "uvu/assert";
import type { OciProcess, OciSpec } from "../../../src/contracts/oci.ts";
import { EXIT_CODE_KEY } from "../../../src/protocol/kata/index.ts";
import { quietCall } from "../../../src/testing/quiet-call.ts";
import { suite } from "../../support/suite.ts";
import { failure } from "./expect.ts";
import { connected, grpcGuest } from "./fake-guest.ts";

const EXEC = { container: "c", exec: "e" };
const PROCESS: OciProcess = {
  terminal: true,
  consoleSize: { height: 24, width: 80 },
  user: { uid: 1, gid: 2 },
  args: ["sh", "-l"],
  env: ["A=b"],
  cwd: "/",
  noNewPrivileges: true,
};
const SPEC: OciSpec = {
  ociVersion: "1.1.0",
  root: { path: "/r", readonly: true },
  process: PROCESS,
  mounts: [],
  linux: { namespaces: [], maskedPaths: [], readonlyPaths: [] },
};
const ROW = {
  pid: 7,
  parent_pid: 1,
  uid: 1000,
  gid: 100,
  state: "S",
  command: "sleep 60",
  elapsed_seconds: "61",
  resident_bytes: "4194304",
};
const INFO = {
  pid: 7,
  parentPid: 1,
  uid: 1000,
  gid: 100,
  state: "S",
  command: "sleep 60",
  elapsedSeconds: 61,
  residentBytes: 2 ** 22,
};
const HEADER = "    PID    PPID   UID   GID STAT ELAPSED   RSS COMMAND\n";

const s = suite("agent-grpc processes");

s.test("execProcess sends the process with its terminal and the terminal's size", async () => {
  await using guest = await grpcGuest();
  await using client = await connected(guest);
  await client.execProcess(EXEC, PROCESS, quietCall());
  const { method, request } = guest.received.at(-1) as { method: string; request: Record<string, never> };
  assert.is(method, "ExecProcess");
  assert.is(request.container_id, "c");
  assert.is(request.exec_id, "e");
  const { Terminal, ConsoleSize, Args, Env, User } = request.process as unknown as Record<string, unknown>;
  assert.equal(
    { Terminal, ConsoleSize, Args, Env },
    {
      Terminal: true,
      ConsoleSize: { Height: 24, Width: 80 },
      Args: ["sh", "-l"],
      Env: ["A=b"],
    },
  );
  assert.equal(User, { UID: 1, GID: 2, AdditionalGids: [], Username: "", Umask: null });
});

for (const [code, exitCode] of [
  ["COMMAND_NOT_FOUND", "127"],
  ["COMMAND_NOT_EXECUTABLE", "126"],
] as const) {
  s.test(`execProcess of a command that cannot run is ${code}, and names it`, async () => {
    const metadata = new Metadata();
    metadata.set(EXIT_CODE_KEY, exitCode);
    const refusal = { code: status.FAILED_PRECONDITION, details: "no", metadata };
    await using guest = await grpcGuest({ ExecProcess: (_, reply) => reply(refusal) });
    await using client = await connected(guest);
    const error = await failure(code, client.execProcess(EXEC, PROCESS, quietCall()));
    assert.equal(error.data, { command: "sh", exitCode: Number(exitCode) });
  });
}

s.test("resizeTty sends rows and columns, and none that the kernel does not count", async () => {
  await using guest = await grpcGuest();
  await using client = await connected(guest);
  await client.resizeTty(EXEC, { rows: 24, columns: 65_535 }, quietCall());
  const request = { container_id: "c", exec_id: "e", row: 24, column: 65_535 };
  assert.equal(guest.received.at(-1), { method: "TtyWinResize", request });
  const sent = guest.received.length;
  for (const size of [
    { rows: 0, columns: 80 },
    { rows: 24, columns: 65_536 },
    { rows: 1.5, columns: 80 },
  ]) {
    const { data } = await failure("AGENT_FAILED", client.resizeTty(EXEC, size, quietCall()));
    assert.equal(data, { method: "TtyWinResize", status: "INVALID_ARGUMENT" });
  }
  assert.is(guest.received.length, sent);
});

s.test(
  "the standard error of a process with a terminal is empty without asking: a Kata agent would give away the terminal's output",
  async () => {
    await using guest = await grpcGuest({ ReadStderr: (_, reply) => reply(null, { data: Buffer.from("shown") }) });
    await using client = await connected(guest);
    await client.execProcess(EXEC, PROCESS, quietCall());
    await client.createContainer({ container: "c", storages: [], spec: SPEC }, quietCall());
    await client.execProcess({ container: "c", exec: "plain" }, { ...PROCESS, terminal: false }, quietCall());
    for (const exec of ["e", "c", ""]) assert.is((await client.readStderr({ container: "c", exec }, 9, quietCall())).length, 0);
    assert.not(guest.received.some(({ method }) => method === "ReadStderr"));
    assert.is((await client.readStderr({ container: "c", exec: "plain" }, 9, quietCall())).length, 5);
    await client.removeContainer("c", quietCall());
    assert.is((await client.readStderr(EXEC, 9, quietCall())).length, 5, "a later container of the same id is another one");
  },
);

s.test("listProcesses reads the rows of tapvisor.Guest", async () => {
  await using guest = await grpcGuest({ DescribeProcesses: (_, reply) => reply(null, { processes: [ROW] }) });
  await using client = await connected(guest);
  assert.equal(await client.listProcesses("c", quietCall()), [INFO]);
  assert.equal(guest.received.at(-1), { method: "DescribeProcesses", request: { container_id: "c" } });
});

s.test("listProcesses of a Kata guest reads what its ps prints", async () => {
  const table = `${HEADER}      7       1  1000   100 Ss+       61  4096 sleep 60\n      9       7     0     0 Z          0     0 [a  b] <defunct>\n`;
  await using guest = await grpcGuest({ ListProcesses: (_, reply) => reply(null, { process_list: Buffer.from(table) }) }, { kata: true });
  await using client = await connected(guest);
  const zombie = { pid: 9, parentPid: 7, uid: 0, gid: 0, state: "Z", command: "[a  b] <defunct>", elapsedSeconds: 0, residentBytes: 0 };
  assert.equal(await client.listProcesses("c", quietCall()), [INFO, zombie]);
  const { request } = guest.received.at(-1) as { request: { format: string; args: string[] } };
  assert.is(request.format, "table");
  assert.equal(request.args, ["-eww", "-o", "pid,ppid,uid,gid,stat,etimes,rss,args"]);
});

s.test("text of a process is made fit to be shown", async () => {
  const processes = [{ ...ROW, command: "\u001b]0;x\u0007" }];
  await using guest = await grpcGuest({ DescribeProcesses: (_, reply) => reply(null, { processes }) });
  await using client = await connected(guest);
  assert.is((await client.listProcesses("c", quietCall()))[0]?.command, "\\u{1b}]0;x\\u{7}");
});

const BAD_ROWS: Readonly<Record<string, readonly object[]>> = {
  "a pid of 0": [{ ...ROW, pid: 0 }],
  "a state of two letters": [{ ...ROW, state: "SS" }],
  "no state": [{ ...ROW, state: "" }],
  "an age that is not exact": [{ ...ROW, elapsed_seconds: "18446744073709551615" }],
  "a size that is not exact": [{ ...ROW, resident_bytes: "9007199254740993" }],
  "too many of them": Array.from({ length: 4097 }, () => ({ ...ROW, command: "" })),
};
for (const [what, processes] of Object.entries(BAD_ROWS)) {
  s.test(`rows of processes with ${what} are GUEST_PROTOCOL`, async () => {
    await using guest = await grpcGuest({ DescribeProcesses: (_, reply) => reply(null, { processes }) });
    await using client = await connected(guest);
    await failure("GUEST_PROTOCOL", client.listProcesses("c", quietCall()));
  });
}

const BAD_TABLES: Readonly<Record<string, string>> = {
  nothing: "",
  "another header": "PID USER COMMAND\n",
  "a row of text": `${HEADER}hello\n`,
  "a row without a state": `${HEADER} 7 1 0 0 61 4096 sleep 60\n`,
  "a pid beyond all": `${HEADER} 99999999999 1 0 0 S 61 4096 sleep 60\n`,
  "a size beyond all": `${HEADER} 7 1 0 0 S 61 ${"9".repeat(30)} sleep 60\n`,
  "too many rows": HEADER + " 7 1 0 0 S 61 4096 x\n".repeat(4097),
};
for (const [what, table] of Object.entries(BAD_TABLES)) {
  s.test(`a process table of ${what} is GUEST_PROTOCOL`, async () => {
    const process_list = Buffer.from(table);
    await using guest = await grpcGuest({ ListProcesses: (_, reply) => reply(null, { process_list }) }, { kata: true });
    await using client = await connected(guest);
    await failure("GUEST_PROTOCOL", client.listProcesses("c", quietCall()));
  });
}

s.run();
