import type { AgentClient, GuestProcessId, OciProcess } from "tapvisor/plugin";
import { quietCall } from "tapvisor/testing";
import * as assert from "uvu/assert";
import { suite } from "../../support/suite.ts";
import { failure } from "./expect.ts";
import { realGuest } from "./support/real-guest.ts";

const s = suite("agent-grpc and the guest's agent: many processes, terminals");

const SIGKILL = 9;
const CTRL_C = Buffer.from([3]);
const call = () => quietCall({ timeoutMs: 120_000 });

/** A container in the guest, and what a test does with it. */
interface Box {
  readonly client: AgentClient;
  readonly id: string;
  /** Starts one more process. */
  exec(id: string, args: readonly string[], more?: Partial<OciProcess>): Promise<GuestProcessId>;
  /** Runs a shell's line to its end, and says what it wrote. */
  ask(line: string): Promise<string>;
}

/** A container whose first process collects the children of others, as `sh` does, or does not, as `sleep`. */
async function withBox(
  guest: Awaited<ReturnType<typeof realGuest>>,
  id: string,
  args: readonly string[],
  body: (box: Box) => Promise<void>,
) {
  const client = await guest.agent.connect(guest.target, call());
  await client.createSandbox({ hostname: "box", sandbox: "box", storages: [] }, call());
  const { request, ...share } = await guest.plug(id, args);
  let asked = 0;
  const exec: Box["exec"] = async (name, command, more = {}) => {
    const process = { container: id, exec: name };
    await client.execProcess(process, { ...request.spec.process, ...more, args: command }, call());
    return process;
  };
  try {
    const { spec } = request;
    const linux = { ...spec.linux, maskedPaths: [], readonlyPaths: [] }; // /proc/sys/fs/file-nr and /proc/loadavg count for the whole guest
    await client.createContainer({ ...request, spec: { ...spec, linux } }, call());
    await client.startContainer(id, call());
    const ask = async (line: string) => (await readAll(client, await exec(`ask${asked++}`, ["sh", "-c", line]))).trim();
    await body({ client, id, exec, ask });
    await client.removeContainer(id, call());
  } finally {
    await client.destroySandbox(call());
    await client.close();
    await share[Symbol.asyncDispose]();
  }
}

async function readAll(client: AgentClient, process: GuestProcessId): Promise<string> {
  const chunks: Uint8Array[] = [];
  for (;;) {
    const chunk = await client.readStdout(process, 65_536, call());
    if (chunk.length === 0) return Buffer.concat(chunks).toString();
    chunks.push(chunk);
  }
}

async function readUntil(client: AgentClient, process: GuestProcessId, wanted: string): Promise<string> {
  for (let text = ""; ; ) {
    const chunk = await client.readStdout(process, 65_536, call());
    assert.ok(chunk.length > 0, `ended without ${JSON.stringify(wanted)}: ${JSON.stringify(text)}`);
    text += Buffer.from(chunk).toString();
    if (text.includes(wanted)) return text;
  }
}

const type = async (client: AgentClient, process: GuestProcessId, text: string | Buffer) => {
  await client.writeStdin(process, Buffer.from(text), call());
};

async function twentySizes({ client, exec }: Box): Promise<void> {
  const program = "trap 'stty size' WINCH; echo ready; while :; do read -r line; done";
  const process = await exec("sizes", ["sh", "-c", program], { terminal: true, consoleSize: { height: 3, width: 4 } });
  await readUntil(client, process, "ready");
  for (let rows = 20; rows < 40; rows++) {
    await client.resizeTty(process, { rows, columns: rows * 2 }, call());
    await readUntil(client, process, `${rows} ${rows * 2}\r\n`);
  }
  await client.signalProcess(process, SIGKILL, false, call());
  assert.is(await client.waitProcess(process, call()), 128 + SIGKILL);
  await client.resizeTty(process, { rows: 1, columns: 1 }, call()); // of one that has ended: nothing to do
}

