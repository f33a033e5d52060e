import type { VmSnapshot } from "tapvisor/testing";
import type { Holding } from "../../src/contracts/holding.ts";
import type { DeviceIntent } from "../../src/device/holding.ts";
import type { SandboxRecord } from "../../src/engine/record.ts";
import { ledgerOf } from "../../src/resource/ledger.ts";
import { ociResources } from "../../src/resource/plan.ts";
import type { Everything } from "./fake-engine.ts";

/**
 * Holds the records against the world: whatever there is must be named by a holding, and whatever a holding says it holds must be there.
 * A holding that could not be released may stand for something or not. Gives what disagrees; empty when the ledger is true.
 */
export function disagreements({ world, records, files }: Everything): string[] {
  const wrong: string[] = [];
  const check = (right: boolean, what: string) => void (right || wrong.push(what));
  for (const { sandbox } of world.vms)
    check(
      records.some(({ id }) => id === sandbox),
      `a VM of ${sandbox}, which has no record`,
    );
  for (const name of files)
    check(
      records.some(({ id }) => id === name.split("/")[0]),
      `files in ${name}, which has no record`,
    );
  for (const record of records) {
    const vm = world.vms.find(({ sandbox }) => sandbox === record.id);
    compare(record, "run-directory", files.includes(record.id) ? [record.id] : [], () => record.id, check);
    compare(record, "vm", vm ? [vm.nonce] : [], (intent) => (intent as { nonce: string }).nonce, check);
    if (vm && ["ready", "running", "paused"].includes(record.state)) {
      check((vm.state === "paused") === (record.state === "paused"), `${record.id} is ${record.state}, its VM ${vm.state}`);
    }
    // What is inside a VM that could not be ended goes with it: its own holding stands for all.
    const covered = record.holdings.some(({ kind, status }) => kind === "vm" && status !== "held");
    if (!covered && vm?.state !== "ended") checkInside(record, vm, check);
    for (const { container, kind, step } of record.holdings) {
      if (container !== undefined)
        check(Object.hasOwn(record.containers, container), `${step} (${kind}) of ${container}, which has no record`);
    }
    const failed = record.holdings.some(({ status }) => status === "failed");
    if (!failed) for (const { status, step } of record.holdings) check(status === "held", `${step} is ${status}`);
  }
  return wrong;
}

type Check = (right: boolean, what: string) => void;

function checkInside(record: SandboxRecord, vm: VmSnapshot | undefined, check: Check): void {
  const containers = vm?.guest.containers ?? [];
  const once = (there: boolean) => (there ? [record.id] : []);
  compare(record, "agent-connection", once((vm?.agentConnections ?? 0) > 0), () => record.id, check);
  compare(record, "guest-sandbox", once(Boolean(vm?.guest.sandbox)), () => record.id, check);
  compare(record, "share", vm?.shares.map(({ id }) => id) ?? [], (intent) => (intent as { id: string }).id, check);
  compare(record, "disk", vm?.disks.map(({ id }) => id) ?? [], (intent) => (intent as { id: string }).id, check);
  checkSize(record, vm, check);
  checkDevices(record, check);
  compare(
    record,
    "guest-container",
    containers.map(({ id }) => id),
    ofContainer,
    check,
  );
  const running = containers.filter(({ state }) => state === "running").map(({ id }) => id);
  compare(record, "guest-process", running, ofContainer, check);
  check((vm?.agentConnections ?? 0) <= 1, `${vm?.agentConnections} connections to the agent`);
  check((vm?.views ?? 0) <= 1, `${vm?.views} views of the VM`);
}

/** The VM has what it booted with and what its living containers ask for, and the record says so. */
function checkSize(record: SandboxRecord, vm: VmSnapshot | undefined, check: Check): void {
  if (!vm || record.holdings.some(({ kind, status }) => kind === "resources" && status !== "held")) return;
  const { target, granted } = ledgerOf(record);
  for (const { kind, container = "" } of record.holdings) {
    const state = record.containers[container]?.state ?? "gone";
    if (kind === "resources")
      check(["ready", "running", "paused", "failed"].includes(state), `${container} is ${state} and has a share of the VM`);
  }
  const size = ({ vcpus, memoryBytes }: { readonly vcpus: number; readonly memoryBytes: number }) => `${vcpus} vCPUs, ${memoryBytes} bytes`;
  check(
    size(target) === size({ vcpus: vm.onlineVcpus, memoryBytes: vm.memoryBytes }),
    `${record.id} wants ${size(target)}, has ${size(vm)}`,
  );
  check(
    size(granted) === size({ vcpus: vm.onlineVcpus, memoryBytes: vm.memoryBytes }),
    `${record.id} records ${size(granted)}, has ${size(vm)}`,
  );
  for (const { id, limits } of vm.guest.containers) {
    const { devices: _, ...limited } = limits;
    const config = record.containers[id]?.config;
    if (!config || record.holdings.some(({ kind }) => kind === "guest-limits")) continue;
    for (const [part, wanted] of Object.entries(ociResources(config.resources))) {
      const has = limited[part as keyof typeof limited];
      for (const [name, value] of Object.entries(wanted as object)) {
        check(Reflect.get(has ?? {}, name) === value, `${id} has ${part}.${name} ${Reflect.get(has ?? {}, name)}, wants ${value}`);
      }
    }
  }
}

/** Every reference to a device and every attachment of it is a holding, and nothing else is. */
function checkDevices({ id, devices, holdings }: SandboxRecord, check: Check): void {
  const held = holdings
    .filter(({ kind }) => kind === "device")
    .map(({ intent }) => intent as unknown as DeviceIntent)
    .map(({ device, holder }) => `${device.identity} ${holder}`)
    .sort();
  const listed = (pick: (device: (typeof devices)[string]) => readonly string[]) =>
    Object.values(devices)
      .flatMap((device) => pick(device).map((holder) => `${device.identity} ${holder}`))
      .sort();
  check(
    listed(({ references }) => references).join() === held.join(),
    `${id} refers to ${listed((each) => each.references)}, holds ${held}`,
  );
  check(
    listed(({ attachments }) => attachments).join() === held.join(),
    `${id} has attached ${listed((each) => each.attachments)}, holds ${held}`,
  );
}

function ofContainer(_intent: unknown, { container }: Holding): string {
  return container ?? "";
}

function compare(
  { id, holdings }: SandboxRecord,
  kind: string,
  there: readonly string[],
  keyOf: (intent: unknown, holding: Holding) => string,
  check: Check,
): void {
  const recorded = holdings.filter((holding) => holding.kind === kind);
  const keys = recorded.map((holding) => keyOf(holding.intent, holding));
  for (const key of there) check(keys.includes(key), `${kind} ${key} is there and no holding of ${id} names it`);
  for (const [index, holding] of recorded.entries()) {
    const key = keys[index] ?? "";
    if (holding.status === "held") check(there.includes(key), `${id} holds ${kind} ${key}, which is not there`);
  }
}
