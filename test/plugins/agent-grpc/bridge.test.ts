import { once } from "node:events";
import { existsSync, readdirSync, statSync } from "node:fs";
import { connect } from "node:net";
import { dirname, join } from "node:path";
import { type Duplex, duplexPair } from "node:stream";
import { buffer } from "node:stream/consumers";
import * as assert from "uvu/assert";
import { openBridge } from "../../../plugins/agent-grpc/bridge.ts";
import { suite } from "../../support/suite.ts";
import { tempDirectory } from "../../support/temp.ts";
import { failure } from "./expect.ts";

const s = suite("agent-grpc bridge");

s.test("the socket stands in a directory of its own with mode 0700, also under umask 0", async () => {
  await using directory = await tempDirectory();
  const [near] = duplexPair() as [Duplex, Duplex];
  const before = process.umask(0);
  const bridge = await openBridge(directory.path, near).finally(() => process.umask(before));
  assert.is(statSync(dirname(bridge.path)).mode & 0o777, 0o700);
  assert.is(dirname(dirname(bridge.path)), directory.path);
  await bridge.close();
});

s.test("carries bytes both ways, and the socket's file goes as soon as somebody is connected", async () => {
  await using directory = await tempDirectory();
  const [near, far] = duplexPair() as [Duplex, Duplex];
  const bridge = await openBridge(directory.path, near);
  const socket = connect(bridge.path);
  await bridge.unlinked;
  assert.equal(readdirSync(directory.path), []);
  far.pipe(far);
  const frame = Buffer.concat([Buffer.from("004000000000000001", "hex"), Buffer.alloc(16_384, "x")]);
  const sent = Buffer.concat(Array<Buffer>(192).fill(frame));
  const echoed = buffer(socket);
  socket.end(sent);
  assert.is(Buffer.compare(await echoed, sent), 0);
  assert.is(await bridge.ended, undefined);
});

s.test("takes one connection only", async () => {
  await using directory = await tempDirectory();
  const [near] = duplexPair() as [Duplex, Duplex];
  const bridge = await openBridge(directory.path, near);
  const first = connect(bridge.path);
  first.on("error", () => {});
  const second = connect(bridge.path);
  second.on("error", () => {});
  await new Promise((resolve) => second.once("close", resolve));
  assert.not(first.destroyed);
  await bridge.close();
  first.destroy();
});

s.test("close before anybody is connected removes the socket's file, and may be repeated", async () => {
  await using directory = await tempDirectory();
  const [near] = duplexPair() as [Duplex, Duplex];
  const bridge = await openBridge(directory.path, near);
  assert.ok(existsSync(bridge.path));
  await bridge.close();
  await bridge.close();
  assert.equal(readdirSync(directory.path), []);
  assert.ok(near.destroyed);
});

s.test("a stream that fails ends the connection, and ended tells why", async () => {
  await using directory = await tempDirectory();
  const [near] = duplexPair() as [Duplex, Duplex];
  const bridge = await openBridge(directory.path, near);
  const socket = connect(bridge.path);
  await once(socket, "connect");
  await bridge.unlinked;
  near.destroy(new Error("reset"));
  socket.resume();
  await once(socket, "close");
  assert.is((await bridge.ended)?.message, "reset");
});

s.test("a path above 107 bytes is refused before anything is made", async () => {
  await using directory = await tempDirectory();
  const [near] = duplexPair() as [Duplex, Duplex];
  const long = join(directory.path, "ü".repeat(50));
  const error = await failure("HOST_LIMIT", openBridge(long, near));
  assert.is(error.data.wanted, Buffer.byteLength(join(long, "grpc-XXXXXX", "s")));
  assert.match(error.message, "wanted at most 107");
});

s.run();