async function ctrlC({ client, exec }: Box): Promise<void> {
  const process = await exec("interactive", ["sh"], { terminal: true });
  await type(client, process, "tty; echo re''ady; sleep 1000\n");
  assert.match(await readUntil(client, process, "ready"), "/dev/pts/");
  await type(client, process, CTRL_C);
  await type(client, process, "echo code=$?\n");
  await readUntil(client, process, "code=130");
  await type(client, process, "exit 9\n");
  assert.is(await client.waitProcess(process, call()), 9);
  await readAll(client, process);
  assert.is((await failure("AGENT_FAILED", client.writeStdin(process, Buffer.from("x"), call()))).data.status, "FAILED_PRECONDITION");
  // Nobody reads what this one shows, so its terminal is full, and Ctrl-C gets through all the same.
  const flood = await exec("flood", ["yes"], { terminal: true });
  await new Promise((resolve) => setTimeout(resolve, 3_000));
  await type(client, flood, CTRL_C);
  assert.is(await client.waitProcess(flood, call()), 130);
  await readAll(client, flood);
}

async function lastOutput({ client, exec }: Box): Promise<void> {
  const block =
    "i=0; while [ $i -lt 1024 ]; do echo 012345678901234567890123456789012345678901234567890123456789abc; i=$((i+1)); done; exit 5";
  for (const terminal of [false, true]) {
    const process = await exec(`unread-${terminal}`, ["sh", "-c", block], { terminal });
    if (!terminal) assert.is(await client.waitProcess(process, call()), 5); // a pipe holds 64 KiB, a terminal does not: nobody has read by now
    const text = (await readAll(client, process)).replaceAll("\r", "");
    assert.is(text.length, 64 * 1024);
    assert.is(await client.waitProcess(process, call()), 5);
  }
  for (let time = 0; time < 10; time++) {
    const process = await exec(`tail-${time}`, ["sh", "-c", "seq 1 300; printf end"], { terminal: true });
    assert.is(await client.waitProcess(process, call()), 0);
    assert.match(await readAll(client, process), /300\r\nend$/, "the last words of a terminal are lost");
  }
}

async function forkedTree({ client, exec }: Box): Promise<void> {
  const tree = "for i in 1 2 3; do (sleep 1000 & (sleep 1000 & setsid sleep 1000 & wait) & wait) & done; echo ready; wait";
  const process = await exec("tree", ["sh", "-c", tree]);
  await readUntil(client, process, "ready");
  const sleeps = async () => (await client.listProcesses("box", call())).filter(({ command }) => command === "sleep 1000").length;
  while ((await sleeps()) < 9) {}
  await client.signalProcess({ container: "box", exec: "" }, SIGKILL, true, call());
  assert.is(await client.waitProcess(process, call()), 128 + SIGKILL);
  assert.is(await client.waitProcess({ container: "box", exec: "box" }, call()), 128 + SIGKILL);
  assert.equal(await client.listProcesses("box", call()), []);
}

async function fiftyAtOnce({ client, exec }: Box): Promise<void> {
  const run = async (index: number) => {
    const process = await exec(`many${index}`, ["sh", "-c", `read -r line; echo "$line ${index}"; exit ${index}`]);
    await type(client, process, `line of ${index}\n`);
    return { text: await readAll(client, process), code: await client.waitProcess(process, call()) };
  };
  const ends = await Promise.all(Array.from({ length: 50 }, (_, index) => run(index)));
  for (const [index, { text, code }] of ends.entries()) assert.equal({ text, code }, { text: `line of ${index} ${index}\n`, code: index });
}

/** Descriptors and threads of the whole guest: the agent's, and those of what it has started. */
async function held({ ask }: Box): Promise<{ readonly files: number; readonly threads: number }> {
  const [files = "", load = ""] = (await ask("cat /proc/sys/fs/file-nr /proc/loadavg")).split("\n");
  return { files: Number.parseInt(files, 10), threads: Number(load.split("/")[1]?.split(" ")[0]) };
}

