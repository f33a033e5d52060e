import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { createEngine } from "tapvisor";
import * as assert from "uvu/assert";
import { CREATE_SANDBOX_STEPS } from "../../src/sandbox/create.ts";
import { crashScene, nameOf } from "../support/crash-scene.ts";
import { around } from "../support/moments.ts";
import { suite } from "../support/suite.ts";
import { hostView, stateFiles } from "../support/whole-world.ts";

const s = suite("kill -9 of a script on real QEMU");
const scene = await crashScene();
const { root, empty, path } = scene;
await scene.buildTemplate();
let cases = 0;

type Case = Parameters<typeof scene.dies>[0];

/** While the VM boots: the other crashes strike sandboxes that go on from a template. */
const BOOTING: readonly Case[] = [
  ...["after launch-vm", "before connect-agent", "after connect-agent", "after create-guest-sandbox"].map(
    (moment) => ({ verb: "create sandbox", moment, boots: true }) as const,
  ),
  { verb: "create sandbox", moment: "before hypervisor.vm.acquire", afterMs: 40, boots: true },
  { verb: "create sandbox", moment: "before agent.connect", afterMs: 1500, boots: true },
];

const TEMPLATE: readonly Case[] = [
  "after make-template-files",
  "after launch-vm",
  "before save",
  "after save",
  "before seal",
  "after seal",
].map((moment) => ({ verb: "build template", moment, templates: join(path, "templates") }));

const SANDBOX: readonly Case[] = [
  ...around(CREATE_SANDBOX_STEPS).map((moment) => ({ verb: "create sandbox", moment }) as const),
  // Inside: half way, and with all the effect of a step of which the record does not know yet.
  ...[10, 40, 150].map((afterMs) => ({ verb: "create sandbox", moment: "before hypervisor.vm.acquire", afterMs }) as const),
  { verb: "create sandbox", moment: "after hypervisor.vm.acquire" },
  { verb: "create sandbox", moment: "before agent.connect", afterMs: 300 },
  { verb: "create sandbox", moment: "after agent.connect" },
  { verb: "create sandbox", moment: "before agent.createSandbox", afterMs: 5 },
  { verb: "create sandbox", moment: "after agent.createSandbox" },
];

// Every step of a container's life has its crash, in a VM that dies with the script; crash-detached has them all in a VM that does not.
const CONTAINER: readonly Case[] = [
  { verb: "create container", moment: "after record" },
  { verb: "create container", moment: "after rootfs.acquire" },
  { verb: "create container", moment: "before hypervisor.share.acquire", afterMs: 15 },
  { verb: "create container", moment: "after hypervisor.resizeVcpus" },
  { verb: "create container", moment: "after hypervisor.disk.acquire" },
  { verb: "create container", moment: "after agent.createContainer" },
  { verb: "update container", moment: "after agent.updateContainer" },
  { verb: "create container", moment: "after commit" },
  { verb: "start container", moment: "after agent.startContainer" },
  { verb: "stop container", moment: "after agent.signalProcess" },
  { verb: "delete container", moment: "before hypervisor.share.release", afterMs: 10 },
];

const STOP: readonly Case[] = [
  ...["agent.removeContainer", "hypervisor.share.release", "agent.destroySandbox", "hypervisor.vm.release"].map(
    (call) => ({ verb: "stop sandbox", moment: `before ${call}` }) as const,
  ),
  { verb: "stop sandbox", moment: "release connect-agent" },
  { verb: "stop sandbox", moment: "release make-run-directory" },
  { verb: "stop sandbox", moment: "after hypervisor.vm.release" },
];

for (const crash of [...SANDBOX, ...BOOTING, ...TEMPLATE, ...CONTAINER, ...STOP]) {
  s.test(
    `gc() in another process gives back what a script left that died in ${nameOf(crash)}`,
    async () => {
      await scene.dies(crash);
      await scene.processesGone();
      await using engine = await createEngine({ root, templates: { directory: join(path, "templates") } });
      const recorded = (await engine.list()).map(({ id }) => (id.startsWith("template-") ? id : "box"));
      assert.equal(await engine.gc(), { collected: recorded, kept: [], failed: [], corrupt: [] });
      await engine.removeTemplates();
      assert.equal(await readdir(join(path, "templates")).catch(() => []), []);
      assert.equal(await hostView(root), empty);
      assert.equal(await stateFiles(root), []); // so the next script makes the same id again
      cases++;
    },
    { timeoutMs: 120_000 },
  );
}

s.test("the cases are counted, and nothing is left", async () => {
  assert.is(cases, SANDBOX.length + BOOTING.length + TEMPLATE.length + CONTAINER.length + STOP.length);
  console.log(`${cases} scripts killed on real QEMU`);
  await scene[Symbol.asyncDispose]();
});

s.run();
