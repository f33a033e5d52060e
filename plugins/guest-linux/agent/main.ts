import { readFileSync } from "node:fs";
import { assumeBootId, messageOf } from "tapvisor/plugin";
import { acceptSessions } from "tapvisor/protocol";
import { createAgent } from "./agent.ts";
import { findPort, portName } from "./find-port.ts";
import { acceptingAnyAuthority } from "./foreign/any-authority.ts";
import { GUEST_PATHS } from "./guest-paths.ts";
import { createLog } from "./log.ts";
import { openPort } from "./port.ts";
import { createAgentServer } from "./server.ts";

const log = createLog((line) => process.stdout.write(line));

process.on("unhandledRejection", (reason) => log.error(messageOf(reason), { stack: reason instanceof Error ? reason.stack : undefined }));

async function main(): Promise<void> {
  assumeBootId("this guest's");
  const port = openPort(findPort(portName(readFileSync("/proc/cmdline", "utf8"))));
  const server = createAgentServer(createAgent(GUEST_PATHS, log, port));
  await acceptSessions(port, (session, announced) => {
    session.onStream = (stream) => server.serve(announced ? stream : acceptingAnyAuthority(stream));
  });
}

main().catch((error: unknown) => {
  log.error(messageOf(error), { stack: error instanceof Error ? error.stack : undefined });
  process.exitCode = 1;
});
