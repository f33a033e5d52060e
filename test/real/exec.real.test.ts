import { createHash, randomBytes } from "node:crypto";
import { isTapvisorError } from "tapvisor";
import * as assert from "uvu/assert";
import { failureOf, realEngine } from "../support/real-engine.ts";
import { suite } from "../support/suite.ts";

const s = suite("further processes on the real guest");

s.test(
  "exec() of every kind in one running container",
  async () => {
    await using world = await realEngine();
    await using sandbox = await world.engine.runSandbox({ id: "box" });
    const web = await sandbox.run({ id: "web", rootfs: world.rootfs, command: ["sleep", "100000"], env: { A: "own", B: "own" } });

    const all = await web.exec(["sh", "-c", "echo out; echo err >&2; pwd; echo $A $B; id -u; exit 7"], {
      env: { A: "mine" },
      cwd: "/tmp",
      user: { uid: 5 },
    });
    assert.equal(all, { exitCode: 7, stdout: "out\n/tmp\nmine own\n5\n", stderr: "err\n" });

    assert.is((await web.exec(["sh", "-c", "kill -TERM $$"])).exitCode, 128 + 15, "a signal as a shell reports it");
    assert.is((await web.exec(["cat"])).exitCode, 0, "the input that nobody took is closed");

    const bytes = Buffer.concat([
      Buffer.from(Array.from({ length: 256 }, (_, each) => each)),
      randomBytes(100_000),
      Buffer.from([0xff, 0xfe]),
    ]);
    const echo = web.exec(["cat"], { input: bytes });
    assert.ok(bytes.equals(await echo.stdout.bytes()), "every byte, also what is no UTF-8");
    assert.is((await echo).exitCode, 0);

    const lines: string[] = [];
    for await (const { stream, line } of web.exec(["sh", "-c", "echo 1; echo 2; echo e >&2"])) lines.push(`${stream} ${line}`);
    assert.equal(lines.toSorted(), ["stderr e", "stdout 1", "stdout 2"]);

    const missing = await failureOf(Promise.resolve(web.exec(["nothing-here"])));
    assert.equal([missing.code, missing.data], ["COMMAND_NOT_FOUND", { command: "nothing-here", exitCode: 127 }]);
    assert.is((await failureOf(Promise.resolve(web.exec(["/etc/passwd"])))).code, "COMMAND_NOT_EXECUTABLE");

    const late = web.exec(["sh", "-c", "echo begun; sleep 1000"], { timeoutMs: 3_000 });
    assert.is((await failureOf(Promise.resolve(late))).code, "TIMEOUT");
    const control = new AbortController();
    const aborted = web.exec(["sleep", "2000"], { signal: control.signal });
    await aborted.started;
    control.abort();
    assert.is((await failureOf(aborted.wait())).code, "ABORTED");
    const killed = web.exec(["sleep", "3000"]);
    await killed.started;
    const { pid, command } = (await web.processes()).find((each) => each.command === "sleep 3000") ?? { pid: 0, command: "" };
    assert.equal([pid > 1, command], [true, "sleep 3000"]);
    await killed.kill("SIGINT");
    assert.is((await killed).exitCode, 128 + 2);
    assert.equal(
      (await web.processes()).map((each) => each.command),
      ["sleep 100000"],
      "what was killed by deadline, signal and abort is gone",
    );
    await web.stop({ force: true });
    assert.is((await failureOf(Promise.resolve(web.exec(["true"])))).code, "INVALID_STATE");
  },
  { timeoutMs: 240_000 },
);

s.test(
  "64 MiB pushed through stdin, cat and stdout come back as they were; 50 processes at once keep apart; a forked tree is killed with all",
  async () => {
    await using world = await realEngine();
    await using sandbox = await world.engine.runSandbox({ id: "box", memory: "1GiB" });
    const web = await sandbox.run({
      id: "web",
      rootfs: world.rootfs,
      command: ["sh", "-c", "sh -c 'sleep 5000 & sleep 6000' & sleep 7000"],
    });

    const cat = web.exec(["cat"]);
    const [sent, received] = [createHash("sha256"), createHash("sha256")];
    const block = randomBytes(2 ** 20);
    const pushing = (async () => {
      for (let index = 0; index < 64; index++) {
        block.writeUInt32BE(index);
        sent.update(block);
        if (!cat.stdin.write(Buffer.from(block))) await new Promise((resolve) => cat.stdin.once("drain", resolve));
      }
      cat.stdin.end();
    })();
    let count = 0;
    for await (const chunk of cat.stdout) {
      received.update(chunk as Buffer);
      count += (chunk as Buffer).length;
    }
    await pushing;
    assert.equal([count, received.digest("hex"), (await cat.wait()).exitCode], [64 * 2 ** 20, sent.digest("hex"), 0]);

    const results = await Promise.all(
      Array.from({ length: 50 }, async (_, index) => web.exec(["sh", "-c", `echo ${index}; echo e${index} >&2; exit ${index}`])),
    );
    results.forEach((result, index) => {
      assert.equal(result, { exitCode: index, stdout: `${index}\n`, stderr: `e${index}\n` });
    });

    const names = async () => (await web.processes()).map(({ command }) => command).filter((command) => command.startsWith("sleep"));
    assert.equal((await names()).toSorted(), ["sleep 5000", "sleep 6000", "sleep 7000"]);
    await web.kill("SIGKILL", { all: true });
    assert.is((await web.wait()).exitCode, 137);
    assert.is(isTapvisorError(await web.processes().catch((error: unknown) => error)), true);
  },
  { timeoutMs: 400_000 },
);

s.test(
  "a terminal has its first size, follows each of 20 resizes, gives SIGINT for Ctrl-C and is a terminal for the program",
  async () => {
    await using world = await realEngine();
    await using sandbox = await world.engine.runSandbox({ id: "box" });
    const web = await sandbox.run({ id: "web", rootfs: world.rootfs, command: ["sh"], tty: true, ttySize: { rows: 11, columns: 33 } });
    const own = web.stdout.lines();
    web.stdin.write("stty size; tty; exit 5\n");
    const said: string[] = [];
    for await (const line of own) said.push(line);
    assert.ok(said.includes("11 33"), said.join("|"));
    assert.ok(
      said.some((line) => line.startsWith("/dev/")),
      said.join("|"),
    );
    assert.is((await web.wait()).exitCode, 5);

    const other = await sandbox.run({ id: "other", rootfs: world.rootfs, command: ["sleep", "100000"] });
    await using shell = other.exec(
      ["sh", "-c", "trap 'stty size' WINCH; trap 'echo interrupted; exit 3' INT; echo up; while :; do read -r x; done"],
      {
        tty: true,
        ttySize: { rows: 20, columns: 70 },
      },
    );
    const lines = shell.stdout.lines();
    const next = async () => (await lines.next()).value;
    assert.is(await next(), "up");
    for (let index = 0; index < 20; index++) {
      const size = { rows: 30 + index, columns: 100 + index };
      await shell.resizeTty(size);
      assert.is(await next(), `${size.rows} ${size.columns}`);
    }
    shell.stdin.write("\x03");
    const rest: string[] = [];
    for await (const line of lines) rest.push(line);
    assert.ok(
      rest.some((line) => line.endsWith("interrupted")),
      rest.join("|"),
    );
    assert.is((await shell.wait()).exitCode, 3);
    const plain = other.exec(["cat"]);
    assert.is((await failureOf(plain.resizeTty({ rows: 2, columns: 2 }))).code, "AGENT_FAILED");
    await plain.kill("SIGKILL");
  },
  { timeoutMs: 240_000 },
);

s.run();
