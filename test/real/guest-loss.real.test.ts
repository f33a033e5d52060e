import { definePlugin } from "tapvisor";
import * as assert from "uvu/assert";
import { failureOf, NOTHING, realEngine } from "../support/real-engine.ts";
import { suite } from "../support/suite.ts";

const s = suite("a guest that is lost");

/** A container that may do all that root of the guest may, and what a test hears of its sandbox. */
async function scene() {
  const heard: string[] = [];
  let onExit = () => {};
  const exited = new Promise<void>((resolve) => {
    onExit = resolve;
  });
  const ears = definePlugin("ears", ({ hooks }) => {
    hooks.agentLost.tapPromise(async ({ error }) => void heard.push(`agentLost ${error.message.includes("Kernel panic")}`));
    hooks.vmExited.tapPromise(async () => {
      heard.push("vmExited");
      onExit();
    });
  });
  const world = await realEngine({ plugins: [ears()] });
  const sandbox = await world.engine.runSandbox({ id: "box" });
  const options = {
    rootfs: world.rootfs,
    capabilities: { add: ["ALL"] },
    readonlyPaths: [],
    maskedPaths: [],
    seccomp: "unconfined",
  } as const;
  const root = await sandbox.run({ id: "root", ...options, command: ["sleep", "100000"] });
  return { ...world, sandbox, root, heard, exited, [Symbol.asyncDispose]: () => world[Symbol.asyncDispose]() };
}

s.test(
  "a kernel that panics fails what waits at once, with the console's last lines; each is told once, and nothing is left",
  async () => {
    await using at = await scene();
    const waiting = at.root.exec(["sleep", "200000"]);
    await waiting.started;
    const [end, output] = [failureOf(waiting.wait()), failureOf(waiting.stdout.text())];
    const panic = at.root.exec(["sh", "-c", "echo c > /proc/sysrq-trigger"]);
    panic.wait().catch(() => {});
    const [lost, unread] = await Promise.all([end, output]);
    assert.equal([lost.code, unread.code], ["AGENT_LOST", "AGENT_LOST"]);
    assert.match(lost.message, "Kernel panic - not syncing");
    assert.match(Reflect.get(lost.data, "console"), "sysrq triggered crash");
    await at.exited; // it reboots a second after the panic, which ends QEMU
    await at.sandbox.stop({ force: true });
    await at.sandbox.delete();
    assert.equal(at.heard.toSorted(), ["agentLost true", "vmExited"]);
    assert.equal(await at.host(), NOTHING);
  },
  { timeoutMs: 120_000 },
);

s.run();
