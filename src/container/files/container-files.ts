import { Readable } from "node:stream";
import { isTapvisorError } from "../../base/errors.ts";
import type { AgentFiles, FileEntry, FileStat } from "../../contracts/agent-files.ts";
import type { Call } from "../../contracts/holding.ts";
import type { SandboxContext } from "../../engine/context.ts";
import { checkFilePath, type FileAccess, fileAccess } from "./access.ts";
import { type OwnerOptions, ownerOf } from "./check.ts";
import { pagesOf } from "./list.ts";
import { type ReadOptions, readFile, readFileStream } from "./read.ts";
import type { TarInOptions } from "./tar-in.ts";
import type { TarOptions } from "./tar-out.ts";
import type { DownloadOptions } from "./transfer.ts";
import { FileWatch } from "./watch.ts";
import { type FileData, type WriteOptions, writeFile } from "./write.ts";

type FileWork<T> = (files: AgentFiles, call: Call) => Promise<T>;

/** How long the removal of a large tree may take, ms. */
const REMOVE_MS = 300_000;

export interface FileOptions {
  readonly signal?: AbortSignal;
}

/**
 * The files of a container, as its processes see them: while it runs with all that is mounted in it, before and after that its root file system alone. Paths
 * are absolute. Links are followed, and never lead out of the container. Each request to the guest has 30 s.
 *
 * Fails with NOT_FOUND for what is not there, FILE_FAILED with the system's `errno` for what cannot be done, INVALID_STATE, AGENT_LOST, and UNSUPPORTED where
 * the guest is not this project's, except for `write` before the container's start.
 *
 * @example
 * await web.files.write("/etc/app.json", JSON.stringify({ port: 80 }));
 * console.log(await web.files.readText("/etc/app.json"), (await web.files.list("/etc")).length);
 */
export class ContainerFiles {
  readonly #access: FileAccess;

  constructor(sb: SandboxContext, container: string) {
    this.#access = fileAccess(sb, container);
  }

