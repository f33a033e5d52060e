import { posix } from "node:path";
import { createTarDecoder, type ParsedTarEntry, type TarHeader } from "modern-tar";
import { isTapvisorError, messageOf, TapvisorError } from "../../base/errors.ts";
import type { AgentFiles, FileAttributes } from "../../contracts/agent-files.ts";
import type { Call } from "../../contracts/holding.ts";
import type { FileAccess } from "./access.ts";
import { archiveEntry } from "./archive-entry.ts";
import { chunksOf } from "./source.ts";
import type { TarOptions } from "./tar-out.ts";
import { WRITE_BYTES, writePieces } from "./write.ts";

/** So many small files are on their way at once. */
const AT_ONCE = 8;

export interface TarInOptions extends TarOptions {
  /** Whether files belong to whom the archive says; otherwise to user and group 0. `true` by default. */
  readonly owners?: boolean;
}

/** Unpacks a tar archive in a directory of the container, which is made when it is not there. What is there and not in the archive stays. */
export async function tarIn(
  access: FileAccess,
  archive: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  target: string,
  options: TarInOptions,
): Promise<void> {
  const { signal, owners = true } = options;
  const base = access.place(target).path;
  await access.ask({ what: `the making of ${JSON.stringify(base)}`, signal }, (files, call) =>
    files.makeDirectory(access.place(base), { recursive: true }, call),
  );
  const { readable, writable } = createTarDecoder({ strict: true });
  const unpacker = new Unpacker(access, base, owners, signal);
  const entries = (async () => {
    for await (const entry of readable as unknown as AsyncIterable<ParsedTarEntry>) await unpacker.add(entry);
    await unpacker.finish();
  })();
  const refused = new AbortController();
  entries.catch(() => refused.abort()); // a refused entry ends the reading of the archive, also while that says nothing
  const writer = writable.getWriter();
  const either = signal ? AbortSignal.any([signal, refused.signal]) : refused.signal;
  try {
    for await (const chunk of chunksOf(archive, `the unpacking of an archive in ${JSON.stringify(base)}`, either))
      if (!(await isTaken(writer.write(chunk)))) break;
    await isTaken(writer.close());
  } catch (error) {
    await writer.abort(error).catch(() => {}); // ends the unpacking too
    if (!refused.signal.aborted) {
      await Promise.allSettled([entries]);
      await unpacker.settled();
      throw error;
    }
  }
  try {
    await entries;
  } catch (error) {
    throw isTapvisorError(error) ? error : unreadable(error);
  } finally {
    await unpacker.settled();
  }
}

/** Whether the decoder goes on: what it refuses with, the entries end with too. */
function isTaken(work: Promise<void>): Promise<boolean> {
  return work.then(
    () => true,
    () => false,
  );
}

class Unpacker {
  readonly #access: FileAccess;
  readonly #base: string;
  readonly #owners: boolean;
  readonly #signal: AbortSignal | undefined;
  /** Directories that are known to be there. */
  readonly #made = new Set(["/"]);
  /** What directories get when all is in them: their times change with each entry. */
  readonly #attributes = new Map<string, FileAttributes>();
  readonly #running = new Map<string, Promise<void>>();
  #failure: { readonly error: unknown } | undefined;

  constructor(access: FileAccess, base: string, owners: boolean, signal: AbortSignal | undefined) {
    this.#access = access;
    this.#base = base;
    this.#owners = owners;
    this.#signal = signal;
  }

