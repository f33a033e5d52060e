import assert from "node:assert/strict";
import { access, constants, mkdir, readdir, realpath, rm, stat, symlink, writeFile } from "node:fs/promises";
import { isAbsolute, join } from "node:path";
import type { RootfsGrant, RootfsIntent, RootfsSource, RootfsStorage } from "../contracts/rootfs.ts";
import { checksOn, type SuiteOptions } from "./conformance/checks.ts";
import { assertRecordable, failure, firedCall, rejects } from "./conformance/expect.ts";
import { quietCall } from "./quiet-call.ts";

/** A storage of root file systems, and sources for it. */
export interface RootfsFixture extends AsyncDisposable {
  readonly storage: RootfsStorage;
  /** An existing, empty directory of the check's own. */
  readonly directory: string;
  /** A source of this kind that works: the storage says which kinds it takes. */
  source(kind: RootfsSource["kind"]): Promise<RootfsSource>;
  /** Everything that is held on the host now, as plain data: mounts, copies, loop devices. `directory` is no part of it. */
  snapshot(): Promise<unknown>;
}

const KINDS = ["directory", "image", "block"] as const satisfies readonly RootfsSource["kind"][];

/**
 * What every rootfs storage must do, as tests. The kinds of source that it does not take are checked to be refused.
 *
 * @example
 * rootfsSuite("my storage", makeFixture, { suite });
 */
export function rootfsSuite(name: string, make: () => Promise<RootfsFixture>, options: SuiteOptions): void {
  const plain = checksOn(name, make, options);
  const check = (behaviour: string, body: (fixture: RootfsFixture) => Promise<void>) =>
    plain(behaviour, async (fixture) => {
      const before = await fixture.snapshot();
      await body(fixture);
      assert.deepEqual(await fixture.snapshot(), before, "something is left");
    });
  /** For each kind that the storage takes. */
  const checkEach = (behaviour: string, body: (fixture: RootfsFixture, source: RootfsSource) => Promise<void>) =>
    check(behaviour, async (fixture) => {
      for (const kind of fixture.storage.sources) await body(fixture, await fixture.source(kind));
    });

  check("it takes at least one known kind of source", async ({ storage }) => {
    assert.ok(storage.sources.length > 0);
    for (const kind of storage.sources) assert.ok(KINDS.includes(kind), `"${kind}" is no kind of source`);
  });

  check("a kind that it does not take is UNSUPPORTED", async (fixture) => {
    for (const kind of KINDS.filter((each) => !fixture.storage.sources.includes(each))) {
      await rejects(`acquire() of a source of kind ${kind}`, acquire(fixture, missing(kind)), "UNSUPPORTED");
    }
  });

  checkEach("it grants what is there, of the kind that it says, as data that survives JSON", async (fixture, source) => {
    await using held = await hold(fixture, source);
    assertRecordable("a grant", held.grant);
    assert.equal(held.grant.type, fixture.storage.grants ?? "share");
    assert.ok(isAbsolute(placeOf(held.grant)), `${placeOf(held.grant)} is not absolute`);
    await assertUsable(held.grant);
    if (held.grant.type !== "block") return;
    assert.ok(["raw", "qcow2"].includes(held.grant.format), `"${held.grant.format}" is no format of a disk`);
    assert.match(held.grant.fstype, /^[\w.-]+$/, "the file system is not one that mount takes");
  });

  checkEach("release() is success twice, by the intent alone, and when nothing was acquired", async (fixture, source) => {
    const { rootfs } = fixture.storage.holdings;
    const intent = intentOf(source);
    await rootfs.release({ intent, grant: undefined }, quietCall());
    const grant = await rootfs.acquire(intent, quietCall());
    for (const known of [grant, grant, undefined]) await rootfs.release({ intent, grant: known }, quietCall());
    await rootfs.acquire(intent, quietCall());
    await rootfs.release(JSON.parse(JSON.stringify({ intent })), quietCall());
  });

  checkEach("two containers use one source, and the release of one leaves the other's files", async (fixture, source) => {
    const first = await hold(fixture, source, "first");
    const second = await hold(fixture, source, "second");
    await first[Symbol.asyncDispose]();
    await assertUsable(second.grant);
    await second[Symbol.asyncDispose]();
  });

  checkEach("every kind of access is granted or refused as UNSUPPORTED", async (fixture, source) => {
    for (const wanted of ["copy-on-write", "readonly", "shared"] as const) {
      const intent = { ...intentOf(source), access: wanted };
      const [outcome] = await Promise.allSettled([fixture.storage.holdings.rootfs.acquire(intent, quietCall())]);
      if (outcome.status === "rejected") await rejects(`access ${wanted}`, Promise.reject(outcome.reason), "UNSUPPORTED");
      await fixture.storage.holdings.rootfs.release({ intent, grant: undefined }, quietCall());
    }
  });

  checkEach("acquire() with a signal that has fired fails and leaves nothing", async (fixture, source) => {
    await failure("acquire() with a fired signal", fixture.storage.holdings.rootfs.acquire(intentOf(source), firedCall()));
  });

  check("a source that is not there is refused and leaves nothing", async (fixture) => {
    for (const kind of fixture.storage.sources) await rejects(`a missing ${kind}`, acquire(fixture, missing(kind)));
  });

  checkDirectories(check);
}

