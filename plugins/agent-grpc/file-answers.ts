import type { FileEntry, FileEvent, FileList, FilePiece, FileStat, FileType } from "tapvisor/plugin";
import type { FileEventsMessage, FileStatMessage, ListDirectoryResponse, ReadFileResponse } from "tapvisor/protocol";
import { exact, wrong } from "./answers.ts";
import { guestText } from "./guest-text.ts";

const TYPES: Readonly<Record<string, FileType>> = {
  FILE: "file",
  DIRECTORY: "directory",
  LINK: "link",
  FIFO: "fifo",
  SOCKET: "socket",
  BLOCK: "block",
  CHARACTER: "character",
};
const EVENTS: Readonly<Record<string, FileEvent["type"]>> = { CHANGE: "change", RENAME: "rename", OVERFLOW: "overflow" };

/** As long as the kernel of the guest allows them to be, bytes. */
const LONGEST_NAME = 255;
const LONGEST_TARGET = 4096;
const MOST_EVENTS = 4096;

/** @throws GUEST_PROTOCOL. */
export function fileStat(answer: FileStatMessage, subject: string): FileStat {
  const type = TYPES[answer.type];
  if (!type) throw wrong(`type of ${subject}`, guestText(String(answer.type), 64), "a known one");
  if (answer.mode > 0o7777) throw wrong(`mode of ${subject}`, answer.mode, "at most 0o7777");
  if (Buffer.byteLength(answer.target) > LONGEST_TARGET || answer.target.includes("\0"))
    throw wrong(`target of ${subject}`, guestText(answer.target, 64), `a path of at most ${LONGEST_TARGET} bytes`);
  return {
    type,
    size: exact(answer.size, `size of ${subject}`),
    mode: answer.mode,
    uid: answer.uid,
    gid: answer.gid,
    modifiedMs: exact(answer.modified_ms, `time of ${subject}`),
    ...(type === "link" && answer.target !== "" && { target: answer.target }),
    identity: token(answer.identity, `identity of ${subject}`),
    links: exact(answer.links, `number of names of ${subject}`),
  };
}

/** Each name is one of a directory's entry and comes once, in order: they become paths, and pages are asked for by them. @throws GUEST_PROTOCOL. */
export function fileList({ entries, more }: ListDirectoryResponse, after: string, limit: number, subject: string): FileList {
  if (entries.length > limit) throw wrong(`number of entries of ${subject}`, entries.length, `at most ${limit}`);
  if (more && entries.length === 0) throw wrong(`listing of ${subject}`, "an empty page", "entries, as there are more");
  let before = after;
  const named = entries.map((entry): FileEntry => {
    const name = entryName(entry.name, subject);
    if (!(name > before)) throw wrong(`order of the entries of ${subject}`, guestText(name, 64), `a name after "${guestText(before, 64)}"`);
    before = name;
    return { name, ...fileStat(entry, subject) };
  });
  return { entries: named, more };
}

/** @throws GUEST_PROTOCOL when there are more bytes than were asked for. */
export function filePiece({ data, identity }: ReadFileResponse, length: number, subject: string): FilePiece {
  if (data.length > length) throw wrong(`length of ${subject}`, data.length, `at most ${length}`);
  return { data, identity: token(identity, `identity of ${subject}`) };
}

/** @throws GUEST_PROTOCOL. */
export function fileEvents({ events, ended }: FileEventsMessage, subject: string) {
  if (events.length > MOST_EVENTS) throw wrong(`number of events of ${subject}`, events.length, `at most ${MOST_EVENTS}`);
  const known = events.map(({ type, name }): FileEvent => {
    const kind = EVENTS[type];
    if (!kind) throw wrong(`event of ${subject}`, guestText(String(type), 64), "a known one");
    return { type: kind, name: kind === "overflow" ? "" : entryName(name, subject) };
  });
  return { events: known, ended };
}

/** What the guest gives to be given back. @throws GUEST_PROTOCOL. */
export function token(text: string, what: string): string {
  if (/^[0-9a-f:]{1,64}$/.test(text)) return text;
  throw wrong(what, guestText(text, 64), "at most 64 hexadecimal digits");
}

function entryName(name: string, subject: string): string {
  const fits = name !== "" && name !== "." && name !== ".." && !/[/\0]/.test(name) && Buffer.byteLength(name) <= LONGEST_NAME;
  if (fits) return name;
  throw wrong(`name of an entry of ${subject}`, guestText(name, 64), "a name of one part");
}