  /** A file's bytes, from `offset` on, all of it unless `length` says how much. @throws FILE_FAILED EFBIG when all is more than 64 MiB; EISDIR; EINVAL for a device. */
  read(path: string, options: ReadOptions = {}): Promise<Buffer> {
    return readFile(this.#access, path, options);
  }

  /** As `read`, as UTF-8. */
  async readText(path: string, options: ReadOptions = {}): Promise<string> {
    return (await this.read(path, options)).toString("utf8");
  }

  /** A file's bytes as a stream, of any length; the guest is asked for more when the reader has taken what there is. */
  readStream(path: string, options: ReadOptions = {}): Readable {
    return readFileStream(this.#access, path, options);
  }

  /**
   * Writes a file, of text, bytes, or a stream of these. All of it takes the place of what was there at once, and keeps its permissions and owner unless others
   * are given; a new file has 0o644 and user 0. In a guest that is not this project's: before the start only, over a directory of the host, at most 64 MiB. @throws FILE_FAILED EROFS, EISDIR, ENOSPC; EBUSY for a mounted file, which wants `inPlace`.
   */
  write(path: string, data: FileData, options: WriteOptions = {}): Promise<void> {
    return writeFile(this.#access, path, data, options);
  }

  /** What a path names; a link itself with `follow: false`. */
  stat(path: string, { follow = true, signal }: FileOptions & { readonly follow?: boolean } = {}): Promise<FileStat> {
    const place = this.#access.place(path);
    return this.#ask("look at", path, signal, (files, call) => files.stat(place, { follow }, call));
  }

  /** Whether there is something of this name. */
  async exists(path: string, options: FileOptions = {}): Promise<boolean> {
    try {
      await this.stat(path, options);
      return true;
    } catch (error) {
      const isMissing = isTapvisorError(error) && error.code === "NOT_FOUND" && error.data.kind === "file";
      if (isMissing || (isTapvisorError(error) && error.code === "FILE_FAILED" && error.data.errno === "ENOTDIR")) return false;
      throw error;
    }
  }

  /** A directory's entries, sorted by name, at most 200,000; links are told as they are, without where they lead. */
  async list(path: string, { signal }: FileOptions = {}): Promise<FileEntry[]> {
    const entries: FileEntry[] = [];
    for await (const page of pagesOf(this.#access, path, signal)) entries.push(...page);
    return entries;
  }

  /** Removes a file, a link itself, or a directory, which is to be empty unless `recursive`. At most 5 min. @throws FILE_FAILED ENOTEMPTY; EBUSY for what has a mount in it. */
  remove(path: string, { recursive = false, signal }: FileOptions & { readonly recursive?: boolean } = {}): Promise<void> {
    const place = this.#access.place(path);
    return this.#ask("removal of", path, signal, (files, call) => files.remove(place, { recursive }, call), REMOVE_MS);
  }

  /** Makes a directory, 0o755 unless `mode` says otherwise; with `recursive` also those above it, and one that is there is success. @throws FILE_FAILED EEXIST. */
  mkdir(path: string, options: FileOptions & OwnerOptions & { readonly recursive?: boolean } = {}): Promise<void> {
    const place = this.#access.place(path);
    const { recursive = false, signal } = options;
    const attributes = ownerOf(options);
    return this.#ask("making of", path, signal, (files, call) => files.makeDirectory(place, { recursive, attributes }, call));
  }

  /** Gives something another name, in place of a file that has it. @throws FILE_FAILED EXDEV between two mounts. */
  rename(path: string, to: string, { signal }: FileOptions = {}): Promise<void> {
    const place = this.#access.place(path);
    checkFilePath("to", to);
    return this.#ask("renaming of", path, signal, (files, call) => files.rename(place, to, call));
  }

  /**
   * What happens in a directory, not in those below it: names that appear or go (`rename`), content and attributes that change (`change`), and `overflow` when
   * more has happened than was waited for. Ends with the container, and when `signal` fires.
   *
   * @example
   * for await (const { type, name } of web.files.watch("/srv")) console.log(type, name);
   */
  watch(path: string, { signal }: FileOptions = {}): FileWatch {
    return new FileWatch(this.#access, path, signal);
  }

  /** Copies what is in a directory of the host into one of the container, which is made if need be; it belongs to user 0 there unless `owners` is true. */
  async upload(directory: string, target: string, options: TarInOptions = {}): Promise<void> {
    const { upload } = await import("./transfer.ts"); // here and below: only a script that moves trees pays for the loading of tar
    return upload(this.#access, directory, target, options);
  }

  /**
   * Copies what is in a directory of the container into one of the host, which is made if need be. @throws GUEST_PROTOCOL for a link that leads out of the
   * directory, and past 4 GiB (`maxBytes`).
   */
  async download(source: string, directory: string, options: DownloadOptions = {}): Promise<void> {
    const { download } = await import("./transfer.ts");
    return download(this.#access, source, directory, options);
  }

  /**
   * Unpacks a tar archive, not compressed, in a directory of the container. What is in the archive stays below that directory, its links included.
   * @throws INVALID_INPUT for an entry with ".." or an absolute name, or a device, and for what is no archive.
   */
  async tarIn(archive: AsyncIterable<Uint8Array> | Iterable<Uint8Array>, target: string, options: TarInOptions = {}): Promise<void> {
    const { tarIn } = await import("./tar-in.ts");
    return tarIn(this.#access, archive, target, options);
  }

  /** A directory of the container, or one file, as a tar archive. FIFOs, sockets and devices are left out. */
  tarOut(path: string, options: TarOptions = {}): Readable {
    this.#access.place(path); // a mistake is the caller's, not the reader's
    return Readable.from(this.#archive(path, options), { objectMode: false });
  }

  async *#archive(path: string, options: TarOptions): AsyncGenerator<Uint8Array, void, undefined> {
    const { tarOut } = await import("./tar-out.ts");
    yield* tarOut(this.#access, path, options);
  }

  #ask<T>(verb: string, path: string, signal: AbortSignal | undefined, work: FileWork<T>, timeoutMs?: number): Promise<T> {
    return this.#access.ask({ what: `the ${verb} ${JSON.stringify(path)}`, signal, ...(timeoutMs !== undefined && { timeoutMs }) }, work);
  }
}