/** Enough that one descriptor or thread of each would show; many more, without terminals, are in `real/exec-row`. */
async function hundredInARow(box: Box): Promise<void> {
  const { client, exec } = box;
  const some = async (from: number, count: number) => {
    for (let index = from; index < from + count; index++) {
      const terminal = index % 10 === 0;
      const process = await exec(`row${index}`, terminal ? ["stty", "size"] : ["true"], {
        terminal,
        consoleSize: { height: 24, width: index },
      });
      assert.is(await client.waitProcess(process, call()), 0);
      if (terminal) assert.is(await readAll(client, process), `24 ${index}\r\n`);
    }
  };
  await some(1, 20); // what is allocated once
  const before = await held(box);
  await some(21, 120);
  const after = await held(box);
  console.log(`120 processes: ${JSON.stringify({ before, after })}`);
  assert.ok(after.files - before.files < 64, `descriptors: ${JSON.stringify({ before, after })}`);
  assert.ok(after.threads - before.threads < 20, `processes: ${JSON.stringify({ before, after })}`);
}

/** Orphans are the children of the container's first process, which is the first of its pid namespace: it collects them or not, as it likes. */
async function orphans(box: Box, collects: boolean): Promise<void> {
  const before = await held(box);
  for (let time = 0; time < 5; time++) await box.ask("for i in 1 2 3 4 5 6; do (sleep 0.1 &) ; done; sleep 0.5");
  const zombies = Number(await box.ask("cat /proc/[0-9]*/stat | grep -c ') Z 1 '")); // the list has none: they are in no cgroup any more
  assert.is(zombies, collects ? 0 : 30);
  const after = await held(box);
  assert.ok(after.threads - before.threads - zombies < 20, `processes outside of the container: ${JSON.stringify({ before, after })}`);
}

async function abandonedStart({ client, exec }: Box): Promise<void> {
  for (let time = 0; time < 5; time++) {
    const caller = new AbortController();
    setTimeout(() => caller.abort(), 40 * time);
    const { signal } = caller;
    const spec = {
      terminal: time % 2 === 0,
      user: { uid: 0, gid: 0 },
      args: ["sleep", "2000"],
      env: ["PATH=/bin"],
      cwd: "/",
      noNewPrivileges: true,
    };
    await client.execProcess({ container: "box", exec: `late${time}` }, spec, { ...call(), signal }).catch(() => {});
  }
  await client.waitProcess(await exec("after", ["true"]), call());
  const left = (await client.listProcesses("box", call())).filter(({ command }) => command.includes("2000"));
  assert.equal(left, [], "a process runs that nobody knows of");
}

const COLLECTS = ["sh", "-c", "while :; do sleep 1000 & wait; done"];

s.test(
  "processes and terminals of containers in one real VM",
  async () => {
    await using guest = await realGuest();
    const failed: string[] = [];
    const step = async (name: string, args: readonly string[], body: (box: Box) => Promise<void>) => {
      const began = performance.now();
      const error = await withBox(guest, "box", args, body).catch((reason: Error) => reason);
      console.log(`${name}: ${((performance.now() - began) / 1000).toFixed(1)} s${error ? `, failed: ${error.message}` : ""}`);
      if (error) failed.push(`${name}: ${error.message}`);
    };
    const idle = ["sleep", "100000"];
    await step("a terminal has each of twenty sizes", idle, twentySizes);
    await step("Ctrl-C reaches what runs in the foreground", idle, ctrlC);
    await step("what a process wrote last is not lost", idle, lastOutput);
    await step("a forked tree ends with a signal for all", idle, forkedTree);
    await step("fifty processes at once", idle, fiftyAtOnce);
    await step("a start that was given up leaves nothing", idle, abandonedStart);
    await step("orphans are collected by a first process that does", COLLECTS, (box) => orphans(box, true));
    await step("orphans of one that does not go with the container", idle, (box) => orphans(box, false));
    await step("a hundred and twenty processes in a row", COLLECTS, hundredInARow);
    assert.equal(failed, []);
  },
  { timeoutMs: 900_000 },
);

s.run();
