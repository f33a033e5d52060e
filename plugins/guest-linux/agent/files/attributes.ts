import { chmod, chown, type FileHandle, lchown, lutimes, utimes } from "node:fs/promises";
import type { FileAttributesMessage, SetAttributesRequest } from "tapvisor/protocol";
import type { Agent } from "../agent.ts";
import { StatusError } from "../status.ts";
import type { RpcContext } from "../unary.ts";
import { pathOf } from "./flags.ts";
import { existing, withPlace } from "./place.ts";
import { notOfKernel } from "./regular.ts";

export type Attributes = FileAttributesMessage | null;

export async function setAttributes(agent: Agent, { place, attributes }: SetAttributesRequest, { signal }: RpcContext) {
  return withPlace(agent, place, { follow: false, change: true }, signal, async ({ found }) => {
    checkAttributes(attributes);
    const entry = existing(found, "entry");
    await notOfKernel(entry);
    if (found.stats?.isSymbolicLink()) await applyToLink(pathOf(found.parent, found.name), attributes);
    else await apply(entry, attributes);
    return {};
  });
}

/** Sets what is given of an entry that is no link. The owner comes first: a change of it takes the set-id bits away. */
export async function apply(entry: Pick<FileHandle, "fd">, attributes: Attributes): Promise<void> {
  if (!attributes) return;
  const path = pathOf(entry);
  if (attributes.has_owner) await chown(path, Number(attributes.uid), Number(attributes.gid));
  if (attributes.has_mode) await chmod(path, attributes.mode);
  if (attributes.has_modified) await utimes(path, new Date(), new Date(Number(attributes.modified_ms)));
}

/** A link has no mode. */
async function applyToLink(path: string, attributes: Attributes): Promise<void> {
  if (attributes?.has_owner) await lchown(path, Number(attributes.uid), Number(attributes.gid));
  if (attributes?.has_modified) await lutimes(path, new Date(), new Date(Number(attributes.modified_ms)));
}

const MOST_ID = 2 ** 32 - 2;
const MOST_MS = 8.64e15; // of a Date

/** @throws INVALID_ARGUMENT for what the system would not take. */
export function checkAttributes(attributes: Attributes): void {
  if (!attributes) return;
  const isId = (id: number) => Number.isInteger(id) && id >= -1 && id <= MOST_ID;
  if (attributes.mode > 0o7777) throw wrong("mode", attributes.mode, "at most 0o7777");
  for (const name of ["uid", "gid"] as const)
    if (!isId(Number(attributes[name]))) throw wrong(name, attributes[name], `at most ${MOST_ID}`);
  if (!(Math.abs(Number(attributes.modified_ms)) <= MOST_MS)) throw wrong("modified_ms", attributes.modified_ms, "a time");
}

function wrong(name: string, found: unknown, wanted: string): StatusError {
  return new StatusError("INVALID_ARGUMENT", `Cannot use the attribute ${name} ${found}: wanted ${wanted}`);
}