/** Only for a storage that takes directories. */
function checkDirectories(register: (behaviour: string, body: (fixture: RootfsFixture) => Promise<void>) => void): void {
  const check = (behaviour: string, body: (fixture: RootfsFixture) => Promise<void>) =>
    register(behaviour, async (fixture) => {
      if (fixture.storage.sources.includes("directory")) await body(fixture);
    });

  check("a file in place of a directory is INVALID_INPUT", async (fixture) => {
    const path = join(fixture.directory, "file");
    await writeFile(path, "");
    await rejects("acquire() of a file", acquire(fixture, { kind: "directory", path }), "INVALID_INPUT");
  });

  check("a link is followed at once: the grant does not change with it", async (fixture) => {
    const [before, after, link] = ["before", "after", "link"].map((each) => join(fixture.directory, each)) as [string, string, string];
    for (const directory of [before, after]) await mkdir(directory);
    await writeFile(join(before, "mark"), "");
    await symlink(before, link);
    await using held = await hold(fixture, { kind: "directory", path: link });
    await rm(link);
    await symlink(after, link);
    if (held.grant.type === "share") assert.deepEqual(await readdir(held.grant.directory), ["mark"]);
    assert.equal(await realpath(placeOf(held.grant)), placeOf(held.grant), "the grant still leads through a link");
  });

  check("the directory itself outlives its release, unchanged", async (fixture) => {
    const path = join(fixture.directory, "rootfs");
    await mkdir(path);
    await writeFile(join(path, "mark"), "");
    await using _held = await hold(fixture, { kind: "directory", path });
    await _held[Symbol.asyncDispose]();
    assert.deepEqual(await readdir(path), ["mark"]);
  });
}

/** Where on the host a grant is. */
function placeOf(grant: RootfsGrant): string {
  return grant.type === "share" ? grant.directory : grant.path;
}

/** A directory can be read, and an image or a block device is there to be opened. */
async function assertUsable(grant: RootfsGrant): Promise<void> {
  if (grant.type === "share") return void (await readdir(grant.directory));
  await access(grant.path, constants.R_OK);
  const found = await stat(grant.path);
  assert.ok(found.isFile() || found.isBlockDevice(), `${grant.path} is no image and no block device`);
}

function intentOf(source: RootfsSource, container = "web"): RootfsIntent {
  return { sandbox: "box", container, source, access: "copy-on-write" };
}

function missing(kind: RootfsSource["kind"]): RootfsSource {
  return kind === "image" ? { kind, reference: "nowhere.invalid/nothing:0" } : { kind, path: "/nonexistent/source" };
}

/** Acquires, and gives back what should not have been granted. */
async function acquire({ storage }: RootfsFixture, source: RootfsSource): Promise<RootfsGrant> {
  const intent = intentOf(source);
  try {
    return await storage.holdings.rootfs.acquire(intent, quietCall());
  } finally {
    await storage.holdings.rootfs.release({ intent, grant: undefined }, quietCall());
  }
}

async function hold({ storage }: RootfsFixture, source: RootfsSource, container?: string) {
  const { rootfs } = storage.holdings;
  const intent = intentOf(source, container);
  const grant = await rootfs.acquire(intent, quietCall());
  return { grant, [Symbol.asyncDispose]: () => rootfs.release({ intent, grant }, quietCall()) };
}
