import { join } from "node:path";
import { definePlugin, Mutex, validate } from "tapvisor/plugin";
import { z } from "zod";
import { inspectGuestHost } from "./image/inspect.ts";
import { AGENT_BUNDLE } from "./image/parts.ts";
import { type GuestSources, prepareGuest } from "./image/prepare.ts";

export interface GuestLinuxOptions {
  /** A kernel of your own, a bzImage or an ELF vmlinux; with `modules`. Debian's cloud kernel by default. */
  readonly kernel?: string | undefined;
  /** The directory of that kernel's modules, `/lib/modules/<release>` say; with `kernel`. */
  readonly modules?: string | undefined;
}

const optionsSchema = z.strictObject({ kernel: z.string().min(1).optional(), modules: z.string().min(1).optional() });

/**
 * A guest built from the host's own files: Debian's kernel, and an image of this machine's `node`, `crun`, `busybox` and `perl` with the agent of
 * this project. Guest `linux`.
 */
export const guestLinux = definePlugin<GuestLinuxOptions>("guest-linux", (ctx, options) => {
  const { kernel, modules } = validate(optionsSchema, options, "guest-linux");
  const sources: GuestSources = {
    places: { kernel, modules, systemRoot: "/", unpacked: join(ctx.cacheDirectory, "kernels") },
    agent: AGENT_BUNDLE,
    cache: join(ctx.cacheDirectory, "guest"),
  };
  const oneBuild = new Mutex(); // sandboxes created at once find what the first of them built
  ctx.provide("guest", "linux", () => ({
    inspectHost: (call) => inspectGuestHost(sources, call),
    async prepare(call, onProgress) {
      const report = onProgress ?? ((line: string) => call.log.info(line));
      const files = await oneBuild.run(() => prepareGuest(sources, call, report), call.signal);
      return {
        kernel: files.kernel,
        initrd: files.initrd,
        image: files.image,
        kernelParameters: [],
        agentPort: "agent.channel.0",
        virtioMem: true,
        cloneable: true,
      };
    },
  }));
});
