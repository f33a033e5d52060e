import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import type { CheckOn } from "../conformance/checks.ts";
import { assertFindings, assertRecordable, failure, firedCall, rejects } from "../conformance/expect.ts";
import { quietCall } from "../quiet-call.ts";
import { connected, type HypervisorFixture, leavesNothing, SANDBOX, withVm } from "./fixture.ts";

/** When callers give up, after an acquisition has begun, ms: before, during and after it, whichever these are for a backend. */
const GIVE_UP_AFTER_MS = [0, 2, 10, 30, 60];

/** The VM as a holding: acquired once, given back whatever happened. */
export function vmHoldingChecks(check: CheckOn<HypervisorFixture>): void {
  check("inspectHost() reports what it found and changes nothing", (fixture) =>
    leavesNothing(fixture, async () => assertFindings(await fixture.hypervisor.inspectHost(quietCall()))),
  );

  check("acquire() grants the VM that was asked for, as data that survives JSON", (fixture) =>
    withVm(fixture, async ({ intent, grant }) => {
      assertRecordable("a grant", grant);
      const { sandbox, nonce, runDirectory } = grant;
      assert.deepEqual(
        { sandbox, nonce, runDirectory },
        { sandbox: intent.sandbox, nonce: intent.nonce, runDirectory: intent.runDirectory },
      );
      assert.notEqual(grant.accelerator, "");
      const later = JSON.parse(JSON.stringify(grant));
      assert.equal(await connected(fixture, later, (vm) => vm.status(quietCall())), "running");
    }),
  );

  check("the fixture's snapshot shows a VM that is held: one that does not would let every leak pass", async (fixture) => {
    const before = await fixture.snapshot();
    await withVm(fixture, async () => assert.notDeepEqual(await fixture.snapshot(), before));
  });

  check("release() gives the VM back, and again with success", (fixture) =>
    withVm(fixture, async ({ intent, grant }) => {
      const { vm } = fixture.hypervisor.holdings;
      await vm.release({ intent, grant }, quietCall());
      await rejects("connect() to a released VM", fixture.hypervisor.connect(grant, quietCall()), "VM_FAILED");
      await vm.release({ intent, grant }, quietCall());
      await vm.release({ intent, grant: undefined }, quietCall());
    }),
  );

  check("release() finds the VM by its intent alone", (fixture) =>
    withVm(fixture, async ({ intent, grant }) => {
      await fixture.hypervisor.holdings.vm.release({ intent, grant: undefined }, quietCall());
      await rejects("connect() to a released VM", fixture.hypervisor.connect(grant, quietCall()), "VM_FAILED");
    }),
  );

  check("release() finds the VM by its intent after JSON, as a later process does", (fixture) =>
    withVm(fixture, async ({ intent, grant }) => {
      const held = JSON.parse(JSON.stringify({ intent, grant }));
      await fixture.hypervisor.holdings.vm.release(held, quietCall());
      await rejects("connect() to a released VM", fixture.hypervisor.connect(grant, quietCall()), "VM_FAILED");
    }),
  );

  check("release() of a VM that was never acquired is success", (fixture) =>
    leavesNothing(fixture, async () => {
      const intent = await fixture.vmIntent(SANDBOX, "quiet");
      await fixture.hypervisor.holdings.vm.release({ intent, grant: undefined }, quietCall());
    }),
  );

  for (const known of ["with", "without"]) {
    check(`release() of a VM that has died is success, ${known} its grant`, (fixture) =>
      withVm(fixture, async ({ intent, grant }) => {
        await fixture.kill(grant);
        await fixture.hypervisor.holdings.vm.release({ intent, grant: known === "with" ? grant : undefined }, quietCall());
      }),
    );
  }

  check("release() ends the VM of its own nonce only", (fixture) =>
    withVm(fixture, async ({ grant }) => {
      const stranger = await fixture.vmIntent(SANDBOX, "quiet");
      await fixture.hypervisor.holdings.vm.release({ intent: stranger, grant: undefined }, quietCall());
      assert.equal(await connected(fixture, grant, (vm) => vm.status(quietCall())), "running");
    }),
  );

  check("a late release of an earlier VM of the same run directory leaves the later one whole", (fixture) =>
    withVm(fixture, async ({ intent, grant }) => {
      const held = await fixture.snapshot();
      const earlier = { ...intent, nonce: (await fixture.vmIntent(SANDBOX, "quiet")).nonce };
      await fixture.hypervisor.holdings.vm.release({ intent: earlier, grant: undefined }, quietCall());
      assert.deepEqual(await fixture.snapshot(), held);
      assert.equal(await connected(fixture, grant, (vm) => vm.status(quietCall())), "running");
    }),
  );

  check("the same sandbox can have a VM again after release()", (fixture) =>
    leavesNothing(fixture, async () => {
      for (let time = 0; time < 2; time++) await withVm(fixture, async () => {});
    }),
  );

  check("VMs of two sandboxes do not meet", (fixture) =>
    withVm(fixture, async ({ grant }) => {
      const { vm } = fixture.hypervisor.holdings;
      const intent = await fixture.vmIntent("other", "quiet");
      const other = await vm.acquire(intent, quietCall());
      await vm.release({ intent, grant: other }, quietCall());
      assert.equal(await connected(fixture, grant, (view) => view.status(quietCall())), "running");
    }),
  );

  check("acquire() of what cannot be fails and leaves nothing", (fixture) =>
    leavesNothing(fixture, async () => {
      const intent = { ...(await fixture.vmIntent(SANDBOX, "quiet")), vcpus: 0 };
      await failure("acquire() of a VM with no vCPU", fixture.hypervisor.holdings.vm.acquire(intent, quietCall()));
    }),
  );

  check("acquire() with a signal that has fired fails and leaves nothing", (fixture) =>
    leavesNothing(fixture, async () => {
      const intent = await fixture.vmIntent(SANDBOX, "quiet");
      await failure("acquire() with a fired signal", fixture.hypervisor.holdings.vm.acquire(intent, firedCall()));
    }),
  );

  check("acquire() that is given up half-way ends, and is released by its intent", (fixture) =>
    leavesNothing(fixture, async () => {
      for (const afterMs of GIVE_UP_AFTER_MS) {
        const { vm } = fixture.hypervisor.holdings;
        const intent = await fixture.vmIntent(SANDBOX, "quiet");
        const caller = new AbortController();
        const acquiring = vm.acquire(intent, quietCall({ signal: caller.signal }));
        const [outcome] = await Promise.allSettled([acquiring, delay(afterMs).then(() => caller.abort())]);
        if (outcome.status === "fulfilled") await vm.release({ intent, grant: outcome.value }, quietCall());
        await vm.release({ intent, grant: undefined }, quietCall());
      }
    }),
  );
}
