import { randomBytes } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import type { BootAssets, Bytes, Transport, Vm, VmGrant, VmIntent } from "tapvisor/plugin";
import { transportSerial } from "tapvisor/plugins/transport-serial";
import { collectChecks, quietCall, runChecks, type TransportFixture, transportSuite } from "tapvisor/testing";
import * as assert from "uvu/assert";
import { prepareGuest } from "../../../plugins/guest-linux/image/prepare.ts";
import { providerOf } from "../../support/fake-guest.ts";
import { suite } from "../../support/suite.ts";
import { tempDirectory } from "../../support/temp.ts";
import { qemu } from "../hypervisor-qemu/support/world.ts";

const s = suite("transport-serial conformance on real QEMU");

/** A guest as the plugin builds it, with a program in the agent's place that sends back what it gets. */
async function echoGuest(directory: string): Promise<BootAssets> {
  const entry = fileURLToPath(new URL("support/echo-guest.ts", import.meta.url));
  const agent = join(directory, "echo.cjs");
  const tsconfig = fileURLToPath(new URL("../../../tsconfig.json", import.meta.url));
  await build({ entryPoints: [entry], outfile: agent, tsconfig, bundle: true, platform: "node", format: "cjs", logLevel: "warning" });
  const ours = process.getuid?.() === 0 ? "/var/cache/tapvisor" : join(homedir(), ".cache/tapvisor");
  const places = { systemRoot: "/", unpacked: join(process.env.TAPVISOR_CACHE ?? ours, "kernels") };
  const files = await prepareGuest({ places, agent, cache: join(directory, "guest") }, quietCall({ timeoutMs: 120_000 }), () => {});
  return { kernel: files.kernel, initrd: files.initrd, image: files.image, kernelParameters: [], agentPort: "agent.channel.0" };
}

interface Machine extends AsyncDisposable {
  readonly grant: VmGrant;
  readonly vm: Vm;
  dead: boolean;
}

async function startMachine(directory: string, boot: BootAssets): Promise<Machine> {
  const hypervisor = await qemu({ accelerator: "tcg" });
  const nonce = randomBytes(16).toString("hex");
  const runDirectory = join(directory, nonce.slice(0, 8));
  await mkdir(runDirectory, { mode: 0o700 });
  const memoryBytes = (256 * 2 ** 20) as Bytes;
  const intent: VmIntent = { sandbox: "echo", nonce, runDirectory, vcpus: 1, memoryBytes, boot, detached: false };
  const grant = await hypervisor.holdings.vm.acquire(intent, quietCall());
  const vm = await hypervisor.connect(grant, quietCall());
  return {
    grant,
    vm,
    dead: false,
    async [Symbol.asyncDispose]() {
      await vm.disconnect();
      await hypervisor.holdings.vm.release({ intent, grant }, quietCall());
    },
  };
}

s.test(
  "it passes the transports' suite; a guest that does not answer yet is one whose VM is paused",
  async () => {
    await using temporary = await tempDirectory();
    const boot = await echoGuest(temporary.path);
    const transport = await providerOf<Transport>(transportSerial(), "transport", "serial");
    let current: Machine | undefined;
    let started = 0;
    const make = async (): Promise<TransportFixture> => {
      if (!current || current.dead) {
        await current?.[Symbol.asyncDispose]();
        current = await startMachine(temporary.path, boot);
        started++;
      }
      const machine = current;
      await machine.vm.pause(quietCall());
      return {
        transport,
        endpoint: machine.grant.agentEndpoint,
        boot: () => machine.vm.resume(quietCall()),
        async die() {
          machine.dead = true;
          await machine[Symbol.asyncDispose]();
        },
        [Symbol.asyncDispose]: async () => {},
      };
    };
    try {
      const results = await runChecks(collectChecks((collect) => transportSuite("transport-serial", make, { suite: collect })));
      console.log(`${results.length} checks in ${started} VMs`);
      assert.equal(
        results.flatMap(({ name, error }) => (error ? [`${name}: ${error.message}`] : [])),
        [],
      );
    } finally {
      await current?.[Symbol.asyncDispose]();
    }
  },
  { timeoutMs: 240_000 },
);

s.run();
