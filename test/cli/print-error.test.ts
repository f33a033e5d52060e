import * as assert from "uvu/assert";
import { TapvisorError } from "../../src/base/errors.ts";
import { painter } from "../../src/cli/paint.ts";
import { formatError } from "../../src/cli/print-error.ts";
import { suite } from "../support/suite.ts";

const plain = { verbose: false, paint: painter({ isTTY: false }, {}) };

const s = suite("formatError()");

s.test("prints code, message, hint, rollback and causes, and no stack", () => {
  const cause = new Error("socket closed", { cause: new Error("ECONNRESET") });
  const error = new TapvisorError("AGENT_LOST", "Lost the agent of sandbox web", { data: {}, hint: "see the console", cause });
  error.rollback = {
    undone: ["agent-create", "share"],
    left: [{ step: "vm", owner: "hypervisor:qemu", kind: "vm", reason: "still running" }],
  };
  assert.is(
    formatError(error, plain),
    [
      "error[AGENT_LOST]: Lost the agent of sandbox web",
      "  hint: see the console",
      "  rolled back: agent-create, share",
      "  left behind: vm of step vm (hypervisor:qemu): still running",
      "  caused by: socket closed",
      "  caused by: ECONNRESET",
    ].join("\n"),
  );
});

s.test("adds the stack when verbose", () => {
  const error = new TapvisorError("AGENT_LOST", "Lost it", { data: {} });
  assert.match(formatError(error, { ...plain, verbose: true }), /Lost it\n\s+at .*print-error\.test\.ts/);
});

s.test("shows what could steer the terminal, in every part of an error, and keeps its lines", () => {
  const bad = "\u001b]0;x\u0007\u009b2J\u202e";
  const cause = new Error(`cause ${bad}`, { cause: `second ${bad}` });
  const error = new TapvisorError("VM_FAILED", `Lost it:\n${bad}`, { data: { id: "x" }, hint: `hint ${bad}`, cause });
  error.rollback = { undone: [bad], left: [{ step: bad, owner: "o", kind: "k", reason: bad }] };
  for (const thrown of [error, new Error(bad), bad, { note: bad }]) {
    for (const verbose of [false, true]) assert.not.match(formatError(thrown, { ...plain, verbose }), /[\0-\x08\x0b-\x1f\x7f-\x9f\u202e]/);
  }
  assert.match(formatError(error, plain), "Lost it:\n\\u001b]0;x\\u0007\\u009b2J\\u202e\n");
});

s.test("leaves out a cause that the message has told already, and ends at a cause that is its own", () => {
  const cause = new Error("no such file");
  const error = new TapvisorError("NOT_FOUND", "Cannot read it: no such file", { data: { kind: "file", id: "x" }, cause });
  cause.cause = error;
  assert.is(formatError(error, plain), "error[NOT_FOUND]: Cannot read it: no such file");
});

s.test("prints any other error with its stack, and anything else that was thrown", () => {
  assert.match(formatError(new TypeError("not a function"), plain), /TypeError: not a function\n\s+at /);
  assert.is(formatError(null, plain), "error: the script threw null");
  assert.is(formatError("oh", plain), "error: the script threw 'oh'");
});

s.test("prints the body's error before that of its disposal", () => {
  const suppressed = Object.assign(new Error("An error was suppressed"), { suppressed: new Error("first"), error: new Error("second") });
  const text = formatError(suppressed, plain);
  assert.ok(text.indexOf("first") < text.indexOf("then, while cleaning up:"));
  assert.ok(text.indexOf("then, while cleaning up:") < text.indexOf("second"));
});

s.test("colours only on a terminal, and never with NO_COLOR", () => {
  const colours = (isTTY: boolean, env: NodeJS.ProcessEnv) => painter({ isTTY }, env)("red", "x") !== "x";
  assert.is(colours(true, {}), true);
  assert.is(colours(true, { NO_COLOR: "1" }), false);
  assert.is(colours(true, { TERM: "dumb" }), false);
  assert.is(colours(false, {}), false);
  assert.is(colours(false, { FORCE_COLOR: "1" }), true);
});

s.run();
