import { join } from "node:path";
import type { Transport } from "tapvisor/plugin";
import { transportSerial } from "tapvisor/plugins/transport-serial";
import { acceptSessions } from "tapvisor/protocol";
import { transportSuite } from "tapvisor/testing";
import { serialPort } from "../../protocol/yamux/support/serial-port.ts";
import { providerOf } from "../../support/fake-guest.ts";
import { suite } from "../../support/suite.ts";
import { tempDirectory } from "../../support/temp.ts";
import { fakeChardev } from "./support/chardev.ts";

const s = suite("transport-serial conformance");

transportSuite(
  "transport-serial",
  async () => {
    const directory = await tempDirectory();
    const serial = serialPort();
    const chardev = await fakeChardev(join(directory.path, "port"), serial);
    const die = async () => {
      serial.close();
      await chardev[Symbol.asyncDispose]();
    };
    return {
      transport: await providerOf<Transport>(transportSerial(), "transport", "serial"),
      endpoint: chardev.endpoint,
      boot() {
        acceptSessions(serial.port, (session) => {
          session.onStream = (stream) => stream.pipe(stream);
        }).catch(() => {}); // it ends with the port
      },
      die,
      async [Symbol.asyncDispose]() {
        await die();
        await directory[Symbol.asyncDispose]();
      },
    };
  },
  { suite: s },
);

s.run();
