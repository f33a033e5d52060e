/** In place of the agent in a real guest: sends back on each stream what comes. */
import { readFileSync } from "node:fs";
import { acceptSessions } from "tapvisor/protocol";
import { findPort, portName } from "../../../../plugins/guest-linux/agent/find-port.ts";
import { openPort } from "../../../../plugins/guest-linux/agent/port.ts";

void acceptSessions(openPort(findPort(portName(readFileSync("/proc/cmdline", "utf8")))), (session) => {
  session.onStream = (stream) => {
    stream.on("error", () => {}); // the host dropped it
    stream.pipe(stream);
  };
});
