import { type FileHandle, open } from "node:fs/promises";
import type { WriteFileRequest, WriteFileResponse } from "tapvisor/protocol";
import { type Agent, findContainer } from "../agent.ts";
import { randomHex } from "../random.ts";
import type { RpcContext } from "../unary.ts";
import { apply, checkAttributes } from "./attributes.ts";
import { asFileError, FileError } from "./file-error.ts";
import { APPEND, CREATE, pathOf, WRITE } from "./flags.ts";
import { existing, withPlace } from "./place.ts";
import { notOfKernel, regular } from "./regular.ts";
import { StagedFile } from "./staged-file.ts";
import type { Found } from "./walk.ts";

/** Writes a piece of a file: of a new one that takes its place with the last piece, or of the file itself. */
export async function writeFile(agent: Agent, request: WriteFileRequest, context: RpcContext): Promise<WriteFileResponse> {
  checkAttributes(request.attributes);
  if (request.mode !== "REPLACE") return writeInPlace(agent, request, context);
  return request.staged === "" ? begin(agent, request, context) : proceed(agent, request, context);
}

function begin(agent: Agent, { place, offset, data, last, attributes }: WriteFileRequest, { signal, onUndelivered }: RpcContext) {
  return withPlace(agent, place, { follow: true, change: true }, signal, async ({ container: { fileWork }, found }) => {
    if (found.name === "") throw new FileError("EISDIR", "Cannot write to a directory");
    if (found.stats) regular(found.stats);
    const file = await StagedFile.make(found);
    await file.write(Number(offset), data);
    if (last) {
      await file.finish(attributes);
      return { staged: "" };
    }
    const staged = randomHex(16);
    const giveUp = () => {
      if (fileWork.drop(staged)) file.close().catch(() => {}); // what cannot be removed has no one left to be told of
    };
    try {
      fileWork.keep(staged, file);
    } catch (error) {
      await file.close();
      throw error;
    }
    file.expire(giveUp);
    onUndelivered(giveUp);
    return { staged };
  });
}

async function proceed(agent: Agent, request: WriteFileRequest, { signal, onUndelivered }: RpcContext): Promise<WriteFileResponse> {
  const { place, staged, offset, data, last, discard, attributes } = request;
  const { fileWork } = findContainer(agent, place?.container_id ?? "");
  const file = fileWork.kept(staged);
  if (!(file instanceof StagedFile))
    throw new FileError("EBADF", "Cannot write the next piece: there is no such file, or it has been given up");
  const giveUp = async () => {
    fileWork.drop(staged);
    await file.close();
  };
  try {
    return await fileWork.run(signal, async () => {
      if (discard) {
        await giveUp();
        return { staged: "" };
      }
      await file.write(Number(offset), data);
      if (!last) {
        file.expire(() => void giveUp().catch(() => {}));
        onUndelivered(() => void giveUp().catch(() => {}));
        return { staged };
      }
      await file.finish(attributes);
      fileWork.drop(staged);
      return { staged: "" };
    });
  } catch (error) {
    await giveUp();
    throw asFileError(error, place?.path ?? "");
  }
}

function writeInPlace(agent: Agent, request: WriteFileRequest, { signal }: RpcContext): Promise<WriteFileResponse> {
  const { place, mode, offset, data, attributes, last } = request;
  return withPlace(agent, place, { follow: true, change: true }, signal, async ({ found }) => {
    const file = found.entry ? await openExisting(found, mode === "APPEND" ? APPEND : WRITE) : await create(found);
    try {
      if (mode === "IN_PLACE" && Number(offset) === 0) await file.truncate(0);
      for (let done = 0; done < data.length; ) {
        const at = mode === "APPEND" ? null : Number(offset) + done;
        done += (await file.write(data, done, data.length - done, at)).bytesWritten;
      }
      if (last) await apply(file, attributes);
    } finally {
      await file.close();
    }
    return { staged: "" };
  });
}

async function openExisting(found: Found, flags: number): Promise<FileHandle> {
  regular(existing(found, "stats"));
  const entry = existing(found, "entry");
  await notOfKernel(entry);
  return open(pathOf(entry), flags);
}

async function create({ parent, name }: Found): Promise<FileHandle> {
  const file = await open(pathOf(parent, name), CREATE, 0o644);
  await file.chmod(0o644); // whatever the agent's umask
  return file;
}
