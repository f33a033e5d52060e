import { once } from "node:events";
import { chmod, rename, rm } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { TapvisorError } from "tapvisor/plugin";
import { checkSocketPath, type VmPaths } from "./paths.ts";

/** Where QEMU finds the sockets that it inherits; the descriptor before them is a saved state's. */
export const QMP_DESCRIPTOR = 4;
export const AGENT_DESCRIPTOR = 5;

/** The sockets that a QEMU without rights listens on; disposing closes ours, QEMU's stay. */
export interface ListeningSockets extends Disposable {
  /** The control socket's and the agent's, in the order of their descriptors in QEMU. */
  readonly descriptors: readonly [qmp: number, agent: number];
}

/**
 * Makes QEMU's sockets for it, mode 0600: it inherits them, and needs no path to them and no directory that it may write to. The run directory stays root's, and
 * what works there as root, log writers and removals, never meets a link that a broken QEMU has made.
 */
export async function listenForQemu(paths: VmPaths): Promise<ListeningSockets> {
  const servers: Server[] = [];
  const dispose = () => {
    for (const server of servers) server.close();
  };
  try {
    for (const path of [paths.qmp, paths.agent]) servers.push(await listenAt(path));
    const [qmp, agent] = servers.map(descriptorOf) as [number, number];
    return { descriptors: [qmp, agent], [Symbol.dispose]: dispose };
  } catch (error) {
    dispose();
    throw error;
  }
}

/** The name that a socket has until it is whole. Node removes that name when it closes its end, so the socket gets its own before. */
export const beforeNamed = (socket: string): string => socket.replace(/sock$/, "new");

async function listenAt(path: string): Promise<Server> {
  const first = beforeNamed(checkSocketPath(path));
  await rm(first, { force: true }); // one that a dead process has left
  const server = createServer((client) => client.destroy()); // nobody knows of it before QEMU has it
  try {
    server.listen(first);
    await once(server, "listening");
    await chmod(first, 0o600);
    await rename(first, path);
    return server;
  } catch (error) {
    server.close();
    throw error;
  }
}

/** Node gives a child the sockets that it reads and writes by themselves, those that it listens on only by their number, which it does not document. */
function descriptorOf(server: Server): number {
  const fd = (server as unknown as { readonly _handle?: { readonly fd?: unknown } })._handle?.fd;
  if (typeof fd === "number" && fd >= 0) return fd;
  throw new TapvisorError("INTERNAL", "Cannot hand QEMU its sockets: this Node does not tell a server's descriptor", { data: {} });
}
