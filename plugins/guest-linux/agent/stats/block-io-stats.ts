import type { BlkioEntryMessage, BlkioStatsMessage } from "tapvisor/protocol";

/** The kernel's name for each operation's bytes and for its requests, and Kata's for the operation. */
const OPERATIONS = [
  ["rbytes", "rios", "Read"],
  ["wbytes", "wios", "Write"],
  ["dbytes", "dios", "Discard"],
] as const;

/** `io.stat`: a line for each device, `8:0 rbytes=1 wbytes=2 …`. The other lists are of counters that a cgroup v2 has not. */
export function blockIoStats(lines: string): BlkioStatsMessage {
  const bytes: BlkioEntryMessage[] = [];
  const requests: BlkioEntryMessage[] = [];
  for (const [, major = "", minor = "", rest = ""] of lines.matchAll(/^(\d+):(\d+) (.+)$/gm)) {
    const values = new Map([...rest.matchAll(/(\w+)=(\d+)/g)].map(([, name = "", value = ""]) => [name, value]));
    for (const [byteName, requestName, op] of OPERATIONS) {
      bytes.push({ major, minor, op, value: values.get(byteName) ?? "0" });
      requests.push({ major, minor, op, value: values.get(requestName) ?? "0" });
    }
  }
  return {
    io_service_bytes_recursive: bytes,
    io_serviced_recursive: requests,
    io_queued_recursive: [],
    io_service_time_recursive: [],
    io_wait_time_recursive: [],
    io_merged_recursive: [],
    io_time_recursive: [],
    sectors_recursive: [],
  };
}
