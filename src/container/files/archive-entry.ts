import { posix } from "node:path";
import type { TarHeader } from "modern-tar";

export type ArchiveEntry =
  | { readonly kind: "directory"; readonly path: string }
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "symlink"; readonly path: string; readonly target: string }
  | { readonly kind: "link"; readonly path: string; readonly target: string }
  /** What has no place of its own: the archive's top. */
  | { readonly kind: "nothing" };

/**
 * What an entry of an archive puts where, as an absolute path below the target. `refuse` makes the error for one that has no place there: a name with ".." or
 * an absolute one, a device, FIFO or anything else that is no file, directory or link.
 */
export function archiveEntry(header: TarHeader, refuse: (name: string, why: string) => Error): ArchiveEntry {
  const { name, linkname = "", type = "file" } = header;
  const path = inside(name, (why) => refuse(name, why));
  if (path === "/") {
    if (type === "directory") return { kind: "nothing" };
    throw refuse(name, "it has no name");
  }
  switch (type) {
    case "file":
      return { kind: "file", path };
    case "directory":
      return { kind: "directory", path };
    case "symlink":
      if (linkname === "" || linkname.includes("\0")) throw refuse(name, "its link leads to nothing");
      return { kind: "symlink", path, target: linkname };
    case "link":
      return { kind: "link", path, target: inside(linkname, (why) => refuse(name, `its link has ${why}`)) };
    default:
      throw refuse(name, `it is a ${type}`);
  }
}

/** Whether a symbolic link at `path` leads to a place below the target, by its text alone. */
export function staysInside(path: string, target: string): boolean {
  if (target.startsWith("/")) return false;
  let depth = posix.dirname(path).split("/").filter(Boolean).length;
  for (const part of target.split("/")) {
    if (part === "..") depth--;
    else if (part !== "" && part !== ".") depth++;
    if (depth < 0) return false;
  }
  return true;
}

function inside(name: string, refuse: (why: string) => Error): string {
  if (name.startsWith("/")) throw refuse("an absolute name");
  if (name.includes("\0")) throw refuse("a name with NUL");
  const parts = name.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes("..")) throw refuse('a name with ".."');
  return `/${parts.join("/")}`;
}
