import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { createEngine } from "tapvisor";
import * as assert from "uvu/assert";
import { realEngine } from "../support/real-engine.ts";
import { suite } from "../support/suite.ts";
import { tmux } from "../support/tmux.ts";

const s = suite("terminals of the command line");

/** The prompt, and nothing behind it: what ran before no longer reads what is typed. */
const INSIDE = /inside\$\s*$/;

s.test(
  "exec -it and attach in a person's terminal: a shell, an editor, a full-screen program, Ctrl-C, the window's size, and the terminal as it was afterwards",
  async () => {
    await using world = await realEngine();
    const sandbox = await world.engine.createSandbox({ id: "box", detached: true });
    await sandbox.start();
    await sandbox.run({ id: "web", rootfs: { directory: world.rootfs }, command: ["sh"], tty: true, ttySize: { rows: 24, columns: 80 } });
    await world.engine.close(); // lets go of it: the commands take it over
    await using _end = { [Symbol.asyncDispose]: () => removeAll(world.root) };

    const main = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));
    const command = `${process.execPath} --import ${import.meta.resolve("tsx")} ${main}`;
    await using terminal = await tmux(world.directory, {
      TAPVISOR: command,
      TAPVISOR_ROOT: world.root,
      LOG_LEVEL: "silent",
      TERM: "xterm",
    });
    await terminal.shows("here$");
    await terminal.type("stty -g | md5sum", "Enter");
    const before = /([0-9a-f]{32})/.exec(await terminal.shows(/[0-9a-f]{32}/))?.[1];

    await terminal.type("clear; $TAPVISOR exec -it box/web sh; echo code $?", "Enter");
    await terminal.shows("/ #");
    await terminal.type("PS1='ins''ide$ '", "Enter");
    await terminal.shows(INSIDE);
    await terminal.type("stty size; tty", "Enter");
    await terminal.shows("24 80");
    await terminal.resize(100, 30);
    await terminal.type("stty size", "Enter");
    await terminal.shows("30 100");

    await terminal.type("vi /tmp/note", "Enter");
    await terminal.shows("/tmp/note");
    await terminal.type("i", "written in an editor");
    await terminal.shows("written in an editor");
    await terminal.type("Escape"); // by itself: what comes at once with it would be one key with it
    await terminal.shows(/^- \/tmp\/note/m);
    await terminal.type(":wq", "Enter");
    await terminal.shows(INSIDE);
    await terminal.type("clear; cat /tmp/note", "Enter");
    await terminal.shows("written in an editor");

    await terminal.type("clear; top", "Enter");
    await terminal.shows(/PID +PPID/);
    await terminal.type("q");
    await terminal.shows(INSIDE);
    await terminal.type("sleep 1000", "Enter");
    await terminal.shows("sleep 1000");
    await terminal.type("C-c");
    await terminal.shows(INSIDE);
    await terminal.type("echo interrupted $?", "Enter");
    await terminal.shows("interrupted 130");
    await terminal.type("exit 9", "Enter");
    await terminal.shows("code 9");
    await terminal.type("clear; stty -g | md5sum", "Enter");
    assert.is(/([0-9a-f]{32})/.exec(await terminal.shows(/[0-9a-f]{32}/))?.[1], before, "the terminal is as it was");

    await terminal.type("clear; $TAPVISOR attach box; echo code $?", "Enter");
    await terminal.type("echo at''tached", "Enter");
    await terminal.shows("attached");
    await terminal.type("C-p", "C-q");
    await terminal.shows("code 0");
    await terminal.type("clear; $TAPVISOR exec box -- sh -c 'echo plain; exit 4'; echo code $?", "Enter");
    await terminal.shows("code 4");
    await terminal.type("clear; $TAPVISOR exec box nothing-here; echo code $?", "Enter");
    await terminal.shows("code 127");
    await terminal.type("clear; $TAPVISOR stop --force box && $TAPVISOR rm box; echo code $?", "Enter");
    await terminal.shows("code 0");
    await terminal[Symbol.asyncDispose](); // its server has the root in its command line
    assert.equal((await world.host()) as { mounts: string[] }, { files: [], mounts: [], processes: 0 }, join(world.root, "run"));
  },
  { timeoutMs: 300_000 },
);

/** What a test that failed half-way has left, once the command that had it has ended with its terminal. */
async function removeAll(root: string): Promise<void> {
  await using engine = await createEngine({ root });
  for (const { id } of await engine.list()) {
    for (let tries = 0; tries < 100; tries++) {
      const sandbox = await engine.sandbox(id).catch(() => delay(200));
      if (!sandbox) continue;
      await sandbox.stop({ force: true });
      await sandbox.delete();
      break;
    }
  }
}

s.run();
