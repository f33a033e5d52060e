import { randomBytes } from "node:crypto";
import { mkdir, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { AgentClient, AgentIdentity, Bytes, GuestIdentity, RenewedIdentity, Vm, VmGrant, VmIntent } from "tapvisor/plugin";
import { MiB } from "tapvisor/plugin";
import { quietCall } from "tapvisor/testing";
import { tempDirectory } from "../../../support/temp.ts";
import { providers } from "./guest-vm.ts";

export const TEMPLATE_BYTES = (512 * MiB) as Bytes;
const call = () => quietCall({ timeoutMs: 120_000 });

export interface ClonedVm extends AsyncDisposable {
  readonly grant: VmGrant;
  readonly vm: Vm;
  readonly client: AgentClient;
  readonly identity: GuestIdentity;
  readonly renewed: RenewedIdentity;
  /** From the start of QEMU on, ms. */
  readonly tookMs: { readonly vm: number; readonly connected: number; readonly renewed: number };
}

/** A saved VM with the real guest, and what goes on from it. */
export interface Template extends AsyncDisposable {
  readonly directory: string;
  clone(name: string, mark?: (name: string, grant: VmGrant) => Promise<void>): Promise<ClonedVm>;
}

export interface TemplateOptions {
  /** Asked before and after the warm-up. It may change the guest, so what it has looked at is no template. */
  readonly look?: (client: AgentClient, when: "before" | "after") => Promise<void>;
}

/** Boots a VM and saves it as an engine does. */
export async function savedTemplate({ look = async () => {} }: TemplateOptions = {}): Promise<Template> {
  const temporary = await tempDirectory();
  const at = (name: string) => join(temporary.path, name);
  const { hypervisor, guest, transport, agent } = await providers(temporary.path);
  const { vm: holding } = hypervisor.holdings;
  const boot = await guest.prepare(call());
  const intentOf = async (sandbox: string, memory: NonNullable<VmIntent["memory"]>): Promise<VmIntent> => {
    const runDirectory = at(sandbox);
    await mkdir(runDirectory, { mode: 0o700 });
    const nonce = randomBytes(16).toString("hex");
    const limits = { vcpus: 2, memoryBytes: (1024 * MiB) as Bytes };
    return { sandbox, nonce, runDirectory, vcpus: 1, memoryBytes: TEMPLATE_BYTES, limits, boot, memory, detached: false };
  };
  const connect = ({ sandbox, runDirectory, memory }: VmIntent, grant: VmGrant) =>
    agent.connect({ sandbox, endpoint: grant.agentEndpoint, transport, runDirectory, goesOn: memory?.kind === "clone" }, call());
  const [file, state] = [at("memory"), at("state")];
  await writeFile(file, "", { mode: 0o600 });
  await truncate(file, TEMPLATE_BYTES);
  const template = await intentOf("template", { kind: "template", file });
  try {
    const grant = await holding.acquire(template, call());
    const first = await connect(template, grant);
    await look(first, "before");
    await identityOf(first).warmUp(call());
    await look(first, "after");
    await first.close();
    const second = await connect(template, grant);
    await identityOf(second).prepareToBeSaved(call());
    await second.close();
    const vm = await hypervisor.connect(grant, call());
    await vm.save?.(state, call());
  } catch (error) {
    await holding.release({ intent: template, grant: undefined }, call());
    await temporary[Symbol.asyncDispose]();
    throw error;
  }
  await holding.release({ intent: template, grant: undefined }, call());
  return {
    directory: temporary.path,
    async clone(name, mark = async () => {}) {
      const intent = await intentOf(name, { kind: "clone", file, state });
      const release = () => holding.release({ intent, grant: undefined }, call());
      const began = performance.now();
      const took = () => performance.now() - began;
      try {
        const grant = await holding.acquire(intent, call());
        const vmMs = took();
        await mark("vm", grant);
        const client = await connect(intent, grant);
        const connectedMs = took();
        await mark("connected", grant);
        const identity = { entropy: randomBytes(64), machineId: randomBytes(16).toString("hex"), hostname: name };
        const renewed = await identityOf(client).renew(identity, call());
        const tookMs = { vm: vmMs, connected: connectedMs, renewed: took() };
        const vm = await hypervisor.connect(grant, call());
        const dispose = async () => {
          await client.close();
          await vm.disconnect();
          await release();
        };
        return { grant, vm, client, identity, renewed, tookMs, [Symbol.asyncDispose]: dispose };
      } catch (error) {
        await release();
        throw error;
      }
    },
    [Symbol.asyncDispose]: () => temporary[Symbol.asyncDispose](),
  };
}

function identityOf({ identity }: AgentClient): AgentIdentity {
  if (!identity) throw new Error("the guest cannot go on as another");
  return identity;
}
