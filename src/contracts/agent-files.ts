import type { Call } from "./holding.ts";

/**
 * The files of a container in the guest, as its processes see them: while it runs with all that is mounted in it, before and after that its root file system
 * alone. No link and no ".." leads out of the container's root, whatever its processes do meanwhile.
 *
 * Every call fails with NOT_FOUND (kind `file`) or FILE_FAILED where the guest's system refuses, with UNSUPPORTED where the guest has no such calls, as a Kata
 * guest, and otherwise as the other calls of the agent do.
 */
export interface AgentFiles {
  /** What a path names; with `follow` not a link itself but what it leads to. */
  stat(place: FilePlace, options: { readonly follow: boolean }, call: Call): Promise<FileStat>;
  /** At most `limit` (1,000) entries of a directory, sorted by name, those after the name `after`. Their links have no `target`. */
  list(place: FilePlace, options: { readonly after: string; readonly limit: number }, call: Call): Promise<FileList>;
  /**
   * At most 1 MiB from an offset; fewer bytes than asked for are the last. A FIFO, device or directory is refused. With the `identity` of an earlier answer
   * another file in its place is ESTALE.
   */
  read(place: FilePlace, range: FileRange, call: Call): Promise<FilePiece>;
  /**
   * Writes a piece of a file, at most 1 MiB. `replace`: a new file is staged, and takes the place of the old one, and its permissions, with the last piece; the
   * answer names it for the next piece. Pieces come in order. `in-place` writes at an offset, 0 empties the file first; `append` at its end.
   */
  write(place: FilePlace, piece: FileWrite, call: Call): Promise<string>;
  /** Gives up what has been staged; unknown is success. */
  discard(place: FilePlace, staged: string, call: Call): Promise<void>;
  /** With `recursive` those above it too, and one that is there is success. */
  makeDirectory(
    place: FilePlace,
    options: { readonly recursive: boolean; readonly attributes?: FileAttributes },
    call: Call,
  ): Promise<void>;
  /** A symbolic link with any target, or one more name of the file at `target`, a path like the place's. */
  makeLink(place: FilePlace, link: { readonly target: string; readonly hard: boolean }, call: Call): Promise<void>;
  /** A link is not followed. */
  setAttributes(place: FilePlace, attributes: FileAttributes, call: Call): Promise<void>;
  /** A link itself is removed. What is mounted in a directory is never: EBUSY, before anything is lost. */
  remove(place: FilePlace, options: { readonly recursive: boolean }, call: Call): Promise<void>;
  /** Replaces a file that is there. Both paths have the same base. */
  rename(place: FilePlace, to: string, call: Call): Promise<void>;
  /** Begins to watch a directory, not those in it; gives the watch's name. One that nobody asks for 60 s ends by itself. */
  watch(place: FilePlace, call: Call): Promise<string>;
  /** Waits for events, without a deadline. `ended` when the container has, or the directory has been removed or renamed. */
  nextEvents(container: string, watch: string, call: Call): Promise<{ readonly events: readonly FileEvent[]; readonly ended: boolean }>;
  /** Unknown is success. */
  unwatch(container: string, watch: string, call: Call): Promise<void>;
}

export interface FilePlace {
  readonly container: string;
  /** Absolute. */
  readonly path: string;
  /** An absolute path of a directory that is the root of `path`: nothing leads out of it. The container's root when absent. */
  readonly base?: string;
}

export type FileType = "file" | "directory" | "link" | "fifo" | "socket" | "block" | "character";

export interface FileStat {
  readonly type: FileType;
  /** Bytes. */
  readonly size: number;
  /** The permissions with the set-id and sticky bits: 0o644 say. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Milliseconds since 1970, by the guest's clock. */
  readonly modifiedMs: number;
  /** What a link leads to. */
  readonly target?: string;
  /** The same for all names of one file. */
  readonly identity: string;
  /** How many names it has. */
  readonly links: number;
}

export interface FileEntry extends FileStat {
  readonly name: string;
}

export interface FileList {
  readonly entries: readonly FileEntry[];
  readonly more: boolean;
}

export interface FileRange {
  readonly offset: number;
  readonly length: number;
  readonly identity?: string;
}

export interface FilePiece {
  readonly data: Uint8Array;
  readonly identity: string;
}

export interface FileWrite {
  readonly mode: "replace" | "in-place" | "append";
  /** The answer to the piece before; absent begins. */
  readonly staged?: string;
  readonly offset: number;
  readonly data: Uint8Array;
  readonly last: boolean;
  readonly attributes?: FileAttributes;
}

/** What is absent stays, or is the usual: 0o644, 0o755 for a directory, user and group 0. */
export interface FileAttributes {
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly modifiedMs?: number;
}

export interface FileEvent {
  /** Its content or attributes have changed, it has appeared or gone, or events have been lost and the directory must be listed again. */
  readonly type: "change" | "rename" | "overflow";
  /** In the directory; empty for `overflow`. */
  readonly name: string;
}

/** The most that one piece carries, bytes. */
export const FILE_PIECE_BYTES = 1024 * 1024;
