import type { VmSnapshot } from "tapvisor/testing";
import type { Holding } from "../../src/contracts/holding.ts";
import type { SandboxRecord } from "../../src/engine/record.ts";
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
