import { readFile } from "node:fs/promises";
import { isTapvisorError } from "tapvisor/plugin";
import * as assert from "uvu/assert";
import { type Pinning, planPinning } from "../../../plugins/hypervisor-qemu/pin-vcpus.ts";
import { suite } from "../../support/suite.ts";
import { haltingKernel } from "./support/real-mode-kernel.ts";
import { call, world } from "./support/world.ts";

const s = suite("hypervisor-qemu pinning");

s.test("each vCPU has a CPU of its own while there are enough, and all share them when there are not", () => {
  assert.equal(planPinning([11, 12], [4, 5, 6]), [
    { thread: 11, cpus: [4] },
    { thread: 12, cpus: [5] },
  ]);
  assert.equal(planPinning([11, 12, 13], [4, 5]), [
    { thread: 11, cpus: [4, 5] },
    { thread: 12, cpus: [4, 5] },
    { thread: 13, cpus: [4, 5] },
  ]);
  assert.equal(planPinning([], [0]), []);
});

s.test("the threads of QEMU's vCPUs run where they are told, and nowhere when the host has no such CPU", async () => {
  await using w = await world(haltingKernel(), { vcpus: 2 });
  const grant = await w.hypervisor.holdings.vm.acquire(w.intent, call());
  const vm = await w.hypervisor.connect(grant, call());
  const allowed = async (thread: number) =>
    /Cpus_allowed_list:\s+(\S+)/.exec(await readFile(`/proc/${grant.process?.pid}/task/${thread}/status`, "utf8"))?.[1];
  const shared = (await vm.pinVcpus?.([0], call())) as readonly Pinning[];
  assert.is(shared.length, 2);
  for (const { thread } of shared) assert.is(await allowed(thread), "0");
  const error = await vm.pinVcpus?.([1023], call()).catch((thrown: unknown) => thrown);
  assert.ok(isTapvisorError(error) && error.code === "VM_FAILED", String(error));
  for (const { thread } of shared) assert.is(await allowed(thread), "0", "as before");
  await vm.disconnect();
});

s.run();
