import type { Stats } from "node:fs";
import { type FileHandle, open, rename, unlink } from "node:fs/promises";
import { errnoOf, Mutex } from "tapvisor/plugin";
import { randomHex } from "../random.ts";
import { StatusError } from "../status.ts";
import { type Attributes, apply } from "./attributes.ts";
import { FileError } from "./file-error.ts";
import { CREATE, DIRECTORY, pathOf } from "./flags.ts";
import type { Found } from "./walk.ts";

/** How long the next piece may take: then its sender is taken to have gone, ms. */
const IDLE_MS = 60_000;

/** A new file beside the one whose place it will take. */
export class StagedFile {
  readonly #parent: FileHandle;
  readonly #name: string;
  readonly #temporary: string;
  readonly #file: FileHandle;
  /** The file that is to be replaced: the new one gets its permissions and owner. */
  readonly #replaced: Stats | undefined;
  readonly #turns = new Mutex();
  #written = 0;
  #isOpen = true;
  #idle: NodeJS.Timeout | undefined;

  private constructor(parent: FileHandle, name: string, temporary: string, file: FileHandle, replaced: Stats | undefined) {
    this.#parent = parent;
    this.#name = name;
    this.#temporary = temporary;
    this.#file = file;
    this.#replaced = replaced;
  }

  static async make({ parent, name, stats }: Found): Promise<StagedFile> {
    const directory = await open(pathOf(parent), DIRECTORY); // of its own: it outlives the walk
    const temporary = `.tapvisor-${randomHex(8)}`;
    try {
      return new StagedFile(directory, name, temporary, await open(pathOf(directory, temporary), CREATE, 0o600), stats);
    } catch (error) {
      await directory.close();
      throw error;
    }
  }

  /** Writes the next piece. After a failure nothing of the file is left. */
  async write(offset: number, data: Uint8Array): Promise<void> {
    clearTimeout(this.#idle);
    await this.#turns.run(() =>
      this.#orClose(async () => {
        if (!this.#isOpen) throw new FileError("EBADF", "Cannot write the next piece: the file has been given up");
        if (offset !== this.#written)
          throw new StatusError("INVALID_ARGUMENT", `Cannot write at ${offset}: wanted ${this.#written}, where the piece before has ended`);
        for (let done = 0; done < data.length; ) done += (await this.#file.write(data, done)).bytesWritten;
        this.#written += data.length;
      }),
    );
  }

  /** Puts it in its place. */
  finish(attributes: Attributes): Promise<void> {
    return this.#turns.run(() =>
      this.#orClose(async () => {
        const { uid = 0, gid = 0, mode = 0o644 } = this.#replaced ?? {};
        if (uid !== 0 || gid !== 0) await this.#file.chown(uid, gid);
        await this.#file.chmod(mode & 0o777);
        await apply(this.#file, attributes);
        await rename(pathOf(this.#parent, this.#temporary), pathOf(this.#parent, this.#name));
        await this.#release();
      }),
    );
  }

  /** Calls `gone` when no piece comes any more. */
  expire(gone: () => void): void {
    clearTimeout(this.#idle);
    this.#idle = setTimeout(gone, IDLE_MS);
    this.#idle.unref();
  }

  /** Gives it up: nothing of it is left. */
  async close(): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    await unlink(pathOf(this.#parent, this.#temporary)).catch((error: unknown) => {
      if (errnoOf(error) !== "ENOENT") throw error; // a process of the container may have removed it
    });
    await this.#release();
  }

  async #release(): Promise<void> {
    this.#isOpen = false;
    clearTimeout(this.#idle);
    await this.#file.close();
    await this.#parent.close();
  }

  async #orClose(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      await this.close();
      throw error;
    }
  }
}
