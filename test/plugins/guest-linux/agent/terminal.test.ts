import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { FifoPool } from "../../../../plugins/guest-linux/agent/process/fifo-pool.ts";
import { openPipes, type ProcessPipes } from "../../../../plugins/guest-linux/agent/process/pipes.ts";
import { toolRunner } from "../../../../plugins/guest-linux/agent/runtime/run-tool.ts";
import { Terminal } from "../../../../plugins/guest-linux/agent/terminal/terminal.ts";
import { suite } from "../../../support/suite.ts";
import { tempDirectory } from "../../../support/temp.ts";
import { runInTerminal } from "./support/pty-sender.ts";

const s = suite("guest agent: terminals");
const never = () => new AbortController().signal;
const CTRL_C = Buffer.from([3]);

/** A terminal with a command in it, as the runtime would start it. */
async function shown(command: string) {
  const directory = await tempDirectory();
  const own = join(directory.path, "own");
  await mkdir(own);
  const pool = new FifoPool(join(own, "fifos"), toolRunner("/usr/bin/env"));
  const pipes = await openPipes(pool);
  const terminal = await Terminal.open({ own, perl: "/usr/bin/perl" }, pipes);
  const ended = runInTerminal(terminal.socketPath, ["sh", "-c", command], directory.path).finally(() => terminal.end());
  await terminal.ready;
  return {
    pipes,
    terminal,
    ended,
    sockets: () => readdir(join(own, "terminals")),
    async [Symbol.asyncDispose]() {
      terminal.end();
      pipes.discard();
      await pool.clear();
      await directory[Symbol.asyncDispose]();
    },
  };
}

async function readAll({ stdout }: ProcessPipes): Promise<string> {
  for (let text = ""; ; ) {
    const { data } = await stdout.read(65_536);
    if (data.length === 0) return text;
    text += data.toString();
  }
}

async function readUntil({ stdout }: ProcessPipes, wanted: string): Promise<void> {
  for (let text = ""; !text.includes(wanted); ) {
    const { data } = await stdout.read(65_536);
    assert.ok(data.length > 0, `ended with ${JSON.stringify(text)}, without ${wanted}`);
    text += data.toString();
  }
}

s.test("all that was shown comes through after the process's end, and then the end", async () => {
  for (let time = 0; time < 5; time++) {
    await using box = await shown("seq 1 20000; printf end");
    const [text, code] = await Promise.all([readAll(box.pipes), box.ended]);
    assert.is(code, 0);
    const lines = text.split("\r\n");
    assert.is(lines.length, 20_001);
    assert.is(lines.at(-1), "end");
    assert.equal(await box.sockets(), [], "the socket is gone with its use");
  }
});

s.test("a process that stays behind does not keep the output open", async () => {
  await using box = await shown("trap '' HUP; sleep 60 & printf $!");
  assert.is(await box.ended, 0);
  const pid = Number(await readAll(box.pipes));
  assert.ok(pid > 1 && process.kill(pid, "SIGKILL"), "it stayed");
});

s.test("what is typed arrives, and a size before what is typed after it", async () => {
  await using box = await shown("stty -echo; echo ready; while read -r line; do stty size; done");
  await readUntil(box.pipes, "ready");
  for (let rows = 1; rows < 30; rows++) {
    box.terminal.resize({ rows, columns: 65_536 - rows });
    await box.pipes.stdin.write(Buffer.from("\n"), never());
    await readUntil(box.pipes, `${rows} ${65_536 - rows}\r\n`);
  }
});

s.test("Ctrl-C gets through while nobody reads", async () => {
  await using box = await shown("exec yes");
  await new Promise((resolve) => setTimeout(resolve, 500)); // until every pipe on the way is full
  await box.pipes.stdin.write(CTRL_C, never());
  assert.is(await box.ended, 130);
});

s.test("the end of the input is the terminal's own character", async () => {
  await using box = await shown("cat");
  await box.pipes.stdin.write(Buffer.from("line\n"), never());
  await box.pipes.stdin.write(Buffer.from([4]), never());
  assert.is(await box.ended, 0);
  assert.is(await readAll(box.pipes), "line\r\nline\r\n");
});

s.test("a runtime that ends without a terminal leaves nothing, and the streams end", async () => {
  const directory = await tempDirectory();
  const pool = new FifoPool(join(directory.path, "fifos"), toolRunner("/usr/bin/env"));
  const pipes = await openPipes(pool);
  const terminal = await Terminal.open({ own: directory.path, perl: "/usr/bin/perl" }, pipes);
  terminal.end();
  pipes.discard();
  assert.equal(await readdir(join(directory.path, "terminals")), []);
  terminal.resize({ rows: 1, columns: 1 });
  await pool.clear();
  await directory[Symbol.asyncDispose]();
});

s.run();
