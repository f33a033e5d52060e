import { type AgentClient, isTapvisorError, TapvisorError } from "tapvisor/plugin";
import { agentSuite } from "tapvisor/testing";
import { suite } from "../../support/suite.ts";
import { client, deaf, type MakeAgent } from "./amend-agent.ts";
import { type Defects, expectCaught } from "./expect-caught.ts";

const s = suite("agentSuite against agents that are bad with processes and terminals");

const failed = (method: string, status: string) => new TapvisorError("AGENT_FAILED", "no", { data: { method, status } });
/** Unless the agent refused with this status. */
const forgiving =
  (status: string) =>
  (work: Promise<void>): Promise<void> =>
    work.catch((error: unknown) => {
      if (!isTapvisorError(error) || Reflect.get(error.data, "status") !== status) throw error;
    });
const exec = (amend: (honest: AgentClient) => AgentClient["execProcess"]) => client((honest) => ({ execProcess: amend(honest) }));

const execs: Defects<MakeAgent> = {
  "has one input for all processes of a container": [
    /streams and an exit code of its own/,
    client((honest) => ({ writeStdin: ({ container }, ...rest) => honest.writeStdin({ container, exec: container }, ...rest) })),
  ],
  "gives the container's exit code for all of its processes": [
    /streams and an exit code of its own/,
    client((honest) => ({ waitProcess: ({ container }, call) => honest.waitProcess({ container, exec: container }, call) })),
  ],
  "throws away what an ended process has written": [
    /can be read when it has ended/,
    client((honest) => {
      const ended = new Set<string>();
      return {
        waitProcess: async (process, call) => {
          const code = await honest.waitProcess(process, call);
          ended.add(process.exec);
          return code;
        },
        readStdout: async (process, ...rest) => (ended.has(process.exec) ? new Uint8Array(0) : honest.readStdout(process, ...rest)),
      };
    }),
  ],
  "starts what does not exist beside a container's own": [
    /beside the container's own that/,
    exec(
      (honest) =>
        (...args) =>
          honest.execProcess(...args).catch(() => {}),
    ),
  ],
  "keeps the id of a process that could not be started": [
    /its id is free/,
    client((honest) => {
      const taken = new Set<string>();
      return {
        execProcess: async (process, ...rest) => {
          if (taken.has(process.exec)) throw failed("ExecProcess", "ALREADY_EXISTS");
          taken.add(process.exec);
          await honest.execProcess(process, ...rest);
        },
      };
    }),
  ],
  "takes the place of a process of the same id": [
    /second process of an id/,
    exec((honest) => async (process, spec, call) => forgiving("ALREADY_EXISTS")(honest.execProcess(process, spec, call))),
  ],
  "says that it started a process in a container that does not run": [
    /only a container that runs/,
    exec(
      (honest) =>
        (...args) =>
          forgiving("FAILED_PRECONDITION")(honest.execProcess(...args)),
    ),
  ],
  "signals every process of a container for one": [
    /leaves the others/,
    client((honest) => ({ signalProcess: (process, signal, _, call) => honest.signalProcess(process, signal, true, call) })),
  ],
  "signals the container's own process for all of them": [
    /reaches each/,
    client((honest) => {
      const ended = new Set<string>();
      return {
        signalProcess: async (process, signal, all, call) => {
          if (all) ended.add(process.container);
          await honest.signalProcess(process, signal, all, call);
        },
        waitProcess: (process, call) =>
          process.exec !== process.container && ended.has(process.container)
            ? new Promise<never>(() => {})
            : honest.waitProcess(process, call),
      };
    }),
  ],
  "leaves processes when the container's own has ended": [
    /end with its own/,
    client((honest) => ({
      waitProcess: (process, call) =>
        process.exec === process.container ? honest.waitProcess(process, call) : new Promise<never>(() => {}),
    })),
  ],
  "pauses only the container's own process": [
    /stops every process/,
    client(() => ({ pauseContainer: async () => {}, resumeContainer: async () => {} })),
  ],
  "starts a process although the signal had fired": [
    /execProcess\(\) with a signal/,
    exec((honest) => async (process, spec, call) => {
      await honest.execProcess(process, spec, { ...call, ...deaf });
      call.signal.throwIfAborted();
    }),
  ],
};

