import { type AgentStreams, type Call, type GuestProcessId, isTapvisorError } from "tapvisor/plugin";
import type { DataStreamRequest, VersionCheckResponse } from "tapvisor/protocol";
import type { Link } from "../link.ts";
import { inputOver } from "./input.ts";
import { type OpenedStream, openDataStream } from "./open.ts";
import { outputOver } from "./output.ts";

/** The version of the data streams that is spoken here. */
const VERSION = 1;

/** The data streams of a link; nothing where the guest does not offer them in its first answer. */
export function dataStreams(link: Link, version: VersionCheckResponse | undefined): AgentStreams {
  if (version?.tapvisor_data_streams !== VERSION) return {};
  const open = async <T>(process: GuestProcessId, stream: DataStreamRequest["stream"], call: Call, over: (opened: OpenedStream) => T) => {
    try {
      return over(await openDataStream(link, { ...process, stream }, call));
    } catch (error) {
      if (isTapvisorError(error) && error.code === "HOST_LIMIT") return undefined;
      throw error;
    }
  };
  return {
    openOutput: (process, stream, call) => open(process, stream, call, outputOver),
    openInput: (process, call) => open(process, "stdin", call, inputOver),
  };
}
