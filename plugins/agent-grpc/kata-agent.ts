import { constants } from "node:os";
import { type AgentClient, type Call, type GuestProcessId, isAgentStatus, messageOf } from "tapvisor/plugin";
import { withSwapAlone } from "./kata-stats.ts";
import { kataStorages } from "./kata-storages.ts";
import { KeptStream } from "./kept-stream.ts";

interface Kept {
  readonly container: string;
  readonly stdout: KeptStream;
  readonly stderr: KeptStream;
  exitCode?: number;
}

/**
 * The verbs as `AgentClient` promises them, over an agent that does what Kata's do and no more:
 * it has no overlays, waiting for a process drops its unread output and forgets it, reading both streams of a terminal shares its bytes out between
 * them, only a container whose processes have ended can be removed, and its cgroups are of version 1.
 */
export function overKata(client: AgentClient): AgentClient {
  const terminals = new Set<string>(); // containers with one, of those created here
  const processes = new Map<string, Kept>();

  function kept({ container, exec }: GuestProcessId, { log }: Call): Kept {
    const key = `${container}\0${exec}`;
    const known = processes.get(key);
    if (known) return known;
    const id = { container, exec };
    const made: Kept = {
      container,
      stdout: new KeptStream((maxBytes, signal) => client.readStdout(id, maxBytes, { signal, log })),
      stderr: new KeptStream(
        (maxBytes, signal) => client.readStderr(id, maxBytes, { signal, log }),
        exec === container && terminals.has(exec),
      ),
    };
    processes.set(key, made);
    return made;
  }

  function forget(container: string): void {
    terminals.delete(container);
    for (const [key, { container: owner, stdout, stderr }] of processes) {
      if (owner !== container) continue;
      stdout.drop();
      stderr.drop();
      processes.delete(key);
    }
  }

  /** Ends what still runs of a container whose output nobody wants any more. */
  async function end(container: string, call: Call): Promise<void> {
    const process = { container, exec: container };
    await client.signalProcess(process, constants.signals.SIGKILL, true, call);
    await client.waitProcess(process, call).catch(unlessGone);
  }

  return {
    ...client,
    createContainer: async (request, call) => {
      await client.createContainer({ ...request, storages: kataStorages(request.storages) }, call);
      if (request.spec.process.terminal) terminals.add(request.container);
    },
    removeContainer: async (container, call) => {
      try {
        await client.removeContainer(container, call);
      } catch (error) {
        if (!isStillThere(error)) throw error;
        await end(container, call);
        await client.removeContainer(container, call);
      }
      forget(container);
    },
    waitProcess: async (process, call) => {
      const output = kept(process, call);
      await Promise.all([output.stdout.drained(call.signal), output.stderr.drained(call.signal)]);
      output.exitCode ??= await client.waitProcess(process, call);
      return output.exitCode;
    },
    signalProcess: async (process, signal, all, call) => {
      await client.signalProcess(process, signal, all, call);
      for (const { container, stdout, stderr } of processes.values()) {
        if (container !== process.container) continue;
        stdout.makeRoom();
        stderr.makeRoom();
      }
    },
    statsContainer: async (container, call) => withSwapAlone(await client.statsContainer(container, call)),
    readStdout: (process, maxBytes, call) => kept(process, call).stdout.read(maxBytes, call.signal),
    readStderr: (process, maxBytes, call) => kept(process, call).stderr.read(maxBytes, call.signal),
  };
}

/** What the agent's runtime says of a container with a process that runs, or is frozen. */
function isStillThere(error: unknown): boolean {
  return isAgentStatus(error, "UNKNOWN") && /container is (not destroyed|paused)/.test(messageOf(error));
}

/** The process has been waited for already. */
function unlessGone(error: unknown): void {
  if (!isAgentStatus(error, "NOT_FOUND")) throw error;
}
