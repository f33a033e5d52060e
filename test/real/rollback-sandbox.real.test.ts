import * as assert from "uvu/assert";
import { TEMPLATE_STEPS } from "../../src/sandbox/boot.ts";
import { CREATE_SANDBOX_STEPS } from "../../src/sandbox/create.ts";
import { around, type Moment, Moments } from "../support/moments.ts";
import { failureOf, realEngine } from "../support/real-engine.ts";
import { suite } from "../support/suite.ts";
import { hostView, stateFiles, vmView } from "../support/whole-world.ts";

const s = suite("rollback of a sandbox on real QEMU");
const TIMEOUT = { timeoutMs: 180_000 };
const moments = new Moments();
const { backends } = moments;
const world = await realEngine({ plugins: moments.plugins, probe: moments.probe });
const { engine, rootfs, root } = world;
let cases = 0;

const empty = await hostView(root);
const nothing = async () => {
  assert.equal(await hostView(root), empty);
  assert.equal(await stateFiles(root), []);
};

/** The work fails at the moment, which comes. */
async function failsAt(moment: Moment, work: () => Promise<unknown>, message = "injected") {
  moments.arm(moment);
  const error = await failureOf(work()).finally(() => assert.ok(moments.disarm() > 0, `${moment} did not come`));
  assert.match(error.message, message);
  cases++;
  return error;
}

await engine.buildTemplate();
const create = (template: boolean) => engine.createSandbox({ id: "box", template, boot: { retries: 0 } });
const INSIDE_CREATE_SANDBOX = [
  "after guest.prepare",
  "before hypervisor.vm.acquire",
  "after hypervisor.vm.acquire",
  "after hypervisor.connect",
  "before agent.connect",
  "after agent.connect",
  "before agent.guestDetails",
  "before agent.createSandbox",
  "after agent.createSandbox",
  "hook beforeCreate",
  "hook afterCreate",
];

const BOOTING = CREATE_SANDBOX_STEPS.filter((step) => !(TEMPLATE_STEPS as readonly string[]).includes(step));
const FROM_TEMPLATE = [...around(CREATE_SANDBOX_STEPS), ...INSIDE_CREATE_SANDBOX, "before agent.renew", "after agent.renew"];
const CREATES = [
  ...[...around(BOOTING), ...INSIDE_CREATE_SANDBOX].map((moment) => ({ how: "by a boot", template: false, moment })),
  ...FROM_TEMPLATE.map((moment) => ({ how: "from a template", template: true, moment })),
];
for (const { how, template, moment } of CREATES) {
  s.test(
    `create sandbox ${how} leaves nothing when it fails ${moment}`,
    async () => {
      const error = await failsAt(moment, () => create(template));
      assert.equal(error.rollback?.left ?? [], []);
      await nothing();
    },
    TIMEOUT,
  );
}

const KILLED = ["before agent.connect", "before agent.createSandbox"];
for (const [template, moment] of [
  ...KILLED.map((each) => [false, each] as const),
  ...[...KILLED, "before agent.renew"].map((each) => [true, each] as const),
]) {
  s.test(
    `create sandbox ${template ? "from a template" : "by a boot"} leaves nothing when QEMU is killed ${moment}`,
    async () => {
      moments.arm(moment, () => backends.killQemu("box"));
      const error = await failureOf(create(template));
      assert.is(moments.disarm(), 1);
      assert.ok(["GUEST_BOOT_FAILED", "VM_FAILED", "AGENT_LOST"].includes(error.code), error.message);
      assert.equal(error.rollback?.left, []);
      await nothing();
      cases++;
    },
    TIMEOUT,
  );
}

const web = { id: "web", rootfs, command: ["sleep", "600"] };

s.test(
  "start sandbox stays ready when it fails before it is stored, and starts when it is asked again",
  async () => {
    const sandbox = await engine.createSandbox({ id: "box" });
    const before = await vmView(backends.grant("box"));
    for (const moment of ["hook beforeStart", "hook afterStart", "before commit", "after commit"]) {
      const error = await failsAt(moment, () => sandbox.start());
      assert.equal(error.rollback?.left ?? [], []);
      assert.is(sandbox.state, "ready", moment);
      assert.equal(await vmView(backends.grant("box")), before);
    }
    await sandbox.start();
    for (const moment of ["hook beforeStop", "before agent.signalProcess"]) {
      if (moment.startsWith("before")) await sandbox.run(web);
      await failsAt(moment, () => sandbox.stop());
      assert.is(sandbox.state, "running");
    }
    await sandbox.stop({ timeoutMs: 200 });
    assert.is(sandbox.container("web").state, "stopped");
    for (const moment of ["after make-run-directory", "after launch-vm", "before commit", "after commit"]) {
      await failsAt(moment, () => sandbox.start());
      assert.is(sandbox.state, "stopped", moment);
      assert.equal(await hostView(root), empty);
    }
    await sandbox.delete();
    await nothing();
  },
  TIMEOUT,
);

const FAILING_STOP: readonly [Moment, string[]][] = [
  ["release create-guest-container", ["create-guest-container"]],
  ["release attach-share", ["attach-share"]],
  ["release create-guest-sandbox", ["create-guest-sandbox"]],
  ["release connect-agent", ["connect-agent"]],
  ["release launch-vm", ["launch-vm"]],
  ["release make-run-directory", ["make-run-directory"]],
  ["after hypervisor.vm.release", ["launch-vm"]],
];

for (const [moment, left] of FAILING_STOP) {
  s.test(
    `stop sandbox names exactly what is left when it fails ${moment}, and delete gives it back`,
    async () => {
      const sandbox = await engine.runSandbox({ id: "box" });
      await sandbox.createContainer(web);
      const error = await failsAt(moment, () => sandbox.stop(), "left are");
      assert.is(error.code, "RELEASE_INCOMPLETE");
      assert.equal(
        Reflect.get(error.data, "left").map((each: { step: string }) => each.step),
        left,
      );
      assert.is(sandbox.state, "failed");
      await sandbox.delete();
      await nothing();
    },
    TIMEOUT,
  );
}

s.test(
  "stop sandbox succeeds although the guest fails to give something back: that goes with the VM",
  async () => {
    const sandbox = await engine.runSandbox({ id: "box" });
    await sandbox.run(web);
    for (const moment of ["after agent.removeContainer", "before agent.destroySandbox"]) moments.arm(moment);
    await sandbox.stop({ timeoutMs: 200 });
    assert.ok(moments.disarm() > 0);
    await sandbox.delete();
    await nothing();
    cases += 2;
  },
  TIMEOUT,
);

s.test(
  "stop sandbox gives everything back when QEMU is killed in the middle of it",
  async () => {
    for (const moment of ["before agent.removeContainer", "before hypervisor.share.release", "before hypervisor.vm.release"]) {
      const sandbox = await engine.runSandbox({ id: "box" });
      await sandbox.run(web);
      moments.arm(moment, () => backends.killQemu("box"));
      await sandbox.stop({ timeoutMs: 200 });
      assert.ok(moments.disarm() > 0, moment);
      assert.is(sandbox.state, "stopped");
      await sandbox.delete();
      await nothing();
      cases++;
    }
  },
  TIMEOUT,
);

s.test(
  "the end of the engine leaves nothing",
  async () => {
    await engine.close();
    await nothing();
    await world[Symbol.asyncDispose]();
    console.log(`${cases} faults in sandboxes on real QEMU`);
  },
  TIMEOUT,
);

s.run();
