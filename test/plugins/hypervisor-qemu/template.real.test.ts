import { randomBytes } from "node:crypto";
import { mkdir, readdir, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Bytes, MiB, type ShareIntent, type VmGrant, type VmIntent } from "tapvisor/plugin";
import { quietCall } from "tapvisor/testing";
import * as assert from "uvu/assert";
import { makeExampleRootfs } from "../../../scripts/example-rootfs.ts";
import { suite } from "../../support/suite.ts";
import { tempDirectory } from "../../support/temp.ts";
import { ask, providers, startShell } from "./support/guest-vm.ts";
import { refusal } from "./support/refusal.ts";
import { processesOf } from "./support/world.ts";

const s = suite("hypervisor-qemu template with a guest");
const call = () => quietCall({ timeoutMs: 60_000 });
const BOOT = (512 * MiB) as Bytes;

s.test("a clone's agent answers without a boot, and the clone grows and shrinks; one with a copy of the memory has shares, too", body, {
  timeoutMs: 120_000,
});

async function body(): Promise<void> {
  await using temporary = await tempDirectory();
  const at = (name: string) => join(temporary.path, name);
  const { hypervisor, guest, transport, agent } = await providers(temporary.path);
  const { vm: holding, share } = hypervisor.holdings;
  if (!share) throw new Error("QEMU shares directories");
  const boot = { ...(await guest.prepare(call())), virtioMem: true };
  const intentOf = async (sandbox: string, memory: NonNullable<VmIntent["memory"]>): Promise<VmIntent> => {
    const runDirectory = at(sandbox);
    await mkdir(runDirectory, { mode: 0o700 });
    const sizes = { vcpus: 1, memoryBytes: BOOT, limits: { vcpus: 2, memoryBytes: (1024 * MiB) as Bytes } };
    return { sandbox, nonce: randomBytes(16).toString("hex"), runDirectory, ...sizes, boot, memory, detached: false };
  };
  const agentOf = ({ sandbox, runDirectory }: VmIntent) => {
    const endpoint = { kind: "serial", path: join(runDirectory, "agent.sock") } as const;
    return agent.connect({ sandbox, endpoint, transport, runDirectory }, call());
  };
  makeExampleRootfs(at("rootfs"));
  const shareOf = (vm: VmGrant): ShareIntent => {
    const entries = [{ name: "rootfs", source: at("rootfs"), type: "directory", readonly: true }] as const;
    return { sandbox: vm.sandbox, vm, id: "files", directory: join(vm.runDirectory, "share"), entries };
  };

  const [file, state] = [at("memory"), at("state")];
  await writeFile(file, "", { mode: 0o600 });
  await truncate(file, BOOT);
  const template = await intentOf("template", { kind: "template", file });
  try {
    const grant = await holding.acquire(template, call());
    const client = await agentOf(template);
    await client.close();
    const vm = await hypervisor.connect(grant, call());
    await vm.save?.(state, call());
  } finally {
    await holding.release({ intent: template, grant: undefined }, call());
  }

  const intents = [
    await intentOf("one", { kind: "clone", file, state }),
    await intentOf("two", { kind: "clone", file, state }),
    await intentOf("three", { kind: "copy", file, state, copy: at("copy-three") }),
    await intentOf("four", { kind: "copy", file, state, copy: at("copy-four") }),
  ];
  try {
    for (const intent of intents) {
      const grant = await holding.acquire(intent, call());
      const vm = await hypervisor.connect(grant, call());
      const client = await agentOf(intent);
      const { console } = await vm.diagnostics();
      assert.is(console, "", "a boot would have said something");
      assert.is((await client.syncResources({}, call()))?.onlineVcpus, 1);
      assert.equal(await vm.sizing?.resizeVcpus(2, call()), { reached: 2 });
      assert.is((await client.syncResources({ vcpus: 2 }, call()))?.onlineVcpus, 2);
      for (const bytes of [(768 * MiB) as Bytes, BOOT]) assert.equal(await vm.sizing?.resizeMemory(bytes, call()), { reached: bytes });
      if (intent.memory?.kind === "clone") {
        assert.is((await refusal(share.acquire(shareOf(grant), call()))).code, "UNSUPPORTED");
      } else {
        const shared = await share.acquire(shareOf(grant), call());
        await client.createSandbox({ hostname: "box", sandbox: "box", storages: [] }, call());
        await startShell(client, shared.guest);
        await writeFile(at("rootfs/greeting"), `hello ${intent.sandbox}`);
        assert.is(await ask(client, "cat /greeting"), `hello ${intent.sandbox}`);
      }
      await client.close();
    }
    assert.equal(
      (await readdir(temporary.path)).filter((name) => name.startsWith("copy")),
      [],
    );
  } finally {
    for (const intent of intents) await holding.release({ intent, grant: undefined }, call());
  }
  for (const intent of [template, ...intents]) assert.equal(await processesOf(intent), []);
}

s.run();
