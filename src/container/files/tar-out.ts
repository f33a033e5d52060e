import { posix } from "node:path";
import { Readable } from "node:stream";
import { createTarPacker, type TarHeader, type TarPackController } from "modern-tar";
import { TapvisorError, toError } from "../../base/errors.ts";
import { FILE_PIECE_BYTES, type FileEntry } from "../../contracts/agent-files.ts";
import type { FileAccess } from "./access.ts";
import { ahead } from "./ahead.ts";
import { pagesOf } from "./list.ts";
import { piecesOf } from "./read.ts";

/** So many requests at once keep the guest busy while answers travel. */
const AT_ONCE = 8;
/** Deeper is no directory that a person has made; the guest's walk ends here too. */
const MAX_DEPTH = 256;

export interface TarOptions {
  readonly signal?: AbortSignal;
}

/** A directory of the container, or one file, as a tar archive. FIFOs, sockets and devices are left out. */
export function tarOut(access: FileAccess, path: string, { signal }: TarOptions): Readable {
  const { readable, controller } = createTarPacker();
  const stopped = new AbortController();
  const stream = Readable.fromWeb(readable as never, { highWaterMark: FILE_PIECE_BYTES });
  stream.once("close", () => stopped.abort());
  pack(access, path, controller, signal ? AbortSignal.any([signal, stopped.signal]) : stopped.signal).then(
    () => controller.finalize(),
    (error) => controller.error(toError(error)),
  );
  return stream;
}

async function pack(access: FileAccess, path: string, archive: TarPackController, signal: AbortSignal): Promise<void> {
  const top = await access.ask({ what: `the look at ${JSON.stringify(path)}`, signal }, (files, call) =>
    files.stat(access.place(path), { follow: true }, call),
  );
  const names = new Map<string, string>(); // of files with several names, by identity
  if (top.type === "directory") return packDirectory({ access, base: path, archive, signal, names }, "", 0);
  const scope = { access, base: posix.dirname(path), archive, signal, names };
  await addEntry(scope, posix.basename(path), await withContent(scope, posix.basename(path), { ...top, name: posix.basename(path) }));
}

interface PackScope {
  readonly access: FileAccess;
  readonly base: string;
  readonly archive: TarPackController;
  readonly signal: AbortSignal;
  readonly names: Map<string, string>;
}

async function packDirectory(scope: PackScope, directory: string, depth: number): Promise<void> {
  if (depth >= MAX_DEPTH) {
    throw new TapvisorError("FILE_FAILED", `Cannot pack ${JSON.stringify(directory)}: it is deeper than ${MAX_DEPTH} directories`, {
      data: { path: directory, errno: "ENAMETOOLONG" },
    });
  }
  for await (const page of pagesOf(scope.access, `/${directory}`, scope.signal, scope.base)) {
    const inDirectory = (entry: FileEntry) => (directory === "" ? entry.name : `${directory}/${entry.name}`);
    for await (const entry of ahead(page, AT_ONCE, (each) => withContent(scope, inDirectory(each), each))) {
      await addEntry(scope, inDirectory(entry), entry);
      if (entry.type === "directory") await packDirectory(scope, inDirectory(entry), depth + 1);
    }
  }
}

/** An entry and what one request says of it: a small file's bytes, a link's target. */
type Content = FileEntry & { readonly data?: Uint8Array };

async function withContent({ access, base, signal, names }: PackScope, name: string, entry: FileEntry): Promise<Content> {
  const place = access.place(`/${name}`, base);
  if (entry.type === "link") {
    const what = `the look at ${JSON.stringify(name)}`;
    const { target } = await access.ask({ what, signal }, (files, call) => files.stat(place, { follow: false }, call));
    return { ...entry, target: target ?? "" };
  }
  if (entry.type !== "file" || entry.size === 0 || entry.size > FILE_PIECE_BYTES || names.has(entry.identity)) return entry;
  const range = { offset: 0, length: entry.size, identity: entry.identity };
  const { data } = await access.ask({ what: `the reading of ${JSON.stringify(name)}`, signal }, (files, call) =>
    files.read(place, range, call),
  );
  return { ...entry, data };
}

async function addEntry({ access, base, archive, signal, names }: PackScope, name: string, entry: Content): Promise<void> {
  const { mode, uid, gid, modifiedMs } = entry;
  const common = { mode, uid, gid, mtime: new Date(Math.max(0, modifiedMs)) };
  if (entry.type === "directory") return addEmpty(archive, { ...common, name: `${name}/`, type: "directory", size: 0 });
  if (entry.type === "link") return addEmpty(archive, { ...common, name, type: "symlink", linkname: entry.target ?? "", size: 0 });
  if (entry.type !== "file") return;
  const first = entry.links > 1 ? names.get(entry.identity) : undefined;
  if (first !== undefined) return addEmpty(archive, { ...common, name, type: "link", linkname: first, size: 0 });
  if (entry.links > 1) names.set(entry.identity, name);
  const writer = archive.add({ ...common, name, type: "file", size: entry.size }).getWriter();
  let written = 0;
  const content = entry.data ? [entry.data] : piecesOf(access, `/${name}`, { length: entry.size, signal }, base);
  for await (const piece of content) {
    await writer.write(piece);
    written += piece.length;
  }
  if (written < entry.size) throw changed(name);
  await writer.close();
}

async function addEmpty(archive: TarPackController, header: TarHeader): Promise<void> {
  await archive.add(header).getWriter().close();
}

/** An archive says a file's size before its bytes. */
function changed(name: string): TapvisorError<"FILE_FAILED"> {
  return new TapvisorError("FILE_FAILED", `Cannot pack ${JSON.stringify(name)}: it became shorter while it was read`, {
    data: { path: name, errno: "ESTALE" },
  });
}
