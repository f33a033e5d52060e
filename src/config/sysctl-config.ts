import { z } from "zod";
import { textSchema } from "./validate.ts";

/** Of the IPC namespace, and of the UTS namespace. */
const OWN = new Set(
  ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced", "domainname"].map((name) => `kernel.${name}`),
);
const NAME = /^[a-z0-9_]+(\.[a-z0-9_-]+)+$/;

/** Kernel parameters that a container has of its own: those of its IPC and UTS namespaces. */
export const sysctlSchema = z
  .record(z.string(), textSchema.max(4096, "wanted at most 4096 characters"), 'wanted an object such as { "kernel.msgmax": "65536" }')
  .superRefine((given, context) => {
    for (const name of Object.keys(given)) {
      const why = refusal(name);
      if (why !== undefined) context.addIssue({ code: "custom", message: why, path: [name] });
    }
  })
  .default({});

function refusal(name: string): string | undefined {
  if (!NAME.test(name)) return 'wanted a name with dots such as "kernel.msgmax"';
  if (OWN.has(name) || name.startsWith("fs.mqueue.")) return undefined;
  if (name === "kernel.hostname") return "wanted the option hostname in its place";
  if (name.startsWith("net.")) return "wanted none of the network: the containers of a sandbox share the network of its VM";
  return "wanted one that is the container's own (kernel.msg*, kernel.sem, kernel.shm*, kernel.domainname, fs.mqueue.*): this one is the whole VM's";
}
