import { isTapvisorError, TapvisorError } from "tapvisor/plugin";
import { agentSuite } from "tapvisor/testing";
import { suite } from "../../support/suite.ts";
import { amended, client, deaf, type MakeAgent } from "./amend-agent.ts";
import { type Defects, expectCaught } from "./expect-caught.ts";

const s = suite("agentSuite against broken agents");

const defects: Defects<MakeAgent> = {
  "says that it needs no transport and does": [
    /needs a transport/,
    amended((agent) => ({
      ...agent,
      connect: async (target, call) => (target.transport ? agent.connect(target, call) : Promise.reject(new Error("no transport"))),
    })),
  ],
  "says that it needs a transport and does not": [/needs a transport/, amended((agent) => ({ ...agent, needsTransport: true }))],
  "connects although the signal has fired": [
    /connect\(\) with a signal/,
    amended((agent) => ({ ...agent, connect: (target, call) => agent.connect(target, { ...call, ...deaf }) })),
  ],
  "takes a second sandbox": [
    /createSandbox\(\) twice/,
    client((honest) => ({ createSandbox: (...args) => honest.createSandbox(...args).catch(() => {}) })),
  ],
  "loses the exit code": [
    /exit code is its own/,
    client((honest) => ({ waitProcess: async (...args) => Math.min(await honest.waitProcess(...args), 0) })),
  ],
  "gives the bare signal for an exit code": [
    /128 \+/,
    client((honest) => ({
      waitProcess: async (...args) => {
        const code = await honest.waitProcess(...args);
        return code > 128 && code < 193 ? code - 128 : code;
      },
    })),
  ],
  "cannot tell a command that does not exist": [
    /COMMAND_NOT_FOUND/,
    client((honest) => ({
      startContainer: (...args) =>
        honest.startContainer(...args).catch((error: unknown) => {
          if (!isTapvisorError(error) || error.code !== "COMMAND_NOT_FOUND") throw error;
          throw new TapvisorError("AGENT_FAILED", "no", { data: { method: "StartContainer", status: "INTERNAL" } });
        }),
    })),
  ],
  "starts what does not exist": [
    /COMMAND_NOT_/,
    client((honest) => ({ startContainer: (...args) => honest.startContainer(...args).catch(() => {}) })),
  ],
  "answers one waiter only": [
    /every waiter/,
    client((honest) => {
      let asked = 0;
      return { waitProcess: (...args) => (asked++ === 0 ? honest.waitProcess(...args) : new Promise<number>(() => {})) };
    }),
  ],
  "kills the process when a waiter gives up": [
    /every waiter/,
    client((honest) => ({
      waitProcess: (process, call) => {
        call.signal.addEventListener("abort", () => {
          honest.signalProcess(process, 9, true, { ...call, ...deaf }).catch(() => {});
        });
        return honest.waitProcess(process, call);
      },
    })),
  ],
  "fails to remove what is not there": [
    /removeContainer\(\) kills/,
    client((honest) => {
      const removed = new Set<string>();
      return {
        removeContainer: async (id, call) => {
          if (removed.has(id)) throw new Error("no such container");
          removed.add(id);
          await honest.removeContainer(id, call);
        },
      };
    }),
  ],
  "leaves a removed container": [/made again/, client(() => ({ removeContainer: async () => {} }))],
  "takes the place of a container of the same id": [
    /second container of an id/,
    client((honest) => ({
      createContainer: async (request, call) => {
        await honest.removeContainer(request.container, call);
        await honest.createContainer(request, call);
      },
    })),
  ],
  "ends a container that is started twice": [
    /second container of an id/,
    client((honest) => ({
      startContainer: async (id, call) => {
        try {
          await honest.startContainer(id, call);
        } catch (error) {
          await honest.signalProcess({ container: id, exec: id }, 9, true, call);
          throw error;
        }
      },
    })),
  ],
  "invents processes of unknown containers": [
    /unknown container/,
    client((honest) => ({ waitProcess: (...args) => honest.waitProcess(...args).catch(() => 0) })),
  ],
  "has an effect although the signal had fired": [
    /has no effect/,
    client((honest) => ({
      createContainer: async (request, call) => {
        await honest.createContainer(request, { ...call, ...deaf });
        call.signal.throwIfAborted();
      },
    })),
  ],
  "drops a byte of the input": [
    /every byte in order/,
    client((honest) => ({ writeStdin: async (process, data, call) => (await honest.writeStdin(process, data.subarray(1), call)) + 1 })),
  ],
  "says that it wrote more than it did": [
    /every byte in order/,
    client((honest) => ({ writeStdin: (process, data, call) => honest.writeStdin(process, data, call).then(() => data.length) })),
  ],
  "never ends a stream": [
    /end of a stream/,
    client((honest) => ({
      readStdout: async (...args) => {
        const chunk = await honest.readStdout(...args);
        return chunk.length > 0 ? chunk : new Promise<Uint8Array>(() => {});
      },
    })),
  ],
  "fails at the end of a stream": [
    /end of a stream/,
    client((honest) => ({
      readStderr: async (...args) => {
        const chunk = await honest.readStderr(...args);
        if (chunk.length === 0) throw new Error("EOF");
        return chunk;
      },
    })),
  ],
  "mixes up the two outputs": [/end of a stream/, client((honest) => ({ readStderr: honest.readStdout }))],
  "gives more than was asked for": [
    /at most what was asked for/,
    client((honest) => ({ readStdout: (process, _max, call) => honest.readStdout(process, 65_536, call) })),
  ],
  "answers a read of nothing with the end": [/waits when there is nothing/, client(() => ({ readStdout: async () => new Uint8Array(0) }))],
  "loses bytes with a read that was given up": [
    /waits when there is nothing/,
    client((honest) => ({
      readStdout: (process, max, call) => {
        const reading = honest.readStdout(process, max, { ...call, ...deaf });
        reading.catch(() => {});
        return Promise.race([
          reading,
          new Promise<never>((_, reject) => call.signal.addEventListener("abort", () => reject(new Error("given up")))),
        ]);
      },
    })),
  ],
  "keeps standard input open": [/closeStdin\(\) is success twice/, client(() => ({ closeStdin: async () => {} }))],
  "takes input without end": [/makes the writer wait/, client(() => ({ writeStdin: async (_process, data) => data.length }))],
  "never settles lost": [/lost/, client(() => ({ lost: new Promise(() => {}) }))],
  "settles lost while connected": [/lost is open/, client(() => ({ lost: Promise.resolve(undefined) }))],
  "does not say why it was lost": [/with the reason/, client((honest) => ({ lost: honest.lost.then(() => undefined) }))],
  "leaves pending calls alone when it is lost": [
    /what is pending/,
    client((honest) => ({ readStdout: (...args) => honest.readStdout(...args).catch(() => new Promise<never>(() => {})) })),
  ],
  "goes on after close": [/ends pending calls/, client((honest) => ({ close: async () => {}, lost: honest.lost }))],
  "takes the containers with it at close": [
    /go on without a connection/,
    client((honest) => ({
      close: async () => {
        await honest.destroySandbox({ ...deaf, log: undefined as never }).catch(() => {});
        await honest.close();
      },
    })),
  ],
  "reports details out of bounds": [
    /in bounds/,
    client((honest) => ({ guestDetails: async (call) => ({ ...(await honest.guestDetails(call)), memoryBlockBytes: -1 }) })),
  ],
};

expectCaught(s, defects, (name, make, options) => agentSuite(name, make, options));

s.run();
