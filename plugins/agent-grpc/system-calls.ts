import { type AgentSystem, type Call, checkId, type GuestFile, TapvisorError } from "tapvisor/plugin";
import { healthServiceDefinition as health, agentServiceDefinition as rpc } from "tapvisor/protocol";
import { told } from "./answers.ts";
import { MAX_RANDOM_BYTES, MAX_STREAM_BYTES } from "./limits.ts";
import type { Send } from "./sender.ts";

const EMPTY = {};

/** The most that 32 bits without a sign hold. */
const MAX_ID = 0xffff_ffff;

/** The calls about the guest as a machine. */
export function systemCalls(send: Send): AgentSystem {
  return {
    check: async (call) => {
      const { status } = await send("Check", health.Check, { service: "" }, call);
      if (status !== "SERVING") {
        throw new TapvisorError("AGENT_FAILED", "Cannot rely on the agent: it is not serving", {
          data: { method: "Check", status: "NOT_SERVING" },
        });
      }
    },
    reseedRandom: async (data, call) => {
      want(data.length >= 1 && data.length <= MAX_RANDOM_BYTES, "data", data.length, `1 to ${MAX_RANDOM_BYTES} bytes`);
      await send("ReseedRandomDev", rpc.ReseedRandomDev, { data }, call);
    },
    setTime: async (unixMs, call) => {
      want(Number.isSafeInteger(Math.floor(unixMs)) && unixMs >= 0, "unixMs", unixMs, "milliseconds since 1970");
      const Sec = Math.floor(unixMs / 1000);
      const Usec = Math.floor((unixMs - Sec * 1000) * 1000);
      await send("SetGuestDateTime", rpc.SetGuestDateTime, { Sec: String(Sec), Usec: String(Usec) }, call);
    },
    nextOom: async (call) => {
      const { container_id } = await send("GetOOMEvent", rpc.GetOOMEvent, EMPTY, call);
      return told("container that ran out of memory", () => checkId("container_id", container_id));
    },
    probeMemory: async (addresses, call) => {
      for (const [index, address] of addresses.entries()) {
        want(Number.isSafeInteger(address) && address >= 0, `addresses[${index}]`, address, "an address");
      }
      await send("MemHotplugByProbe", rpc.MemHotplugByProbe, { memHotplugProbeAddr: addresses.map(String) }, call);
    },
    startTracing: async (call) => {
      await send("StartTracing", rpc.StartTracing, EMPTY, call);
    },
    stopTracing: async (call) => {
      await send("StopTracing", rpc.StopTracing, EMPTY, call);
    },
    copyFile: (file, content, call) => copyFile(send, file, content, call),
  };
}

/** Part after part, since an agent only appends; one call at least, for an empty file has to be made too. */
async function copyFile(send: Send, file: GuestFile, content: Iterable<Uint8Array> | AsyncIterable<Uint8Array>, call: Call): Promise<void> {
  checkFile(file);
  const { path, bytes, mode, directoryMode, uid, gid } = file;
  const fixed = { path, file_size: String(bytes), file_mode: mode, dir_mode: directoryMode, uid: uid | 0, gid: gid | 0 };
  let offset = 0;
  const append = async (data: Uint8Array) => {
    await send("CopyFile", rpc.CopyFile, { ...fixed, offset: String(offset), data }, call, { subject: `file ${JSON.stringify(path)}` });
    offset += data.length;
  };
  for await (const piece of content) {
    want(offset + piece.length <= bytes, "content", offset + piece.length, `${bytes} bytes, as file.bytes says`);
    for (let at = 0; at < piece.length; at += MAX_STREAM_BYTES) await append(piece.subarray(at, at + MAX_STREAM_BYTES));
  }
  want(offset === bytes, "content", offset, `${bytes} bytes, as file.bytes says`);
  if (bytes === 0) await append(new Uint8Array(0));
}

function checkFile({ path, bytes, mode, directoryMode, uid, gid }: GuestFile): void {
  const plain =
    path.startsWith("/") &&
    !path.includes("\0") &&
    !path
      .split("/")
      .slice(1)
      .some((part) => ["", ".", ".."].includes(part));
  want(plain, "file.path", path, 'an absolute path without ".", ".." or an empty part');
  want(Number.isSafeInteger(bytes) && bytes >= 0, "file.bytes", bytes, "a number of bytes");
  for (const [field, value] of Object.entries({ mode, directoryMode })) {
    want(Number.isInteger(value) && value >= 0 && value <= 0o7777, `file.${field}`, value, "permission bits, 0 to 0o7777");
  }
  for (const [field, value] of Object.entries({ uid, gid })) {
    want(Number.isInteger(value) && value >= 0 && value < MAX_ID, `file.${field}`, value, `0 to ${MAX_ID - 1}`);
  }
}

function want(holds: boolean, path: string, value: unknown, wanted: string): void {
  if (holds) return;
  throw new TapvisorError("INVALID_INPUT", `Cannot use ${path} ${JSON.stringify(value)}: wanted ${wanted}`, {
    data: { path, value, wanted },
  });
}