  async add({ header, body }: ParsedTarEntry): Promise<void> {
    const entry = archiveEntry(header, refused);
    const attributes = this.#attributesOf(header);
    if (entry.kind === "nothing") return body.cancel();
    if (entry.kind === "directory") {
      await this.#directory(entry.path);
      this.#attributes.set(entry.path, attributes);
      return body.cancel();
    }
    await this.#directory(posix.dirname(entry.path));
    if (entry.kind === "file" && header.size <= WRITE_BYTES) {
      const chunks: Uint8Array[] = [];
      for await (const chunk of body as unknown as AsyncIterable<Uint8Array>) chunks.push(chunk);
      return this.#start(entry.path, () => this.#write(entry.path, chunks, attributes));
    }
    await this.settled(); // what comes may need, or take the place of, what came
    if (this.#failure) throw this.#failure.error;
    if (entry.kind === "file") return this.#write(entry.path, body as unknown as AsyncIterable<Uint8Array>, attributes);
    await this.#link(entry.path, entry.target, entry.kind === "link");
    if (entry.kind === "symlink") await this.#setAttributes(entry.path, attributes);
    await body.cancel();
  }

  async finish(): Promise<void> {
    await this.settled();
    if (this.#failure) throw this.#failure.error;
    for (const [path, attributes] of [...this.#attributes].reverse()) await this.#setAttributes(path, attributes);
  }

  /** Waits for what is on its way. */
  async settled(): Promise<void> {
    await Promise.all(this.#running.values());
  }

  async #start(path: string, work: () => Promise<void>): Promise<void> {
    await this.#running.get(path); // the later of two of one name wins
    while (this.#running.size >= AT_ONCE) await Promise.race(this.#running.values());
    if (this.#failure) throw this.#failure.error;
    const running = work()
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => this.#running.delete(path));
    this.#running.set(path, running);
  }

  #write(path: string, data: AsyncIterable<Uint8Array> | Iterable<Uint8Array>, attributes: FileAttributes): Promise<void> {
    return writePieces(this.#access, this.#access.place(path, this.#base), data, { mode: "replace", attributes, signal: this.#signal });
  }

  async #directory(path: string): Promise<void> {
    if (this.#made.has(path)) return;
    const place = this.#access.place(path, this.#base);
    await this.#ask(path, (files, call) => files.makeDirectory(place, { recursive: true }, call));
    for (let at = path; at !== "/"; at = posix.dirname(at)) this.#made.add(at);
  }

  /** A link takes the place of a file that is there, as a file does. */
  async #link(path: string, target: string, hard: boolean): Promise<void> {
    const place = this.#access.place(path, this.#base);
    await this.#ask(path, async (files, call) => {
      try {
        await files.makeLink(place, { target, hard }, call);
      } catch (error) {
        if (!isTapvisorError(error) || error.code !== "FILE_FAILED" || error.data.errno !== "EEXIST") throw error;
        await files.remove(place, { recursive: false }, call);
        await files.makeLink(place, { target, hard }, call);
      }
    });
  }

  #setAttributes(path: string, attributes: FileAttributes): Promise<void> {
    return this.#ask(path, (files, call) => files.setAttributes(this.#access.place(path, this.#base), attributes, call));
  }

  #ask(path: string, work: (files: AgentFiles, call: Call) => Promise<void>): Promise<void> {
    return this.#access.ask({ what: `the unpacking of ${JSON.stringify(path)}`, signal: this.#signal }, work);
  }

  #attributesOf({ mode = 0o644, uid = 0, gid = 0, mtime }: TarHeader): FileAttributes {
    const owner = this.#owners ? { uid, gid } : {};
    return { mode: mode & 0o7777, ...owner, ...(mtime && { modifiedMs: mtime.getTime() }) };
  }
}

function refused(name: string, why: string): TapvisorError<"INVALID_INPUT"> {
  return new TapvisorError(
    "INVALID_INPUT",
    `Cannot unpack ${JSON.stringify(name.slice(0, 256))}: it has no place below the target, ${why}`,
    {
      data: { path: "archive", value: name, wanted: "files, directories and links with names below the target" },
    },
  );
}

function unreadable(error: unknown): TapvisorError<"INVALID_INPUT"> {
  return new TapvisorError("INVALID_INPUT", `Cannot unpack the archive: ${messageOf(error)}`, {
    data: { path: "archive", wanted: "a whole tar archive, not compressed" },
    cause: error,
  });
}
