import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { checkId, type OciProcess } from "tapvisor/plugin";
import { processFromWire, type WireProcess } from "tapvisor/protocol";
import type { Agent } from "../agent.ts";
import { GuestProcess } from "../process/guest-process.ts";
import { openStreams } from "../process/open-streams.ts";
import { execInContainer, type ProcessStreams, runContainer } from "../runtime/crun.ts";
import { commandSearch } from "../runtime/find-command.ts";
import { StatusError } from "../status.ts";
import { checkProcess, killable } from "./bundle.ts";
import { killCgroup } from "./cgroup.ts";
import type { GuestContainer } from "./guest-container.ts";
import { withUserIds } from "./resolve-user.ts";

/** Runs the container: resolves when its own process runs. @throws as GuestProcess.start. */
export function startContainer(container: GuestContainer, signal: AbortSignal): Promise<void> {
  return container.turns.run(async () => {
    const { id, files, init } = container;
    if (!init) throw new StatusError("NOT_FOUND", `There is no container ${JSON.stringify(id)}`);
    container.need("start the container", "created"); // outside of what undoes a failed start: refusing a second one must not end the process that runs
    const logFile = join(files.directory, "log");
    const launch = {
      runtimeProgram: files.runtime.program,
      logFile,
      search: commandSearch(files.rootfs, container.config.process),
      run: (streams: ProcessStreams) => runContainer(files.runtime, id, files.directory, logFile, streams),
    };
    try {
      await init.start(launch, signal);
    } catch (error) {
      await killCgroup(files.cgroup); // a runtime that was stopped half-way may leave a process behind
      throw error;
    }
  }, signal);
}

/** Starts one more process in a running container. @throws ALREADY_EXISTS, FAILED_PRECONDITION, INVALID_ARGUMENT, and as GuestProcess.start. */
export async function startExec(
  agent: Agent,
  container: GuestContainer,
  execId: string,
  wire: WireProcess | null,
  signal: AbortSignal,
): Promise<void> {
  const id = checkId("exec_id", execId);
  const command = checkedProcess(wire);
  container.need("execute in the container", "running");
  const { files } = container;
  const process = new GuestProcess(await openStreams(agent, command));
  const [processFile, logFile] = [join(files.directory, `${id}.json`), join(files.directory, `${id}.log`)];
  try {
    container.addProcess(id, process);
  } catch (error) {
    process.discard();
    throw error;
  }
  try {
    await writeFile(processFile, JSON.stringify(killable(await withUserIds(command, files.rootfs))));
    await process.start(
      {
        runtimeProgram: files.runtime.program,
        logFile,
        search: commandSearch(files.rootfs, command),
        run: (streams) => execInContainer(files.runtime, container.id, processFile, logFile, streams),
      },
      signal,
    );
  } catch (error) {
    container.dropProcess(id);
    throw error;
  } finally {
    await Promise.all([processFile, logFile].map((path) => rm(path, { force: true }))); // a container may start any number of processes
  }
}

function checkedProcess(wire: WireProcess | null): OciProcess {
  if (!wire) throw new StatusError("INVALID_ARGUMENT", "Cannot execute in the container: the request has no process");
  const process = processFromWire(wire);
  checkProcess(process);
  if (JSON.stringify(process).includes("\\u0000"))
    throw new StatusError("INVALID_ARGUMENT", "Cannot use the process: it holds a NUL character");
  return process;
}
