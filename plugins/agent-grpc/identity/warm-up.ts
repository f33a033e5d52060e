import { constants } from "node:os";
import type { AgentClient, Call, GuestContainer, OciSpec } from "tapvisor/plugin";
import { guestServiceDefinition as rpc } from "tapvisor/protocol";
import { wrong } from "../answers.ts";
import { guestText } from "../guest-text.ts";
import type { Send } from "../sender.ts";

const CONTAINER = "warm-up";
const DIRECTORY = `/run/tapvisor/${CONTAINER}`;
const EMPTY = {};
/** More than one, since the first run of a function is read only, and the second compiled. */
const ROUNDS = 2;

/**
 * Has the guest run a container of its own files through what a first container needs. Each verb is the client's own, so what is warmed is what will be used.
 *
 * @throws AGENT_FAILED ALREADY_EXISTS when there is a sandbox; what the verbs throw. What had been made is taken away then too.
 */
export async function warmUp(client: AgentClient, send: Send, call: Call): Promise<void> {
  await client.createSandbox({ hostname: "", sandbox: CONTAINER, storages: [] }, call); // the guest keeps its name
  try {
    const { path } = await send("OfferImage", rpc.OfferImage, EMPTY, call);
    if (!path.startsWith("/run/")) throw wrong("place of the guest's files", guestText(path, 256), "a path below /run/");
    for (let round = 0; round < ROUNDS; round++) await runOne(client, path, call);
    await Promise.all([client.guestDetails(call), client.syncResources({}, call)]);
  } finally {
    const fresh = { log: call.log, signal: AbortSignal.timeout(UNDO_MS) }; // the caller's may have fired
    await client.destroySandbox(fresh);
    await send("WithdrawImage", rpc.WithdrawImage, EMPTY, fresh);
  }
}

/** How long the guest may take to be as it was, ms. */
const UNDO_MS = 30_000;

async function runOne(client: AgentClient, image: string, call: Call): Promise<void> {
  const process = { container: CONTAINER, exec: CONTAINER };
  const spec = specOf(["/bin/sh", "-c", "read -r line; echo $line; echo $line >&2; sleep 600"]);
  await client.createContainer(containerOf(image, spec), call);
  const output = await client.openOutput?.(process, "stdout", call);
  const errors = await client.openOutput?.(process, "stderr", call);
  const input = await client.openInput?.(process, call);
  await client.startContainer(CONTAINER, call);
  const ended = client.waitProcess(process, call);
  ended.catch(() => {});
  if (input) await input.write(Buffer.from("warm\n"), call.signal);
  else await client.writeStdin(process, Buffer.from("warm\n"), call);
  for (const [stream, read] of [
    [output, client.readStdout],
    [errors, client.readStderr],
  ] as const) {
    const bytes = stream ? await stream.read(call.signal) : await read(process, 4096, call);
    stream?.taken(bytes.length);
  }
  await Promise.all([client.statsContainer(CONTAINER, call), client.listProcesses(CONTAINER, call)]);
  await runExec(client, spec, call);
  await client.signalProcess(process, constants.signals.SIGKILL, true, call);
  await ended;
  for (const stream of [output, errors, input]) stream?.close();
  await client.removeContainer(CONTAINER, call);
}

async function runExec(client: AgentClient, spec: OciSpec, call: Call): Promise<void> {
  const process = { container: CONTAINER, exec: "more" };
  await client.execProcess(process, { ...spec.process, args: ["/bin/echo", "warm"] }, call);
  const output = await client.openOutput?.(process, "stdout", call);
  for (;;) {
    const bytes = output ? await output.read(call.signal) : await client.readStdout(process, 4096, call);
    if (bytes.length === 0) break;
    output?.taken(bytes.length);
  }
  await client.waitProcess(process, call);
  output?.close();
}

/** Layered as a container's rootfs is. */
function containerOf(image: string, spec: OciSpec): GuestContainer {
  const layer = `${DIRECTORY}/layer`;
  const options = [`lowerdir=${image}`, `upperdir=${layer}/upper`, `workdir=${layer}/work`];
  const storages = [{ driver: "overlayfs", source: "overlay", fstype: "overlay", options, mountPoint: `${DIRECTORY}/rootfs` }];
  return { container: CONTAINER, storages, spec };
}

function specOf(args: readonly string[]): OciSpec {
  const mount = (destination: string, type: string, ...options: string[]) => ({ destination, type, source: type, options });
  return {
    ociVersion: "1.1.0",
    hostname: CONTAINER,
    root: { path: `${DIRECTORY}/rootfs`, readonly: false },
    process: {
      terminal: false,
      user: { uid: 0, gid: 0 },
      args,
      env: ["PATH=/bin"],
      cwd: "/",
      capabilities: { bounding: [], effective: [], permitted: [], inheritable: [], ambient: [] },
      noNewPrivileges: true,
    },
    mounts: [
      mount("/proc", "proc", "nosuid", "noexec", "nodev"),
      mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
      mount("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"),
      mount("/dev/shm", "tmpfs", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),
      mount("/dev/mqueue", "mqueue", "nosuid", "noexec", "nodev"),
      mount("/sys", "sysfs", "nosuid", "noexec", "nodev", "ro"),
    ],
    linux: { namespaces: [{ type: "ipc" }, { type: "uts" }, { type: "mount" }], maskedPaths: [], readonlyPaths: [] },
  };
}
