import assert from "node:assert/strict";
import type { CheckOn } from "../conformance/checks.ts";
import { eventually, failure, firedCall, isPending, rejects } from "../conformance/expect.ts";
import { quietCall } from "../quiet-call.ts";
import { connected, type HypervisorFixture, withVm } from "./fixture.ts";

/** The most that diagnostics may hold of each text: it stands in errors and is printed. */
const DIAGNOSTICS_BYTES = 64 * 1024;

/** What may not reach a terminal: control characters other than the newline and the tab. */
const STEERING = /[\0-\x08\x0b-\x1f\x7f-\x9f]/;

/** The live view of a running VM. */
export function vmViewChecks(check: CheckOn<HypervisorFixture>): void {
  check("exited is open while the VM runs, and tells every view of a crash as not expected", (fixture) =>
    withVm(fixture, async ({ grant }) => {
      const [first, second] = [await fixture.hypervisor.connect(grant, quietCall()), await fixture.hypervisor.connect(grant, quietCall())];
      assert.equal(await isPending(first.exited), true, "exited settled while the VM ran");
      await fixture.kill(grant);
      const exit = await first.exited;
      assert.equal(exit.expected, false);
      assert.deepEqual(await second.exited, exit);
      assert.equal(await first.status(quietCall()), "ended");
      await first.disconnect();
      await second.disconnect();
    }),
  );

  check("exited tells of a release as expected", (fixture) =>
    withVm(fixture, async ({ intent, grant }) => {
      const vm = await fixture.hypervisor.connect(grant, quietCall());
      await fixture.hypervisor.holdings.vm.release({ intent, grant }, quietCall());
      assert.equal((await vm.exited).expected, true);
      assert.equal(await vm.status(quietCall()), "ended");
      await vm.disconnect();
    }),
  );

  check("connect() to a VM that has died is VM_FAILED", (fixture) =>
    withVm(fixture, async ({ grant }) => {
      await fixture.kill(grant);
      await rejects("connect()", fixture.hypervisor.connect(grant, quietCall()), "VM_FAILED");
    }),
  );

  check("disconnect() lets the VM go on, can be repeated, and connect() finds it again", (fixture) =>
    withVm(fixture, async ({ grant }) => {
      for (let time = 0; time < 3; time++) {
        const vm = await fixture.hypervisor.connect(grant, quietCall());
        assert.equal(await vm.status(quietCall()), "running");
        await vm.disconnect();
        await vm.disconnect();
      }
    }),
  );

  check("disconnect() of one view leaves another one working", (fixture) =>
    withVm(fixture, async ({ grant }) => {
      const first = await fixture.hypervisor.connect(grant, quietCall());
      await connected(fixture, grant, async (second) => {
        await first.disconnect();
        assert.equal(await second.status(quietCall()), "running");
      });
    }),
  );

  check("pause() and resume() do what the capability says", (fixture) =>
    withVm(fixture, ({ grant }) =>
      connected(fixture, grant, async (vm) => {
        if (!fixture.hypervisor.capabilities.pause) {
          await rejects("pause() without the capability", vm.pause(quietCall()), "UNSUPPORTED");
          assert.equal(await vm.status(quietCall()), "running");
          return;
        }
        for (let time = 0; time < 2; time++) await vm.pause(quietCall());
        assert.equal(await vm.status(quietCall()), "paused");
        for (let time = 0; time < 2; time++) await vm.resume(quietCall());
        assert.equal(await vm.status(quietCall()), "running");
      }),
    ),
  );

  check("pause() with a signal that has fired fails and has no effect", (fixture) =>
    withVm(fixture, ({ grant }) =>
      connected(fixture, grant, async (vm) => {
        await failure("pause() with a fired signal", vm.pause(firedCall()));
        assert.equal(await vm.status(quietCall()), "running");
      }),
    ),
  );

  check("a paused VM can be released", (fixture) =>
    withVm(fixture, async ({ grant }) => {
      if (fixture.hypervisor.capabilities.pause) await connected(fixture, grant, (vm) => vm.pause(quietCall()));
    }),
  );

  check("diagnostics() escapes what the guest prints, also after the VM's end", (fixture) =>
    withVm(
      fixture,
      async ({ grant }) => {
        const vm = await fixture.hypervisor.connect(grant, quietCall());
        await eventually("the guest's text", async () => (await vm.diagnostics()).console.includes("end"));
        for (const moment of ["running", "dead"]) {
          const { console, stderr } = await vm.diagnostics();
          assert.match(console, /red/, `the text of a ${moment} VM`);
          assert.doesNotMatch(console, STEERING, `control characters of a ${moment} VM's console`);
          assert.doesNotMatch(stderr, STEERING);
          if (moment === "running") await fixture.kill(grant);
        }
        await vm.disconnect();
      },
      "hostile",
    ),
  );

  check("diagnostics() is bounded however much the guest prints", (fixture) =>
    withVm(
      fixture,
      ({ grant }) =>
        connected(fixture, grant, async (vm) => {
          await eventually("the guest's text", async () => (await vm.diagnostics()).console.length >= 1024);
          const { console, stderr } = await vm.diagnostics();
          for (const text of [console, stderr]) assert.ok(Buffer.byteLength(text) <= DIAGNOSTICS_BYTES, `${text.length} characters`);
        }),
      "flood",
    ),
  );
}
