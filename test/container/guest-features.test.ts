import type { ContainerOptions } from "tapvisor";
import * as assert from "uvu/assert";
import { containerConfig } from "../../src/config/container-config.ts";
import { seccompOf } from "../../src/container/seccomp/seccomp-of.ts";
import type { SandboxContext } from "../../src/engine/context.ts";
import { fakeEngine } from "../support/fake-engine.ts";
import { failureOf } from "../support/real-engine.ts";
import { suite } from "../support/suite.ts";

const s = suite("what a guest can do for a container");
const PLAIN_KATA = { preset: { agent: { extras: false } } } as const;
const CUSTOM = { defaultAction: "SCMP_ACT_ALLOW" } as const;

/** The profile that the guest was sent for a container, and nothing of it left after its deletion. */
async function profileIn(fake: Awaited<ReturnType<typeof fakeEngine>>, options: Partial<ContainerOptions> = {}) {
  await using sandbox = await fake.engine.runSandbox({ id: "box" });
  const container = await sandbox.createContainer({ rootfs: fake.rootfs, command: ["true"], ...options });
  return fake.world.vm("box")?.guest.containers.get(container.id)?.request.spec.linux.seccomp;
}

s.test("a guest with seccomp gets the default profile, none when unconfined, and a script's own as it is", async () => {
  await using fake = await fakeEngine();
  const profile = await profileIn(fake);
  assert.is(profile?.defaultAction, "SCMP_ACT_ERRNO");
  assert.is(profile?.syscalls?.find(({ names }) => names.includes("clone3"))?.errnoRet, 38);
  assert.is(await profileIn(fake, { seccomp: "unconfined" }), undefined);
  const own = { ...CUSTOM, syscalls: [{ names: ["mount"], action: "SCMP_ACT_ERRNO", errnoRet: 5 }] };
  assert.equal(await profileIn(fake, { seccomp: own }), own);
});

s.test(
  "a guest without gets no profile by default, and what the script asked for by name is refused before anything is touched",
  async () => {
    await using fake = await fakeEngine(PLAIN_KATA);
    assert.is(await profileIn(fake), undefined);
    await using sandbox = await fake.engine.runSandbox({ id: "box" });
    const before = await fake.everything();
    for (const [options, what] of [
      [{ seccomp: CUSTOM }, "seccomp"],
      [{ umask: 0o27 }, "umask"],
    ] as const) {
      const error = await failureOf(sandbox.createContainer({ rootfs: fake.rootfs, command: ["true"], ...options }));
      assert.is(error.code, "UNSUPPORTED");
      assert.match(error.message, `its ${what}:`);
      assert.equal(await fake.everything(), before);
    }
  },
);

s.test(
  "a Kata agent with seccomp knows no error numbers: what has to be ENOSYS is traced by nobody, and a profile that has others is refused",
  () => {
    const guest = { supportsSeccomp: true, ociExtensions: false };
    const sb = { id: "box", journal: { record: { guest } } } as unknown as SandboxContext;
    const config = (seccomp: ContainerOptions["seccomp"] = "default") => containerConfig({ rootfs: "/r", command: ["sh"], seccomp });
    const rules = seccompOf(sb, config())?.syscalls ?? [];
    assert.equal(
      rules.filter(({ names }) => names.includes("clone3")),
      [{ names: ["clone3"], action: "SCMP_ACT_TRACE" }],
    );
    assert.not.ok(rules.some(({ errnoRet }) => errnoRet !== undefined));
    assert.equal(seccompOf(sb, config(CUSTOM)), CUSTOM);
    for (const extra of [{ defaultErrnoRet: 1 }, { flags: ["SECCOMP_FILTER_FLAG_LOG"] }]) {
      assert.throws(() => seccompOf(sb, config({ ...CUSTOM, ...extra })), /flags or error numbers/);
    }
  },
);

s.run();
