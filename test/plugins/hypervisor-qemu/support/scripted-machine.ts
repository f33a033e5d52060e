import type { Socket } from "node:net";
import { identifyProcess, type PlannedCommand } from "tapvisor/plugin";
import { Machine } from "../../../../plugins/hypervisor-qemu/machine.ts";
import { answer, event, fakeQmp, type Request } from "./fake-qmp.ts";

/** What a VM that exists in a script alone does with the commands that change it. */
export interface ScriptedMachine extends AsyncDisposable {
  readonly machine: Machine;
  /** The commands that change something, in the order of their arrival, refused ones included. */
  readonly changes: PlannedCommand[];
  /** The ids of what is in it: devices, block nodes, character devices, network backends. */
  readonly world: Set<string>;
}

/** Takes one change instead of the world, which then is as it was: refuse it, let it hang, or do it in another way. */
export type Intercept = (request: Request, socket: Socket, change: () => void) => boolean;

/** A QEMU that does what it is told, unless `intercept` takes the command: devices go as soon as they are asked to. */
export async function scriptedMachine(intercept: Intercept = () => false): Promise<ScriptedMachine> {
  const world = new Set<string>();
  const changes: PlannedCommand[] = [];
  const server = await fakeQmp((request, socket) => {
    const { execute: command, arguments: args } = request;
    if (command === "qom-list") {
      const devices = [...world].filter((key) => key.startsWith(DEVICE));
      const names = devices.map((key) => ({ name: key.slice(DEVICE.length) }));
      return answer(socket, request, names);
    }
    if (command === "qom-get") return answer(socket, request, SLOT << 3);
    changes.push({ command, arguments: args as PlannedCommand["arguments"] });
    const change = () => apply(world, request, socket);
    if (!intercept(request, socket, change)) change();
  });
  const identity = await identifyProcess(process.pid);
  if (!identity) throw new Error("this process runs");
  const machine = new Machine("nonce", identity, { qmp: server.path, agent: "/none", console: "/none", stderr: "/none", state: "/none" });
  return {
    machine,
    changes,
    world,
    async [Symbol.asyncDispose]() {
      await machine.detach();
      await server[Symbol.asyncDispose]();
    },
  };
}

/** QEMU's answer to what it does not do. */
export function refuseWith(socket: Socket, { id }: Request, desc: string, name = "GenericError"): void {
  socket.write(`${JSON.stringify({ error: { class: name, desc }, id })}\r\n`);
}

const DEVICE = "device ";
/** Where each device is on its bus. */
const SLOT = 5;
const KINDS: Readonly<Record<string, string>> = { device: "device", blockdev: "node", chardev: "chardev", netdev: "netdev" };
const ABSENT: Readonly<Record<string, (id: string) => readonly [desc: string, name: string]>> = {
  device: (id) => [`Device '${id}' not found`, "DeviceNotFound"],
  node: (id) => [`Failed to find node with node-name='${id}'`, "GenericError"],
  chardev: (id) => [`Chardev '${id}' not found`, "GenericError"],
  netdev: (id) => [`Device '${id}' not found`, "DeviceNotFound"],
};

function apply(world: Set<string>, request: Request, socket: Socket): void {
  const { id: name, "node-name": node } = request.arguments;
  const id = String(name ?? node);
  const [noun = "", verb] = request.execute.split(/[-_]/);
  const kind = KINDS[noun] ?? noun;
  const key = `${kind} ${id}`;
  if (verb === "add" ? world.has(key) : !world.has(key)) {
    const [desc, of] = verb === "add" ? [`Duplicate ${key}`, "GenericError"] : (ABSENT[kind]?.(id) ?? []);
    refuseWith(socket, request, desc ?? "", of);
    return;
  }
  if (verb === "add") world.add(key);
  else world.delete(key);
  answer(socket, request, {});
  if (kind === "device" && verb === "del") event(socket, "DEVICE_DELETED", { device: id, path: `/machine/peripheral/${id}` });
}
