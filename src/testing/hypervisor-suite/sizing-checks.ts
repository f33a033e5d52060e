import assert from "node:assert/strict";
import { type Bytes, MiB } from "../../base/units.ts";
import type { Resized, Vm, VmGrant, VmIntent, VmSize, VmSizing } from "../../contracts/hypervisor.ts";
import type { CheckOn } from "../conformance/checks.ts";
import { begun, failure, firedCall, isPending } from "../conformance/expect.ts";
import { quietCall } from "../quiet-call.ts";
import { connected, type HypervisorFixture, withVm } from "./fixture.ts";

/** What a VM boots with beside the fixture's memory, and how far it may grow. */
const BOOT_VCPUS = 2;
const MOST_VCPUS = 4;
const STEP = 128 * MiB;
const STEPS = 2;

/** How long a shrink may take with a guest that gives back, and how long one is waited for that does not, ms. */
const SHRINK_MS = 20_000;
const REFUSED_SHRINK_MS = 500;

interface World {
  readonly fixture: HypervisorFixture;
  readonly grant: VmGrant;
  readonly vm: Vm;
  readonly sizing: VmSizing;
  readonly boot: VmSize;
  readonly limits: VmSize;
}

/** vCPUs and memory of a running VM; nothing to check, but the capability, for a hypervisor without. */
export function sizingChecks(check: CheckOn<HypervisorFixture>): void {
  const checkSizing = (behaviour: string, body: (world: World) => Promise<void>) =>
    check(behaviour, async (fixture) => {
      if (!fixture.hypervisor.capabilities.resize) return;
      await withVm(
        fixture,
        ({ intent, grant }) => connected(fixture, grant, async (vm) => body(worldOf(fixture, intent, grant, vm))),
        "quiet",
        growing,
      );
    });

  check("the capability to resize says whether a VM has sizing", (fixture) =>
    withVm(fixture, ({ grant }) =>
      connected(fixture, grant, async (vm) => {
        assert.equal(vm.sizing !== undefined, fixture.hypervisor.capabilities.resize ?? false);
      }),
    ),
  );

  checkSizing("a VM has at first what it booted with", async (world) => {
    await hasSize(world, world.boot);
  });

  checkSizing("vCPUs grow to their target, which can be asked for again, and size() agrees", async (world) => {
    const { sizing, boot, limits } = world;
    for (const target of [boot.vcpus + 1, boot.vcpus + 1, limits.vcpus]) {
      assert.deepEqual(await sizing.resizeVcpus(target, quietCall()), { reached: target });
      await hasSize(world, { ...boot, vcpus: target });
    }
  });

  checkSizing("vCPUs shrink, or stay plugged for the guest to park, and grow again", async (world) => {
    const { sizing, boot, limits } = world;
    for (let time = 0; time < 2; time++) {
      await sizing.resizeVcpus(limits.vcpus, quietCall());
      const shrunk = await sizing.resizeVcpus(boot.vcpus, quietCall(shrinkDeadline(world)));
      assert.ok(shrunk.reached >= boot.vcpus && shrunk.reached <= limits.vcpus, `${shrunk.reached} vCPUs`);
      await hasSize(world, { ...boot, vcpus: shrunk.reached });
    }
    assert.deepEqual(await sizing.resizeVcpus(limits.vcpus, quietCall()), { reached: limits.vcpus });
  });

  checkSizing("memory grows to its target, which can be asked for again, and size() agrees", async (world) => {
    const { sizing, boot, limits } = world;
    for (const target of [boot.memoryBytes + STEP, boot.memoryBytes + STEP, limits.memoryBytes]) {
      const resized = await sizing.resizeMemory(target as Bytes, quietCall());
      assertResized(world, resized, target);
      await hasSize(world, { ...boot, memoryBytes: resized.reached as Bytes });
    }
  });

  checkSizing("memory shrinks to its target, which can be asked for again, and grows again", async (world) => {
    const { sizing, boot, limits } = world;
    for (const target of [boot.memoryBytes + STEP, boot.memoryBytes, boot.memoryBytes]) {
      await sizing.resizeMemory(limits.memoryBytes, quietCall());
      const resized = await sizing.resizeMemory(target as Bytes, quietCall(shrinkDeadline(world)));
      assertResized(world, resized, target);
      await hasSize(world, { ...boot, memoryBytes: resized.reached as Bytes });
    }
  });

  checkSizing("nothing shrinks below what the VM booted with", async (world) => {
    const { sizing, boot } = world;
    for (const resize of [
      () => sizing.resizeVcpus(boot.vcpus - 1, quietCall(shrinkDeadline(world))),
      () => sizing.resizeMemory((boot.memoryBytes / 2) as Bytes, quietCall(shrinkDeadline(world))),
    ]) {
      await Promise.allSettled([resize()]); // it is refused, or says how far it came
      await hasSize(world, boot);
    }
  });

  checkSizing("a target above the limit, and one that is no amount, is refused and changes nothing", async (world) => {
    const { sizing, boot, limits } = world;
    for (const target of [limits.vcpus + 1, boot.vcpus + 0.5, Number.NaN]) {
      await failure(`resizeVcpus(${target})`, sizing.resizeVcpus(target, quietCall()));
    }
    for (const target of [limits.memoryBytes + STEP, boot.memoryBytes + 0.5, Number.NaN]) {
      await failure(`resizeMemory(${target})`, sizing.resizeMemory(target as Bytes, quietCall()));
    }
    await hasSize(world, boot);
  });

  checkSizing("growing with a signal that has fired fails and changes nothing", async (world) => {
    const { sizing, boot, limits } = world;
    await failure("resizeVcpus() with a fired signal", sizing.resizeVcpus(limits.vcpus, firedCall()));
    await failure("resizeMemory() with a fired signal", sizing.resizeMemory(limits.memoryBytes, firedCall()));
    await hasSize(world, boot);
  });

  checkSizing("a later connect() sees what an earlier view has done, and takes it back", async (world) => {
    const { fixture, vm, sizing, boot, limits } = world;
    const vcpus = (await sizing.resizeVcpus(limits.vcpus, quietCall())).reached;
    const memoryBytes = (await sizing.resizeMemory(limits.memoryBytes, quietCall())).reached as Bytes;
    await vm.disconnect();
    await connected(fixture, JSON.parse(JSON.stringify(world.grant)), async (later) => {
      if (!later.sizing) assert.fail("a later view has no sizing");
      const after = { ...world, vm: later, sizing: later.sizing };
      await hasSize(after, { vcpus, memoryBytes });
      const resized = await later.sizing.resizeMemory(boot.memoryBytes, quietCall(shrinkDeadline(world)));
      assertResized(world, resized, boot.memoryBytes);
    });
  });

  checkSizing("a shrink whose caller gives up resolves with what has come back until then", async (world) => {
    const { fixture, vm, sizing, boot, limits } = world;
    if (!fixture.hypervisor.capabilities.pause) return;
    const grown = (await sizing.resizeMemory(limits.memoryBytes, quietCall())).reached;
    await vm.pause(quietCall()); // nobody gives memory back now
    const caller = new AbortController();
    const shrinking = begun(sizing.resizeMemory(boot.memoryBytes, quietCall({ signal: caller.signal })));
    await isPending(shrinking);
    caller.abort();
    const resized = await shrinking;
    assert.ok(resized.reached >= boot.memoryBytes && resized.reached <= grown, `${resized.reached} bytes`);
    assert.equal(resized.shortfall !== undefined, resized.reached > boot.memoryBytes, "a shortfall says why, when there is one");
    assert.equal((await sizing.size(quietCall())).memoryBytes, resized.reached);
    await vm.resume(quietCall());
  });

  checkSizing("a VM that has died cannot be resized", async ({ fixture, grant, sizing, limits }) => {
    await fixture.kill(grant);
    await failure("resizeVcpus() of a dead VM", sizing.resizeVcpus(limits.vcpus, quietCall()));
    await failure("resizeMemory() of a dead VM", sizing.resizeMemory(limits.memoryBytes, quietCall()));
    await failure("size() of a dead VM", sizing.size(quietCall()));
  });
}