const terminals: Defects<MakeAgent> = {
  "gives no terminal": [
    /comes out of its stdout/,
    exec(
      (honest) =>
        (process, spec, ...rest) =>
          honest.execProcess(process, { ...spec, terminal: false }, ...rest),
    ),
  ],
  "answers a read of stderr with what the terminal shows": [/its stderr is empty/, client((honest) => ({ readStderr: honest.readStdout }))],
  "takes Ctrl-C for a byte": [
    /Ctrl-C is a SIGINT/,
    client((honest) => ({
      writeStdin: async (process, data, call) => (data[0] === 3 ? data.length : honest.writeStdin(process, data, call)),
    })),
  ],
  "ends what runs in a terminal when its input is closed": [
    /leaves a terminal open/,
    client((honest) => ({ closeStdin: (process, call) => honest.signalProcess(process, 9, false, call) })),
  ],
  "forgets the first size": [
    /the size it is started with/,
    exec(
      (honest) =>
        (process, { consoleSize: _, ...spec }, call) =>
          honest.execProcess(process, spec, call),
    ),
  ],
  "does not resize": [/the size it is given/, client(() => ({ resizeTty: async () => {} }))],
  "mixes up rows and columns": [
    /the size it is given/,
    client((honest) => ({
      resizeTty: (process, { rows, columns }, call) => honest.resizeTty(process, { rows: columns, columns: rows }, call),
    })),
  ],
  "says that it resized what is no terminal": [
    /without a terminal has no size/,
    client((honest) => ({ resizeTty: (...args) => forgiving("FAILED_PRECONDITION")(honest.resizeTty(...args)) })),
  ],
  "takes every size": [
    /no rows, or of more/,
    client((honest) => ({ resizeTty: (...args) => forgiving("INVALID_ARGUMENT")(honest.resizeTty(...args)) })),
  ],
};

const lists: Defects<MakeAgent> = {
  "lists the container's own process only": [
    /has each process that runs/,
    client((honest) => ({ listProcesses: async (...args) => (await honest.listProcesses(...args)).slice(0, 1) })),
  ],
  "lists the processes of all containers": [
    /no other container's/,
    client((honest) => ({
      listProcesses: async (_, call) => [...(await honest.listProcesses("other", call)), ...(await honest.listProcesses("web", call))],
    })),
  ],
  "lists pids that nobody counts like that": [
    /has each process that runs/,
    client((honest) => ({
      listProcesses: async (...args) => (await honest.listProcesses(...args)).map((each) => ({ ...each, pid: each.pid + 100 })),
    })),
  ],
  "lists a size that is no number": [
    /has each process that runs/,
    client((honest) => ({
      listProcesses: async (...args) => (await honest.listProcesses(...args)).map((each) => ({ ...each, residentBytes: Number.NaN })),
    })),
  ],
  "lists what has ended": [
    /has ended is empty/,
    client((honest) => {
      let last: Awaited<ReturnType<AgentClient["listProcesses"]>> = [];
      return {
        waitProcess: async (process, call) => {
          last = await honest.listProcesses(process.container, call);
          return honest.waitProcess(process, call);
        },
        listProcesses: async (id, call) => [...last, ...(await honest.listProcesses(id, call))],
      };
    }),
  ],
  "lists nothing for what it does not know": [
    /unknown NOT_FOUND/,
    client((honest) => ({
      listProcesses: async (...args) => {
        try {
          return await honest.listProcesses(...args);
        } catch {
          return [];
        }
      },
    })),
  ],
};

expectCaught(s, { ...execs, ...terminals, ...lists }, (name, make, options) => agentSuite(name, make, options));

s.run();
