import type { FileEventsMessage, FileWatchRequest, PlaceRequest, WatchDirectoryResponse } from "tapvisor/protocol";
import { type Agent, findContainer } from "../agent.ts";
import { randomHex } from "../random.ts";
import type { RpcContext } from "../unary.ts";
import { DirectoryWatch } from "./directory-watch.ts";
import { FileError } from "./file-error.ts";
import { pathOf } from "./flags.ts";
import { existing, withPlace } from "./place.ts";

export async function watchDirectory(
  agent: Agent,
  { place }: PlaceRequest,
  { signal, onUndelivered }: RpcContext,
): Promise<WatchDirectoryResponse> {
  return withPlace(agent, place, { follow: true }, signal, async ({ container, found }) => {
    const entry = existing(found, "entry");
    if (!found.stats?.isDirectory()) throw new FileError("ENOTDIR", "Cannot watch what is no directory: wanted the one that holds it");
    const watch = randomHex(16);
    const made = new DirectoryWatch(pathOf(entry));
    try {
      container.fileWork.keep(watch, made);
    } catch (error) {
      await made.close();
      throw error;
    }
    const giveUp = () => {
      container.fileWork.drop(watch);
      void made.close();
    };
    made.onIdle(giveUp);
    onUndelivered(giveUp);
    const { init } = container;
    if (init && init.state !== "ended") void init.ended.then(() => made.end());
    return { watch };
  });
}

/** What has happened since the call before; waits for something. */
export async function nextFileEvents(
  agent: Agent,
  request: FileWatchRequest,
  { signal, onUndelivered }: RpcContext,
): Promise<FileEventsMessage> {
  const { fileWork } = findContainer(agent, request.container_id);
  const watch = fileWork.kept(request.watch);
  if (!(watch instanceof DirectoryWatch))
    throw new FileError("EBADF", "Cannot wait for events: there is no such watch, or it has been given up");
  const taken = await watch.next(signal);
  onUndelivered(() => watch.giveBack(taken.events));
  return taken;
}

/** One that is not there has been given up already. */
export async function unwatchDirectory(agent: Agent, { container_id, watch }: FileWatchRequest) {
  const fileWork = agent.containers.get(container_id)?.fileWork;
  const kept = fileWork?.kept(watch);
  if (kept instanceof DirectoryWatch) {
    fileWork?.drop(watch);
    await kept.close();
  }
  return {};
}
