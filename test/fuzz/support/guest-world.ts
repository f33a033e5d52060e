import { EventEmitter } from "node:events";
import { chmod, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Metadata, type sendUnaryData, type UntypedServiceImplementation } from "@grpc/grpc-js";
import * as assert from "uvu/assert";
import { type Agent, createAgent } from "../../../plugins/guest-linux/agent/agent.ts";
import { watchDelivery } from "../../../plugins/guest-linux/agent/delivery.ts";
import type { GuestPaths } from "../../../plugins/guest-linux/agent/guest-paths.ts";
import { lateModules } from "../../../plugins/guest-linux/agent/modules.ts";
import { FifoPool } from "../../../plugins/guest-linux/agent/process/fifo-pool.ts";
import { destroySandbox } from "../../../plugins/guest-linux/agent/rpc/destroy-sandbox.ts";
import { type RunTool, toolRunner } from "../../../plugins/guest-linux/agent/runtime/run-tool.ts";
import { agentService, guestService } from "../../../plugins/guest-linux/agent/service.ts";
import { tempDirectory } from "../../support/temp.ts";

/** How long a call may go on before its client gives up, ms: many of these wait for what never comes, the others begin a process at most. */
const patienceFor = (method: string) => (/Wait|Read|Write|Sync|Online|Disk/.test(method) ? 20 : 1000);
/** How long a call may take to end then, ms. */
const ENDS_MS = 5_000;

/** The handlers of the guest's agent with a directory in the place of a guest: what they would have mounted or run is only looked at. */
export interface GuestWorld extends AsyncDisposable {
  /** The directory that is the guest. */
  readonly guest: string;
  readonly defects: readonly string[];
  /** Hands a request to a handler and answers the status, 0 for success. @throws when the handler ends in no status. */
  call(service: string, method: string, request: unknown): Promise<number>;
  /** Asserts that nothing outside of the guest has changed, and nothing in it but where the agent may. */
  assertUntouched(): Promise<void>;
}

const CANARY = "untouched";
/** What an agent may have in its guest, here. */
const PARTS = ["own", "kata", "tapvisor", "cgroups", "sys", "dev", "hostname", "proc", "mounts", "crun"];

/** Whatever the command is, the process is one that soon ends. */
const CRUN = `#!/bin/sh
while [ $# -gt 0 ]; do
  [ "$1" = --pid-file ] && file=$2
  shift
done
sleep 0.05 &
echo $! >"$file"
wait
`;

export async function guestWorld(): Promise<GuestWorld> {
  const directory = await tempDirectory();
  const guest = join(directory.path, "guest");
  const at = (name: string) => join(guest, name);
  const paths: GuestPaths = {
    own: at("own"),
    open: [at("kata"), at("tapvisor")],
    cgroups: at("cgroups"),
    sys: at("sys"),
    dev: at("dev"),
    crun: at("crun"),
    busybox: "/bin/false",
    perl: "/bin/false",
    resolvConf: at("resolv.conf"),
    hostnameFile: at("hostname"),
    machineId: at("machine-id"),
    image: at("image"),
    offeredImage: at("tapvisor/image"),
    mounts: at("mounts"),
    proc: at("proc"),
    modules: at("modules.json"),
  };
  await mkdir(join(directory.path, "canary"), { recursive: true });
  await mkdir(at("tapvisor/c/rootfs"), { recursive: true });
  for (const name of ["cgroups", "dev", "proc", "sys/devices/system/cpu/cpu0", "sys/class/net"]) await mkdir(at(name), { recursive: true });
  await writeFile(join(directory.path, "canary/file"), CANARY);
  await writeFile(at("proc/meminfo"), "MemTotal: 1000 kB\nMemAvailable: 500 kB\n");
  await writeFile(at("dev/urandom"), "");
  await writeFile(at("proc/uptime"), "1.00 1.00\n");
  await writeFile(paths.mounts, "");
  await writeFile(paths.crun, CRUN);
  await chmod(paths.crun, 0o755);

  const defects: string[] = [];
  const log = { warn: () => {}, error: (message: string) => void defects.push(message) };
  const agent: Agent = withTools(createAgent(paths, log), paths, log);
  const delivery = watchDelivery();
  const services: Readonly<Record<string, UntypedServiceImplementation>> = {
    "grpc.AgentService": agentService(agent, delivery),
    "tapvisor.Guest": guestService(agent, delivery),
  };
  return {
    guest,
    defects,
    call: (service, method, request) => {
      const handler = services[service]?.[method] as ((call: unknown, done: sendUnaryData<unknown>) => void) | undefined;
      return handler ? settled(method, handler, request) : Promise.resolve(12);
    },
    async assertUntouched() {
      assert.equal(await readdir(directory.path), ["canary", "guest"]);
      assert.equal(await readdir(join(directory.path, "canary")), ["file"]);
      assert.is(await readFile(join(directory.path, "canary/file"), "utf8"), CANARY);
      for (const name of await readdir(guest)) assert.ok(PARTS.includes(name), `the guest has ${JSON.stringify(name)}`);
    },
    async [Symbol.asyncDispose]() {
      await destroySandbox(agent);
      await directory[Symbol.asyncDispose]();
    },
  };
}

function withTools(agent: Agent, paths: GuestPaths, log: Agent["log"]): Agent {
  const busybox = checkedTool(paths);
  return {
    ...agent,
    busybox,
    crun: async () => "",
    fifos: new FifoPool(`${paths.own}/fifos`, busybox),
    modules: lateModules(paths.modules, busybox, log),
  };
}

const run = toolRunner("/usr/bin/env");

/** Makes named pipes; says that it has mounted what it was told to, when that is where it may be. */
function checkedTool({ own, open }: GuestPaths): RunTool {
  const inside = (path: string) =>
    assert.ok([own, ...open].some((each) => `${path}/`.startsWith(`${each}/`)) && !/\/\.\.?(\/|$)/.test(path), path);
  return async (args, signal) => {
    if (args[0] === "mkfifo") return run(args, signal);
    for (const [index, word] of args.entries()) {
      if (word === "enter" || word === "directory") inside(args[index + 1] ?? "");
      if (word === "mount" && args[0] === "sh") inside(args[index + 4] ?? "");
    }
    return "";
  };
}

/** The status of a call whose client gives up after a while. */
function settled(method: string, handler: (call: unknown, done: sendUnaryData<unknown>) => void, request: unknown): Promise<number> {
  const call = Object.assign(new EventEmitter(), { request, metadata: new Metadata(), getPath: () => method });
  const patienceMs = patienceFor(method);
  return new Promise((resolve, reject) => {
    const patience = setTimeout(() => call.emit("cancelled"), patienceMs);
    const hung = setTimeout(
      () => reject(new Error(`${method} has no status ${ENDS_MS} ms after its client gave up`)),
      patienceMs + ENDS_MS,
    );
    handler(call, (error) => {
      clearTimeout(patience);
      clearTimeout(hung);
      call.emit("cancelled");
      if (error === null || error === undefined) return resolve(0);
      const { code, details = "" } = error as { code?: number; details?: string };
      if (typeof code !== "number" || details.length > 4096) return reject(new Error(`${method} ended with ${code}: ${details}`));
      resolve(code);
    });
  });
}
