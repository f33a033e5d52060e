import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";
import { tempDirectory } from "../../../support/temp.ts";

export const GREETING = '{"QMP":{"version":{"qemu":{"micro":22,"minor":2,"major":7},"package":""},"capabilities":["oob"]}}\r\n';

export interface FakeQmp extends AsyncDisposable {
  readonly path: string;
  /** Ends every connection. */
  hangUp(): void;
}

export interface Request {
  readonly execute: string;
  readonly arguments: Record<string, unknown>;
  readonly id: number;
}

/** Answers one request; may write whatever it likes, whenever it likes. */
export type Script = (request: Request, socket: Socket) => void;

/** A control socket that greets, accepts `qmp_capabilities`, and otherwise follows a script. */
export async function fakeQmp(script: Script, greeting = GREETING): Promise<FakeQmp> {
  const temp = await tempDirectory();
  const path = join(temp.path, "qmp.sock");
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.write(greeting);
    let text = "";
    socket.on("data", (chunk) => {
      text += chunk.toString();
      for (let end = text.indexOf("\n"); end !== -1; end = text.indexOf("\n")) {
        const request = JSON.parse(text.slice(0, end)) as Request;
        text = text.slice(end + 1);
        if (request.execute === "qmp_capabilities") answer(socket, request, {});
        else script(request, socket);
      }
    });
  });
  server.listen(path);
  await once(server, "listening");
  const hangUp = () => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    path,
    hangUp,
    async [Symbol.asyncDispose]() {
      hangUp();
      server.close();
      await temp[Symbol.asyncDispose]();
    },
  };
}

export function answer(socket: Socket, { id }: Request, value: unknown): void {
  socket.write(`${JSON.stringify({ return: value, id })}\r\n`);
}

export function event(socket: Socket, name: string, data: object = {}): void {
  socket.write(`${JSON.stringify({ timestamp: { seconds: 1, microseconds: 2 }, event: name, data })}\r\n`);
}
