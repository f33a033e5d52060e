import type { Hypervisor } from "tapvisor/plugin";
import { hypervisorSuite, quietCall, withFaults } from "tapvisor/testing";
import * as assert from "uvu/assert";
import { fakeGuest, fakeWorld } from "../support/fake-guest.ts";
import { suite } from "../support/suite.ts";
import { fakeHypervisorFixture } from "./support/fake-fixtures.ts";
import { BOOT, growingGuest, LIMITS } from "./support/growing-guest.ts";

const s = suite("withFaults");

const messageOf = (work: Promise<unknown>) =>
  work.then(
    () => "passed",
    (error: Error) => error.message,
  );

s.test("fails an acquisition before it had any effect, or after it had all of it", async () => {
  for (const [when, vms] of [
    ["before", 0],
    ["after", 1],
  ] as const) {
    await using base = await fakeWorld();
    const { provider, failIn, reached } = withFaults<Hypervisor>(base.hypervisor);
    failIn({ call: "vm.acquire", when });
    assert.match(
      await messageOf(provider.holdings.vm.acquire(base.vmIntent("box"), quietCall())),
      `injected ${when} the effect of vm.acquire`,
    );
    assert.ok(reached());
    assert.is(base.world.snapshot().vms.length, vms);
  }
});

s.test("fails the nth release with the error that was given", async () => {
  await using base = await fakeWorld();
  const { provider, failIn } = withFaults<Hypervisor>(base.hypervisor);
  failIn({ call: "vm.release", when: "before", nth: 2, error: new Error("stuck") });
  const held = { intent: base.vmIntent("box"), grant: undefined };
  const seen = [];
  for (let time = 0; time < 3; time++) seen.push(await messageOf(provider.holdings.vm.release(held, quietCall())));
  assert.equal(seen, ["passed", "stuck", "passed"]);
});

s.test("a call that hangs ends with its signal; a deaf one at reset()", async () => {
  await using base = await fakeWorld();
  const faulty = withFaults<Hypervisor>(base.hypervisor);
  const caller = new AbortController();
  faulty.hangIn({ call: "vm.acquire", when: "before" });
  const hanging = messageOf(faulty.provider.holdings.vm.acquire(base.vmIntent("box"), quietCall({ signal: caller.signal })));
  caller.abort(new Error("enough"));
  assert.is(await hanging, "enough");
  faulty.hangIn({ call: "vm.release", when: "before", deaf: true });
  const deaf = messageOf(
    faulty.provider.holdings.vm.release({ intent: base.vmIntent("box"), grant: undefined }, quietCall({ signal: AbortSignal.abort() })),
  );
  assert.is(await Promise.race([deaf, new Promise((resolve) => setImmediate(() => resolve("hangs")))]), "hangs");
  faulty.reset();
  assert.match(await deaf, "injected");
  assert.equal(faulty.calls, []);
});

s.test("a call that is delayed goes on when it may", async () => {
  await using base = await fakeWorld();
  const { provider, delayIn } = withFaults<Hypervisor>(base.hypervisor);
  let go: () => void = () => {};
  delayIn({
    call: "vm.acquire",
    when: "before",
    until: new Promise<void>((resolve) => {
      go = resolve;
    }),
  });
  const acquiring = provider.holdings.vm.acquire(base.vmIntent("box"), quietCall());
  await new Promise((resolve) => setImmediate(resolve));
  assert.is(base.world.snapshot().vms.length, 0);
  go();
  assert.is((await acquiring).sandbox, "box");
});

s.test("reaches the verbs of what connect() gives", async () => {
  await using base = await fakeGuest();
  const faulty = withFaults(base.agent);
  const client = await faulty.provider.connect(base.target, quietCall());
  faulty.failIn({ call: "connect.guestDetails", when: "before" });
  assert.match(await messageOf(client.guestDetails(quietCall())), "injected");
  assert.is((await client.guestDetails(quietCall())).agentVersion, "fake");
  assert.equal(faulty.calls, ["connect", "connect.guestDetails", "connect.guestDetails"]);
  await client.close();
  assert.is(await client.lost, undefined);
});

s.test("reaches the sizing of a VM", async () => {
  await using w = await growingGuest();
  const faulty = withFaults<Hypervisor>(w.hypervisor);
  const { sizing } = await faulty.provider.connect(w.vm, quietCall());
  faulty.failIn({ call: "connect.sizing.resizeVcpus", when: "after" });
  assert.match(await messageOf(Promise.resolve(sizing?.resizeVcpus(2, quietCall()))), "injected after the effect");
  assert.is(w.snapshot().vcpus, 2);
  assert.equal(await sizing?.resizeVcpus(3, quietCall()), { reached: 3 });
  assert.equal(faulty.calls, ["connect", "connect.sizing.resizeVcpus", "connect.sizing.resizeVcpus"]);
});

s.test("leaves the planner as it is: it answers at once", async () => {
  await using w = await growingGuest();
  const faulty = withFaults<Hypervisor>(w.hypervisor);
  assert.equal(faulty.provider.planner?.resize(BOOT, BOOT, LIMITS), []);
  assert.equal(faulty.calls, []);
});

s.test("a provider that is a class with private fields, or frozen, works through it", async () => {
  class Counting {
    #count = 0;
    async next() {
      return ++this.#count;
    }
  }
  const { provider } = withFaults(new Counting());
  assert.equal([await provider.next(), await provider.next()], [1, 2]);
  const frozen = withFaults(
    Object.freeze({ holdings: Object.freeze({ vm: Object.freeze({ release: async () => "released" }) }), name: "x" }),
  );
  assert.equal([await frozen.provider.holdings.vm.release(), frozen.provider.name], ["released", "x"]);
});

hypervisorSuite(
  "a provider without a fault set passes its suite",
  () => fakeHypervisorFixture((hypervisor) => withFaults(hypervisor).provider),
  {
    suite: s,
  },
);

s.run();