function growing(intent: VmIntent): VmIntent {
  const limits = { vcpus: MOST_VCPUS, memoryBytes: (intent.memoryBytes + STEPS * STEP) as Bytes };
  return { ...intent, vcpus: BOOT_VCPUS, limits };
}

function worldOf(fixture: HypervisorFixture, intent: VmIntent, grant: VmGrant, vm: Vm): World {
  const { sizing } = vm;
  if (!sizing) assert.fail("a VM of a hypervisor that can resize has no sizing");
  const boot = { vcpus: intent.vcpus, memoryBytes: intent.memoryBytes };
  return { fixture, grant, vm, sizing, boot, limits: intent.limits ?? boot };
}

async function hasSize({ sizing }: World, { vcpus, memoryBytes }: VmSize): Promise<void> {
  assert.deepEqual(await sizing.size(quietCall()), { vcpus, memoryBytes });
}

/** A resize of memory has come to its target; where the guest does not help, it may stop before that, with a reason. */
function assertResized({ fixture }: World, { reached, shortfall }: Resized, target: number): void {
  if (fixture.guestResizes ?? true) assert.deepEqual({ reached, shortfall }, { reached: target, shortfall: undefined });
  else if (reached !== target) assert.match(shortfall ?? "", /\S/, `${reached} bytes in place of ${target} want a reason`);
}

function shrinkDeadline({ fixture }: World): { readonly timeoutMs: number } {
  return { timeoutMs: (fixture.guestResizes ?? true) ? SHRINK_MS : REFUSED_SHRINK_MS };
}
