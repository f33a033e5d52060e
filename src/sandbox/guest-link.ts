import { isTapvisorError, TapvisorError, toError } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { AgentClient, GuestDetails } from "../contracts/agent.ts";
import type { Call } from "../contracts/holding.ts";
import type { Vm, VmExit, VmGrant } from "../contracts/hypervisor.ts";
import type { EngineContext } from "../engine/context.ts";
import { explainLoss, withLastWords } from "./last-words.ts";
import { watchAgent } from "./watch-agent.ts";

export interface LinkEvents {
  readonly onVmExit: (exit: VmExit) => void;
  readonly onAgentLost: (error: Error) => void;
}

/** The live connections to one sandbox's VM and agent, in this process. They can be dropped and made again; what they stand for is in the journal. */
export class GuestLink {
  readonly #engine: EngineContext;
  readonly #sandbox: string;
  readonly #events: LinkEvents;
  #vm: Vm | undefined;
  #lastVm: Vm | undefined;
  /** Until it has been let go of: the end of a VM does not do that. */
  #held: Vm | undefined;
  #client: AgentClient | undefined;
  #forsaken = false;
  #ending = false;
  details: GuestDetails | undefined;

  constructor(engine: EngineContext, sandbox: string, events: LinkEvents) {
    this.#engine = engine;
    this.#sandbox = sandbox;
    this.#events = events;
  }

  get vm(): Vm | undefined {
    return this.#vm;
  }

  /** Whether there is a connection to the agent. */
  get isConnected(): boolean {
    return this.#client !== undefined;
  }

  /** The agent's client. @throws AGENT_LOST when there is no connection. */
  get client(): AgentClient {
    if (this.#client) return this.#client;
    throw new TapvisorError("AGENT_LOST", `Cannot reach the agent of sandbox "${this.#sandbox}": not connected`, {
      data: { id: this.#sandbox },
    });
  }

  /** What the VM printed last, also after its end. */
  async lastWords(): Promise<{ readonly console: string; readonly stderr: string } | undefined> {
    return this.#lastVm?.diagnostics();
  }

  /** From here on the VM is about to end: what would only make it smaller is left out. */
  beginEnd(): void {
    this.#ending = true;
  }

  get isEnding(): boolean {
    return this.#ending;
  }

  /** From here on the guest is not asked anything: its VM is about to be killed. */
  forsake(): void {
    this.#ending = true;
    this.#forsaken = true;
  }

  /** Connects to a running VM. @throws VM_FAILED when it does not run. */
  async connectVm(grant: VmGrant, call: Call): Promise<Vm> {
    if (this.#vm) return this.#vm;
    await this.#letGoOfVm(); // of one that has ended
    const hypervisor = await this.#engine.slot("hypervisor");
    const vm = await hypervisor.connect(grant, call);
    this.#vm = vm;
    this.#lastVm = vm;
    this.#held = vm;
    this.#forsaken = false;
    this.#ending = false;
    void vm.exited.then((exit) => {
      if (this.#vm === vm) this.#vm = undefined;
      this.#events.onVmExit(exit);
    });
    return vm;
  }

  /** Connects to the agent of a running VM; fails at once when the VM ends while the guest boots. One that `goesOn` from a template is to be renewed first. */
  async connectAgent(grant: VmGrant, call: Call, goesOn = false): Promise<AgentClient> {
    const vm = await this.connectVm(grant, call);
    const agent = await this.#engine.slot("agent");
    const transport = agent.needsTransport ? await this.#engine.slot("transport") : undefined;
    const target = { sandbox: this.#sandbox, endpoint: grant.agentEndpoint, transport, runDirectory: grant.runDirectory, goesOn };
    const died = new AbortController();
    const signal = AbortSignal.any([call.signal, died.signal]);
    const ended = vm.exited.then((exit) => {
      const error = vmEnded(this.#sandbox, exit);
      died.abort(error);
      throw error;
    });
    const connecting = agent.connect(target, { ...call, signal });
    connecting.catch(() => {});
    ended.catch(() => {}); // after the connection a VM's end is an event, not an error here
    return this.#adopt(await Promise.race([connecting, ended]), vm, call.log);
  }

  /** Makes a new connection the sandbox's, and watches over it. */
  #adopt(connected: AgentClient, vm: Vm, log: Logger): AgentClient {
    const lastWords = () => vm.diagnostics();
    const lose = async (error: Error | undefined) => {
      watch.stop();
      if (this.#client !== client) return;
      this.#client = undefined;
      if (error && !this.#forsaken) this.#events.onAgentLost(toError(await explainLoss(error, lastWords)));
    };
    const watch = watchAgent(connected, vm, log, (cause) => {
      void lose(hung(this.#sandbox, cause));
      void connected.close().catch(() => {}); // what still waits for its answers ends with AGENT_LOST
    });
    const client = withLastWords(connected, lastWords, watch.heard);
    this.#client = client;
    void client.lost.then(lose);
    return client;
  }

  /**
   * The agent for a release: connects again when this process has no connection. `undefined` when the VM is dead or about to be killed,
   * since everything in the guest goes with it.
   */
  async reach(grant: VmGrant | undefined, call: Call): Promise<AgentClient | undefined> {
    if (this.#forsaken || !grant) return undefined;
    if (this.#client) return this.#client;
    try {
      return await this.connectAgent(grant, call);
    } catch (error) {
      if (isTapvisorError(error) && error.code === "VM_FAILED") return undefined;
      throw toError(error);
    }
  }

  /** Closes the agent's connection; the guest goes on. */
  async closeAgent(): Promise<void> {
    const client = this.#client;
    this.#client = undefined;
    await client?.close();
  }

  /** Lets go of agent and VM; both go on. */
  async disconnect(): Promise<void> {
    await this.closeAgent();
    this.#vm = undefined;
    await this.#letGoOfVm();
  }

  async #letGoOfVm(): Promise<void> {
    const vm = this.#held;
    this.#held = undefined;
    await vm?.disconnect();
  }
}

function vmEnded(sandbox: string, exit: VmExit): TapvisorError {
  const how = exit.signal ? `signal ${exit.signal}` : `exit code ${exit.exitCode ?? "unknown"}`;
  return new TapvisorError("VM_FAILED", `Cannot use the VM of sandbox "${sandbox}": it has ended with ${how}`, {
    data: { id: sandbox, exitCode: exit.exitCode, signal: exit.signal },
  });
}

function hung(sandbox: string, cause: unknown): TapvisorError {
  return new TapvisorError("AGENT_LOST", `Lost the agent of sandbox "${sandbox}": it is connected and does not answer`, {
    data: { id: sandbox },
    cause,
    hint: "the guest may hang or be out of memory: stop the sandbox with force",
  });
}
