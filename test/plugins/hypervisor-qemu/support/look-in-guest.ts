import { readFile } from "node:fs/promises";
import type { AgentClient, OciSpec } from "tapvisor/plugin";
import { quietCall } from "tapvisor/testing";

const call = () => quietCall({ timeoutMs: 60_000 });
const LOOK = "/run/tapvisor/look";
const HOOKS = "/run/tapvisor/hooks";
/** A hook runs in the guest, outside of its container, which shows what it found. The state that it is given is not looked at. */
const HOOK = `#!/bin/sh
cat > /dev/null
{
  echo "machine $(cat /etc/machine-id 2>/dev/null)"
  echo "host $(cat /proc/sys/kernel/hostname)"
  echo "boot $(cat /proc/sys/kernel/random/boot_id)"
  echo "random $(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \\n')"
  sed 's/^/mount /' /proc/1/mounts
  find /run /tmp /dev/shm /dev/mqueue /sys/fs/cgroup -type d | sed 's/^/directory /'
  find /run /tmp /dev/shm /dev/mqueue ! -type d | sed 's/^/file /'
  for each in /proc/[0-9]*; do echo "process $(tr '\\0\\n' '  ' < $each/cmdline 2>/dev/null)"; done
} > ${LOOK}/found
`;

/** What a guest without a sandbox shows of itself, a line for each; what this look needs is the same each time. */
export async function lookInGuest(client: AgentClient): Promise<{ readonly lines: readonly string[]; of(what: string): string }> {
  const text = await withLookingContainer(client, ["cat", "/found"], async (read) => read());
  // Those of its own processes have these in their command lines; those of the kernel have none, and come and go. Its pipes
  // are made, and drivers loaded, while it looks.
  const passing = /^(process ($|.*(look|crun|found|sed |find |insmod))|file .*\/fifos\/)/;
  const lines = text.split("\n").filter((line) => line !== "" && !passing.test(line));
  return { lines: lines.sort(), of: (what) => lines.find((line) => line.startsWith(`${what} `))?.slice(what.length + 1) ?? "" };
}

/** How far the guest's clock can be from this host's at most and at least, ms: behind is negative. The narrowest of several. */
export async function clockOffset(client: AgentClient): Promise<{ readonly ms: number; readonly plusMinusMs: number }> {
  const loop = "while read -r line; do echo $EPOCHREALTIME; done";
  let best = { ms: Number.NaN, plusMinusMs: Number.POSITIVE_INFINITY };
  await withLookingContainer(client, ["sh", "-c", loop], async () => {
    const process = { container: "look", exec: "look" };
    for (let time = 0; time < 8; time++) {
      const sent = performance.now();
      await client.writeStdin(process, Buffer.from("\n"), call());
      const said = Buffer.from(await client.readStdout(process, 100, call())).toString();
      const took = performance.now() - sent;
      const middle = Date.now() - took / 2;
      if (took / 2 < best.plusMinusMs) best = { ms: Number(said) * 1000 - middle, plusMinusMs: took / 2 };
    }
    await client.closeStdin(process, call());
    return "";
  });
  return best;
}

/** The clients whose guests have what a look needs. */
const equipped = new WeakSet<AgentClient>();

async function withLookingContainer<T>(
  client: AgentClient,
  args: readonly string[],
  use: (read: () => Promise<string>) => Promise<T>,
): Promise<T> {
  const file = { uid: 0, gid: 0, mode: 0o755, directoryMode: 0o755 };
  if (!equipped.has(client)) {
    const busybox = await readFile("/bin/busybox");
    await client.copyFile({ ...file, path: `${LOOK}/bin/busybox`, bytes: busybox.length }, [busybox], call());
    await client.copyFile({ ...file, path: `${HOOKS}/prestart/look`, bytes: Buffer.byteLength(HOOK) }, [Buffer.from(HOOK)], call());
    equipped.add(client);
  }
  await client.createSandbox({ hostname: "", sandbox: "look", storages: [], guestHookPath: HOOKS }, call());
  try {
    await client.syncResources({}, call()); // waits for the drivers that are loaded after the sandbox's creation
    const process = { container: "look", exec: "look" };
    await client.createContainer({ container: "look", storages: [], spec: specOf(["/bin/busybox", ...args]) }, call());
    await client.startContainer("look", call());
    const read = async () => {
      let text = "";
      for (;;) {
        const bytes = await client.readStdout(process, 1 << 16, call());
        if (bytes.length === 0) return text;
        text += Buffer.from(bytes).toString();
      }
    };
    const result = await use(read);
    await client.waitProcess(process, call());
    return result;
  } finally {
    await client.destroySandbox(call());
  }
}

function specOf(args: readonly string[]): OciSpec {
  const none = { bounding: [], effective: [], permitted: [], inheritable: [], ambient: [] };
  return {
    ociVersion: "1.1.0",
    root: { path: LOOK, readonly: false },
    process: { terminal: false, user: { uid: 0, gid: 0 }, args, env: [], cwd: "/", capabilities: none, noNewPrivileges: true },
    mounts: ["proc", "dev"].map((name) => ({
      destination: `/${name}`,
      type: name === "dev" ? "tmpfs" : name,
      source: name,
      options: [],
    })),
    linux: { namespaces: [{ type: "ipc" }, { type: "mount" }], maskedPaths: [], readonlyPaths: [] },
  };
}
