import { stat } from "node:fs/promises";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { LOG_BYTES, readLogTail, startLogs } from "../../../plugins/hypervisor-qemu/bounded-log.ts";
import { escapeControls, findPanic, lastLines } from "../../../plugins/hypervisor-qemu/diagnostics.ts";
import { suite } from "../../support/suite.ts";
import { tempDirectory } from "../../support/temp.ts";

const s = suite("hypervisor-qemu diagnostics");

s.test("a log keeps the last bytes, in two files of bounded size", async () => {
  await using temp = await tempDirectory();
  const file = join(temp.path, "it's a log");
  const logs = await startLogs([file], "test-log");
  const [input] = logs.inputs;
  const total = 5 * LOG_BYTES + 1234;
  for (let sent = 0; sent < total; sent += 1234) input?.write("x".repeat(1233).concat("\n"));
  input?.end("the end");
  await logs.process.exited;
  assert.ok((await stat(file)).size <= LOG_BYTES);
  assert.is((await stat(`${file}.1`)).size, LOG_BYTES);
  const tail = await readLogTail(file, LOG_BYTES);
  assert.is(tail.length, LOG_BYTES);
  assert.ok(tail.endsWith("x\nthe end"));
});

s.test("what is written is in the log before the writer ends, each output in its own", async () => {
  await using temp = await tempDirectory();
  const files = [join(temp.path, "a"), join(temp.path, "b")];
  const logs = await startLogs(files, "test-log");
  logs.inputs.forEach((input, index) => {
    input.write(`early ${index}`);
  });
  for (const [index, file] of files.entries()) while ((await readLogTail(file, 100)) !== `early ${index}`);
  for (const input of logs.inputs) input.end();
  assert.equal(await logs.process.exited, { exitCode: 0, signal: null });
});

s.test("a log that is not there is empty", async () => {
  assert.is(await readLogTail("/nonexistent/log", 10), "");
});

s.test("what could steer a terminal or reorder a line is shown, not sent", () => {
  assert.is(escapeControls("a\tb\nc"), "a\tb\nc");
  assert.is(escapeControls("\x1b]52;c;x\x07\x9b31m\x7f\0"), "\\x1b]52;c;x\\x07\\x9b31m\\x7f\\x00");
  assert.is(escapeControls("a\u202eb\u2066"), "a\\u202eb\\u2066");
});

s.test("at most 60 lines are kept, the last ones", () => {
  const text = Array.from({ length: 200 }, (_, n) => `line ${n}\r\n`).join("");
  const lines = lastLines(text).split("\n");
  assert.is(lines.length, 60);
  assert.is(lines[0], "line 140");
  assert.is(lines.at(-1), "line 199");
});

s.test("findPanic() gives the panic's line", () => {
  assert.is(findPanic("[ 1.0] Kernel panic - not syncing: VFS: no root\n[ 1.1] CPU: 0"), "Kernel panic - not syncing: VFS: no root");
  assert.is(findPanic("all is well"), undefined);
});

s.run();
