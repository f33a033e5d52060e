import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { isTapvisorError } from "../../base/errors.ts";
import { type AgentFiles, FILE_PIECE_BYTES } from "../../contracts/agent-files.ts";
import type { CheckOn } from "../conformance/checks.ts";
import { begun, failure, firedCall, isPending, rejects } from "../conformance/expect.ts";
import { quietCall } from "../quiet-call.ts";
import { type AgentFixture, type AgentWorld, withSandbox } from "./fixture.ts";

/** The files of a container that runs, and shorter words for them. */
interface FileWorld extends AgentWorld {
  readonly files: AgentFiles;
  readonly at: (path: string, base?: string) => { readonly container: string; readonly path: string; readonly base?: string };
  put(path: string, data: Uint8Array | string): Promise<void>;
  get(path: string, base?: string): Promise<string>;
}

/** The files of containers. An agent without them leaves `files` out, or refuses each call with UNSUPPORTED. */
export function fileChecks(check: CheckOn<AgentFixture>): void {
  const checkFiles = (behaviour: string, body: (world: FileWorld) => Promise<void>) =>
    check(behaviour, (fixture) =>
      withSandbox(fixture, async (world) => {
        const { files } = world.client;
        if (!(fixture.extras ?? true)) {
          if (files)
            await rejects(
              "stat() of a guest without files",
              files.stat({ container: "web", path: "/" }, { follow: true }, quietCall()),
              "UNSUPPORTED",
            );
          return;
        }
        assert.ok(files, "a guest with extras has files");
        await world.run("web", ["sleep", "60"]);
        await body({ ...world, ...wordsFor(files) });
      }),
    );

  checkFiles("what is written is read, in pieces and from an offset, and appears only when it is whole", async ({ files, at, get }) => {
    const data = randomBytes(200_001);
    const hash = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
    const first = data.subarray(0, 130_000);
    const begin = { mode: "replace", offset: 0, data: first, last: false } as const;
    const staged = await files.write(at("/big"), begin, quietCall());
    await rejects("a file that is not whole", files.stat(at("/big"), { follow: true }, quietCall()), "NOT_FOUND");
    const end = { ...begin, staged, offset: first.length, data: data.subarray(first.length), last: true };
    assert.equal(await files.write(at("/big"), end, quietCall()), "", "a file that is whole is staged no more");
    const { data: one, identity } = await files.read(at("/big"), { offset: 0, length: 70_000 }, quietCall());
    assert.equal(one.length, 70_000);
    const two = await files.read(at("/big"), { offset: one.length, length: FILE_PIECE_BYTES, identity }, quietCall());
    assert.equal(hash(Buffer.concat([one, two.data])), hash(data), "other bytes came back");
    assert.deepEqual((await files.read(at("/big"), { offset: data.length, length: 10 }, quietCall())).data.length, 0);
    assert.equal(
      Buffer.from((await files.read(at("/big"), { offset: 7, length: 5 }, quietCall())).data).equals(data.subarray(7, 12)),
      true,
    );
    assert.match(await get("/etc/passwd"), /root/);
  });

  checkFiles("a piece out of order is refused and gives the file up, and so does discard()", async ({ files, at }) => {
    const begin = { mode: "replace", offset: 0, data: Buffer.from("one"), last: false } as const;
    const staged = await files.write(at("/a"), begin, quietCall());
    await failure("a piece out of order", files.write(at("/a"), { ...begin, staged, offset: 99, last: true }, quietCall()));
    await rejects("a file that was given up", files.stat(at("/a"), { follow: true }, quietCall()), "NOT_FOUND");
    const other = await files.write(at("/a"), begin, quietCall());
    for (let time = 0; time < 2; time++) await files.discard(at("/a"), other, quietCall());
    await refuses(
      "a piece of what was discarded",
      files.write(at("/a"), { ...begin, staged: other, offset: 3, last: true }, quietCall()),
      "EBADF",
    );
    const left = (await files.list(at("/"), { after: "", limit: 1000 }, quietCall())).entries.map(({ name }) => name);
    assert.deepEqual(
      left.filter((name) => name.startsWith(".") || name === "a"),
      [],
      "something of it is left",
    );
  });

  checkFiles(
    "a file that takes another's place is another file with its permissions; append and in-place keep the file",
    async ({ files, at, put, get }) => {
      await put("/f", "one");
      await files.setAttributes(at("/f"), { mode: 0o600, uid: 5, gid: 6 }, quietCall());
      const { identity } = await files.stat(at("/f"), { follow: true }, quietCall());
      for (const [mode, offset, wanted] of [
        ["append", 0, "onetwo"],
        ["in-place", 0, "two"],
        ["in-place", 3, "twotwo"],
      ] as const) {
        await files.write(at("/f"), { mode, offset, data: Buffer.from("two"), last: true }, quietCall());
        assert.equal(await get("/f"), wanted);
        assert.equal((await files.stat(at("/f"), { follow: true }, quietCall())).identity, identity);
      }
      await put("/f", "new");
      const { mode, uid, gid, ...after } = await files.stat(at("/f"), { follow: true }, quietCall());
      assert.deepEqual({ mode, uid, gid }, { mode: 0o600, uid: 5, gid: 6 });
      assert.notEqual(after.identity, identity);
      await refuses("reading on in another file", files.read(at("/f"), { offset: 1, length: 1, identity }, quietCall()), "ESTALE");
    },
  );

  checkFiles("stat() tells type, size, permissions, owner, time, and where a link leads", async ({ files, at, put }) => {
    await put("/file", "four");
    await files.setAttributes(at("/file"), { mode: 0o4750, uid: 1000, gid: 1001, modifiedMs: 1_700_000_000_000 }, quietCall());
    const stat = await files.stat(at("/file"), { follow: true }, quietCall());
    const { type, size, mode, uid, gid, modifiedMs, links } = stat;
    assert.deepEqual(
      { type, size, mode, uid, gid, modifiedMs, links },
      { type: "file", size: 4, mode: 0o4750, uid: 1000, gid: 1001, modifiedMs: 1_700_000_000_000, links: 1 },
    );
    await files.makeLink(at("/link"), { target: "/file", hard: false }, quietCall());
    const link = await files.stat(at("/link"), { follow: false }, quietCall());
    assert.deepEqual([link.type, link.target], ["link", "/file"]);
    assert.equal((await files.stat(at("/link"), { follow: true }, quietCall())).identity, stat.identity);
    await files.makeLink(at("/name"), { target: "/file", hard: true }, quietCall());
    const name = await files.stat(at("/name"), { follow: false }, quietCall());
    assert.deepEqual([name.identity, name.links], [stat.identity, 2]);
    assert.equal((await files.stat(at("/"), { follow: false }, quietCall())).type, "directory");
  });

  checkFiles("list() gives the entries in order and in pages", async ({ files, at, put }) => {
    await files.makeDirectory(at("/d"), { recursive: false }, quietCall());
    const names = ["b", "a", "ü", "10", "9", ".hidden"];
    for (const name of names) await put(`/d/${name}`, name);
    const seen: string[] = [];
    for (let after = "", more = true; more; after = seen.at(-1) ?? "") {
      const page = await files.list(at("/d"), { after, limit: 4 }, quietCall());
      assert.ok(page.entries.length <= 4, "a page is longer than was asked for");
      assert.ok(page.entries.length > 0 && page.entries.every(({ name }) => name > after), "a page has names of the one before");
      seen.push(...page.entries.map(({ name }) => name));
      more = page.more;
    }
    assert.deepEqual(seen, [...names].sort());
  });

  checkFiles(
    "directories are made, with those above when asked; removed when they are empty, or with all that is in them",
    async ({ files, at, put }) => {
      await rejects("a directory in none", files.makeDirectory(at("/x/y/z"), { recursive: false }, quietCall()), "NOT_FOUND");
      for (let time = 0; time < 2; time++)
        await files.makeDirectory(at("/x/y/z"), { recursive: true, attributes: { mode: 0o700 } }, quietCall());
      assert.equal((await files.stat(at("/x/y/z"), { follow: false }, quietCall())).mode, 0o700);
      await refuses("a second one", files.makeDirectory(at("/x"), { recursive: false }, quietCall()), "EEXIST");
      await put("/x/y/file", "data");
      await files.makeLink(at("/x/y/link"), { target: "/etc", hard: false }, quietCall());
      await refuses("a directory that is not empty", files.remove(at("/x"), { recursive: false }, quietCall()), "ENOTEMPTY");
      await files.remove(at("/x"), { recursive: true }, quietCall());
      await rejects("what was removed", files.stat(at("/x"), { follow: false }, quietCall()), "NOT_FOUND");
      assert.equal((await files.stat(at("/etc/passwd"), { follow: false }, quietCall())).type, "file", "a link was followed");
      await rejects("a removal twice", files.remove(at("/x"), { recursive: true }, quietCall()), "NOT_FOUND");
      await refuses("the removal of the root", files.remove(at("/"), { recursive: true }, quietCall()), "EBUSY");
    },
  );

  checkFiles("rename() gives another name, in place of a file that has it", async ({ files, at, put, get }) => {
    await put("/one", "1");
    await put("/two", "2");
    await files.rename(at("/one"), "/two", quietCall());
    assert.equal(await get("/two"), "1");
    await rejects("the old name", files.stat(at("/one"), { follow: false }, quietCall()), "NOT_FOUND");
    await rejects("a name that is not there", files.rename(at("/one"), "/two", quietCall()), "NOT_FOUND");
  });

  checkFiles('links are followed as in the container: absolute ones and ".." stay in its root', async ({ files, at, put, get }) => {
    await files.makeDirectory(at("/d/e"), { recursive: true }, quietCall());
    await put("/secret", "of the container");
    const links = {
      abs: "/secret",
      up: "../../../../../../secret",
      rel: "../secret",
      chain: "abs",
      loop: "loop",
      out: "/../../secret",
      gone: "/nowhere",
    };
    for (const [name, target] of Object.entries(links)) await files.makeLink(at(`/d/${name}`), { target, hard: false }, quietCall());
    for (const name of ["abs", "up", "rel", "chain", "out"]) assert.equal(await get(`/d/${name}`), "of the container", name);
    assert.equal(await get("/d/e/../../d/abs"), "of the container");
    await refuses("a link to itself", files.read(at("/d/loop"), { offset: 0, length: 1 }, quietCall()), "ELOOP");
    await rejects("a link to nothing", files.read(at("/d/gone"), { offset: 0, length: 1 }, quietCall()), "NOT_FOUND");
    await refuses("a file as a directory", files.stat(at("/secret/x"), { follow: true }, quietCall()), "ENOTDIR");
    await put("/d/rel", "through the link");
    assert.equal(await get("/secret"), "through the link");
    assert.equal((await files.stat(at("/d/rel"), { follow: false }, quietCall())).type, "link");
  });

  checkFiles("with a base nothing leads out of it", async ({ files, at, put, get }) => {
    await files.makeDirectory(at("/base/etc"), { recursive: true }, quietCall());
    await put("/base/etc/passwd", "of the base");
    for (const [name, target] of Object.entries({ abs: "/etc", up: "../../../etc" })) {
      await files.makeLink(at(`/${name}`, "/base"), { target, hard: false }, quietCall());
      assert.equal(await get(`/${name}/passwd`, "/base"), "of the base");
      await files.write(at(`/${name}/new`, "/base"), { mode: "replace", offset: 0, data: Buffer.from("x"), last: true }, quietCall());
    }
    await rejects("what is outside", files.stat(at("/etc/new"), { follow: true }, quietCall()), "NOT_FOUND");
    assert.equal(await get("/../../etc/passwd", "/base"), "of the base");
  });

  checkFiles("a path that is none, a directory as a file, an unknown container: each is refused", async ({ files, at }) => {
    const read = (path: string) => files.read(at(path), { offset: 0, length: 1 }, quietCall());
    for (const path of ["", "etc/passwd", "/a\0b", `/${"x".repeat(5000)}`]) await failure(JSON.stringify(path.slice(0, 20)), read(path));
    await refuses("a directory", read("/etc"), "EISDIR");
    await refuses("a name that is too long", read(`/${"x".repeat(300)}`), "ENAMETOOLONG");
    await failure("an unknown container", files.stat({ container: "nobody", path: "/" }, { follow: true }, quietCall()));
    await failure("a signal that has fired", files.stat(at("/"), { follow: true }, firedCall()));
  });

  checkFiles("a watch tells what happens in its directory, and ends with the container", async ({ client, files, at, put }) => {
    await files.makeDirectory(at("/w/below"), { recursive: true }, quietCall());
    await put("/w/there", "1");
    const watch = await files.watch(at("/w"), quietCall());
    const caller = new AbortController();
    const waiting = begun(files.nextEvents("web", watch, quietCall({ signal: caller.signal })));
    assert.equal(await isPending(waiting), true, "there were events of nothing");
    caller.abort();
    await failure("a wait that was given up", waiting);
    await files.write(at("/w/there"), { mode: "append", offset: 0, data: Buffer.from("2"), last: true }, quietCall());
    await files.rename(at("/w/there"), "/w/other", quietCall());
    const seen = new Set<string>();
    while (!seen.has("rename other")) {
      const { events, ended } = await files.nextEvents("web", watch, quietCall());
      assert.equal(ended, false);
      assert.ok(events.length > 0, "nextEvents() did not wait for any");
      for (const { type, name } of events) seen.add(`${type} ${name}`);
    }
    for (const event of ["change there", "rename there"]) assert.ok(seen.has(event), `${event} is missing: ${[...seen]}`);
    for (let time = 0; time < 2; time++) await files.unwatch("web", watch, quietCall());
    await failure("a watch that has ended", files.nextEvents("web", watch, quietCall()));
    const second = await files.watch(at("/w"), quietCall());
    const last = begun(files.nextEvents("web", second, quietCall()));
    await client.removeContainer("web", quietCall());
    const [end] = await Promise.allSettled([last]);
    if (end.status === "fulfilled") assert.equal(end.value.ended, true);
  });

  checkFiles("a container that is not started yet has its files, without its mounts", async ({ create, files, get }) => {
    await create("later", ["true"]);
    const at = (path: string) => ({ container: "later", path });
    await files.write(at("/mark"), { mode: "replace", offset: 0, data: Buffer.from("x"), last: true }, quietCall());
    assert.equal((await files.stat(at("/mark"), { follow: true }, quietCall())).size, 1);
    await rejects("the file of another container", get("/mark"), "NOT_FOUND");
  });
}

/** The system must refuse `work` with this word. */
async function refuses(what: string, work: Promise<unknown>, errno: string): Promise<void> {
  const error = await rejects(what, work, "FILE_FAILED");
  assert.equal(isTapvisorError(error) && Reflect.get(error.data, "errno"), errno, what);
}

function wordsFor(files: AgentFiles): Pick<FileWorld, "files" | "at" | "put" | "get"> {
  const at: FileWorld["at"] = (path, base) => ({ container: "web", path, ...(base !== undefined && { base }) });
  return {
    files,
    at,
    async put(path, data) {
      await files.write(at(path), { mode: "replace", offset: 0, data: Buffer.from(data), last: true }, quietCall());
    },
    async get(path, base) {
      const { data } = await files.read(at(path, base), { offset: 0, length: FILE_PIECE_BYTES }, quietCall());
      return Buffer.from(data).toString();
    },
  };
}
