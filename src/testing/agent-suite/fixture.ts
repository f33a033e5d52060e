import { setTimeout as delay } from "node:timers/promises";
import type { Agent, AgentClient, AgentTarget, GuestContainer, GuestProcessId } from "../../contracts/agent.ts";
import type { GuestDisk } from "../../contracts/hypervisor.ts";
import type { OciProcess } from "../../contracts/oci.ts";
import { quietCall } from "../quiet-call.ts";

/** A running guest with an agent in it, without a sandbox, and what the checks need around it. */
export interface AgentFixture extends AsyncDisposable {
  readonly agent: Agent;
  readonly target: AgentTarget;
  /**
   * What creates a container that runs `args`; what it needs is plugged into the VM first. Its rootfs has busybox's `true`, `sh`, `cat`, `sleep`
   * and `stty` in /bin, a devpts at /dev/pts, a file /etc/passwd that cannot be executed, and PATH says /bin. Called once for each id.
   */
  container(id: string, args: readonly string[]): Promise<GuestContainer>;
  /** Whether the guest parks vCPUs and lets go of disks, which Kata's does not; `true` when absent. */
  readonly extras?: boolean;
  /** How many vCPUs the VM has, all of them online; 1 when absent. */
  readonly vcpus?: number;
  /** Plugs a disk of its own into the VM for each id; absent where the fixture has none: the checks of disks are left out then. */
  disk?(id: string): Promise<{ readonly disk: GuestDisk; readonly bytes: number }>;
  /** A network card without an address that is plugged into the VM; absent where the fixture has none: the checks of cards are left out then. */
  nic?(): Promise<{ readonly name: string; readonly mac: string }>;
  /** Cuts the connections to the agent, as the death of its VM would. */
  cut(): Promise<void>;
}

/** A client whose guest has a sandbox, and containers in it. */
export interface AgentWorld {
  readonly fixture: AgentFixture;
  readonly client: AgentClient;
  /** Creates a container; gives the id of its process. */
  create(id: string, args: readonly string[], process?: ProcessOptions): Promise<GuestProcessId>;
  /** Creates and starts one. */
  run(id: string, args: readonly string[], process?: ProcessOptions): Promise<GuestProcessId>;
  /** Starts one more process in a container of `create` or `run`; gives its id. */
  exec(container: string, id: string, args: readonly string[], process?: ProcessOptions): Promise<GuestProcessId>;
}

export type ProcessOptions = Partial<Pick<OciProcess, "terminal" | "consoleSize">>;

/** Connects, creates the sandbox, lets `body` use it, and takes all of it down. */
export async function withSandbox(fixture: AgentFixture, body: (world: AgentWorld) => Promise<void>): Promise<void> {
  const client = await fixture.agent.connect(fixture.target, quietCall());
  const specs = new Map<string, OciProcess>();
  const create = async (id: string, args: readonly string[], options: ProcessOptions = {}) => {
    const request = await fixture.container(id, args);
    const process = { ...request.spec.process, ...options };
    specs.set(id, process);
    await client.createContainer({ ...request, spec: { ...request.spec, process } }, quietCall());
    return { container: id, exec: id };
  };
  const run = async (id: string, args: readonly string[], options?: ProcessOptions) => {
    const process = await create(id, args, options);
    await client.startContainer(id, quietCall());
    return process;
  };
  const exec = async (container: string, id: string, args: readonly string[], options: ProcessOptions = {}) => {
    const spec = specs.get(container);
    if (!spec) throw new Error(`there is no container ${container}`);
    const { consoleSize: _, ...rest } = spec;
    await client.execProcess({ container, exec: id }, { ...rest, terminal: false, ...options, args }, quietCall());
    return { container, exec: id };
  };
  try {
    await client.createSandbox({ hostname: "box", sandbox: "box", storages: [] }, quietCall());
    await body({ fixture, client, create, run, exec });
  } finally {
    await client.close();
    await cleanUp(fixture);
  }
}

/** By a connection of its own: the check may have lost or closed the one it used. */
async function cleanUp({ agent, target }: AgentFixture): Promise<void> {
  const client = await agent.connect(target, quietCall()).catch(() => undefined); // a guest that is dead has nothing to take down
  try {
    await client?.destroySandbox(quietCall());
  } finally {
    await client?.close();
  }
}

/** Everything a process writes to its standard output, to the end. */
export async function readAll(client: AgentClient, process: GuestProcessId, stream: "stdout" | "stderr" = "stdout"): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for (;;) {
    const read = stream === "stdout" ? client.readStdout : client.readStderr;
    const chunk = await read(process, 32 * 1024, quietCall());
    if (chunk.length === 0) return Buffer.concat(chunks);
    chunks.push(chunk);
  }
}

/** Writes all of it, in as many calls as the process takes. */
export async function writeAll(client: AgentClient, process: GuestProcessId, data: Uint8Array): Promise<void> {
  for (let rest = data; rest.length > 0; ) {
    const taken = await client.writeStdin(process, rest, quietCall());
    if (!(taken >= 1 && taken <= rest.length)) throw new Error(`writeStdin() of ${rest.length} bytes took ${taken}`);
    rest = rest.subarray(taken);
  }
}

/** How long a process must do nothing to count as waiting or as frozen, ms. */
const IDLE_MS = 300;

/** What `work` gives, or undefined when it gives nothing for a while: its process waits, or does not run. */
export function unlessIdle<T>(work: Promise<T>): Promise<T | undefined> {
  return Promise.race([work, delay(IDLE_MS, undefined)]);
}
