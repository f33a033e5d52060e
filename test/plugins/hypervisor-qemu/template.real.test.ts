import { randomBytes } from "node:crypto";
import { mkdir, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Bytes, MiB, type VmIntent } from "tapvisor/plugin";
import { quietCall } from "tapvisor/testing";
import * as assert from "uvu/assert";
import { suite } from "../../support/suite.ts";
import { tempDirectory } from "../../support/temp.ts";
import { providers } from "./support/guest-vm.ts";
import { refusal } from "./support/refusal.ts";
import { processesOf } from "./support/world.ts";

const s = suite("hypervisor-qemu template with a guest");
const call = () => quietCall({ timeoutMs: 60_000 });
const BOOT = (512 * MiB) as Bytes;

s.test("a clone's agent answers a new connection without a boot, and the clone grows and shrinks", body, { timeoutMs: 120_000 });

async function body(): Promise<void> {
  await using temporary = await tempDirectory();
  const at = (name: string) => join(temporary.path, name);
  const { hypervisor, guest, transport, agent } = await providers(temporary.path);
  const { vm: holding, share } = hypervisor.holdings;
  const intentOf = async (sandbox: string, memory: NonNullable<VmIntent["memory"]>): Promise<VmIntent> => {
    const runDirectory = at(sandbox);
    await mkdir(runDirectory, { mode: 0o700 });
    const limits = { vcpus: 2, memoryBytes: (1024 * MiB) as Bytes };
    const boot = { ...(await guest.prepare(call())), virtioMem: true };
    return {
      sandbox,
      nonce: randomBytes(16).toString("hex"),
      runDirectory,
      vcpus: 1,
      memoryBytes: BOOT,
      limits,
      boot,
      memory,
      detached: false,
    };
  };
  const agentOf = ({ sandbox, runDirectory }: VmIntent, path: string) =>
    agent.connect({ sandbox, endpoint: { kind: "serial", path }, transport, runDirectory }, call());

  const [file, state] = [at("memory"), at("state")];
  await writeFile(file, "", { mode: 0o600 });
  await truncate(file, BOOT);
  const template = await intentOf("template", { kind: "template", file });
  try {
    const grant = await holding.acquire(template, call());
    const client = await agentOf(template, join(template.runDirectory, "agent.sock"));
    await client.close();
    const vm = await hypervisor.connect(grant, call());
    await vm.save?.(state, call());
  } finally {
    await holding.release({ intent: template, grant: undefined }, call());
  }

  const intents = [await intentOf("one", { kind: "clone", file, state }), await intentOf("two", { kind: "clone", file, state })];
  try {
    for (const intent of intents) {
      const grant = await holding.acquire(intent, call());
      const vm = await hypervisor.connect(grant, call());
      const client = await agentOf(intent, join(intent.runDirectory, "agent.sock"));
      const { console } = await vm.diagnostics();
      assert.is(console, "", "a boot would have said something");
      assert.is((await client.syncResources({}, call()))?.onlineVcpus, 1);
      assert.equal(await vm.sizing?.resizeVcpus(2, call()), { reached: 2 });
      assert.is((await client.syncResources({ vcpus: 2 }, call()))?.onlineVcpus, 2);
      for (const bytes of [(768 * MiB) as Bytes, BOOT]) assert.equal(await vm.sizing?.resizeMemory(bytes, call()), { reached: bytes });
      const directory = join(intent.runDirectory, "share");
      const entries = [{ name: "data", source: temporary.path, type: "directory", readonly: true }] as const;
      const error = await refusal(
        share?.acquire({ sandbox: intent.sandbox, vm: grant, id: "files", directory, entries }, call()) ?? Promise.resolve(),
      );
      assert.is(error.code, "UNSUPPORTED");
      await client.close();
    }
  } finally {
    for (const intent of intents) await holding.release({ intent, grant: undefined }, call());
  }
  for (const intent of [template, ...intents]) assert.equal(await processesOf(intent), []);
}

s.run();
