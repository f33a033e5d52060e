import type { MethodDefinition } from "@grpc/grpc-js";
import { type AgentFiles, type Call, type FileAttributes, type FilePlace, isAgentStatus, TapvisorError } from "tapvisor/plugin";
import { type FileAttributesMessage, type FilePlaceMessage, filesServiceDefinition as rpc } from "tapvisor/protocol";
import { fileEvents, fileList, filePiece, fileStat, token } from "./file-answers.ts";
import { MAX_LIST_ENTRIES, MAX_STREAM_BYTES } from "./limits.ts";
import type { Send } from "./sender.ts";

const MODES = { replace: "REPLACE", "in-place": "IN_PLACE", append: "APPEND" } as const;
const NOTHING = new Uint8Array(0);

/** The calls of `tapvisor.Files`. A guest without it, a Kata guest say, answers UNIMPLEMENTED; it is asked once a connection. */
export function fileCalls(send: Send): AgentFiles {
  let isServed = true;

  async function ask<Request, Response>(
    name: keyof typeof rpc & Parameters<Send>[0],
    method: MethodDefinition<Request, Response>,
    request: Request,
    { container, path }: Pick<FilePlace, "container" | "path">,
    call: Call,
  ): Promise<Response> {
    if (!isServed) throw notServed();
    try {
      return await send(name, method, request, call, { subject: nameOf(container, path), path });
    } catch (error) {
      if (!isAgentStatus(error, "UNIMPLEMENTED")) throw error;
      isServed = false;
      throw notServed();
    }
  }

  return {
    stat: async (at, { follow }, call) => {
      const answer = await ask("StatFile", rpc.StatFile, { place: place(at), follow }, at, call);
      return fileStat(answer, nameOf(at.container, at.path));
    },
    list: async (at, { after, limit: wanted }, call) => {
      const limit = Math.min(wanted, MAX_LIST_ENTRIES);
      const answer = await ask("ListDirectory", rpc.ListDirectory, { place: place(at), after, limit }, at, call);
      return fileList(answer, after, limit, nameOf(at.container, at.path));
    },
    read: async (at, { offset, length: wanted, identity = "" }, call) => {
      const length = Math.min(wanted, MAX_STREAM_BYTES);
      const answer = await ask("ReadFile", rpc.ReadFile, { place: place(at), offset: String(offset), length, identity }, at, call);
      return filePiece(answer, length, nameOf(at.container, at.path));
    },
    write: async (at, { mode, staged = "", offset, data, last, attributes }, call) => {
      const piece = { mode: MODES[mode], staged, offset: String(offset), data, last, discard: false, attributes: message(attributes) };
      const answer = await ask("WriteFile", rpc.WriteFile, { place: place(at), ...piece }, at, call);
      return mode === "replace" && !last ? token(answer.staged, `staged file of ${nameOf(at.container, at.path)}`) : "";
    },
    discard: async (at, staged, call) => {
      const nothing = { mode: "REPLACE", offset: "0", data: NOTHING, last: false, attributes: null } as const;
      const request = { place: place(at), ...nothing, staged, discard: true };
      await ask("WriteFile", rpc.WriteFile, request, at, call).catch(unlessErrno("EBADF"));
    },
    makeDirectory: async (at, { recursive, attributes }, call) => {
      await ask("MakeDirectory", rpc.MakeDirectory, { place: place(at), recursive, attributes: message(attributes) }, at, call);
    },
    makeLink: async (at, { target, hard }, call) => {
      await ask("MakeLink", rpc.MakeLink, { place: place(at), target, hard }, at, call);
    },
    setAttributes: async (at, attributes, call) => {
      await ask("SetAttributes", rpc.SetAttributes, { place: place(at), attributes: message(attributes) }, at, call);
    },
    remove: async (at, { recursive }, call) => {
      await ask("RemoveFile", rpc.RemoveFile, { place: place(at), recursive }, at, call);
    },
    rename: async (at, to, call) => {
      await ask("RenameFile", rpc.RenameFile, { place: place(at), to }, at, call);
    },
    watch: async (at, call) => {
      const { watch } = await ask("WatchDirectory", rpc.WatchDirectory, { place: place(at) }, at, call);
      return token(watch, `watch of ${nameOf(at.container, at.path)}`);
    },
    nextEvents: async (container, watch, call) => {
      const at = { container, path: watch };
      return fileEvents(
        await ask("NextFileEvents", rpc.NextFileEvents, { container_id: container, watch }, at, call),
        nameOf(container, watch),
      );
    },
    unwatch: async (container, watch, call) => {
      await ask("UnwatchDirectory", rpc.UnwatchDirectory, { container_id: container, watch }, { container, path: watch }, call);
    },
  };
}

function place({ container, path, base = "" }: FilePlace): FilePlaceMessage {
  return { container_id: container, path, base };
}

function message(attributes: FileAttributes | undefined): FileAttributesMessage | null {
  if (!attributes) return null;
  const { mode, uid, gid, modifiedMs } = attributes;
  return {
    has_mode: mode !== undefined,
    mode: mode ?? 0,
    has_owner: uid !== undefined || gid !== undefined,
    uid: String(uid ?? -1),
    gid: String(gid ?? -1),
    has_modified: modifiedMs !== undefined,
    modified_ms: String(Math.trunc(modifiedMs ?? 0)),
  };
}

function nameOf(container: string, path: string): string {
  return `${JSON.stringify(path)} of container "${container}"`;
}

function unlessErrno(errno: string) {
  return (error: unknown): void => {
    if (!(error instanceof TapvisorError && error.code === "FILE_FAILED" && (error.data as { errno: string }).errno === errno)) throw error;
  };
}

function notServed(): TapvisorError<"UNSUPPORTED"> {
  return new TapvisorError("UNSUPPORTED", "Cannot use the container's files: the guest's agent has no calls for them", {
    data: { what: "files of a container", by: "the guest's agent" },
    hint: "the guest that this project builds has them; in another, mount a directory of the host or run a command in the container",
  });
}
