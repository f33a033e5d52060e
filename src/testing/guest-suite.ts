import assert from "node:assert/strict";
import { constants } from "node:fs";
import { access, stat } from "node:fs/promises";
import { isAbsolute } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { BootAssets, Guest } from "../contracts/guest.ts";
import { checksOn, type SuiteOptions } from "./conformance/checks.ts";
import { assertFindings, assertRecordable, firedCall, rejects } from "./conformance/expect.ts";
import { quietCall } from "./quiet-call.ts";

/** A guest whose files may be there already or still have to be built. */
export interface GuestFixture extends AsyncDisposable {
  readonly guest: Guest;
}

/** How long a guest may take to be built where it is not there yet, ms. */
const BUILD_MS = 120_000;

/** When callers give up, after `prepare` has begun, ms. */
const GIVE_UP_AFTER_MS = [0, 1, 10, 50];

/**
 * What every guest must do, as tests.
 *
 * @example
 * guestSuite("my guest", async () => ({ guest, [Symbol.asyncDispose]: async () => {} }), { suite });
 */
export function guestSuite(name: string, make: () => Promise<GuestFixture>, options: SuiteOptions): void {
  const check = checksOn(name, make, { timeoutMs: BUILD_MS, ...options });
  const build = () => quietCall({ timeoutMs: BUILD_MS });

  check("prepare() gives absolute paths of files that can be read, and words for the kernel", async ({ guest }) => {
    const assets = await guest.prepare(build());
    assertRecordable("boot assets", assets);
    for (const file of filesOf(assets)) {
      assert.ok(isAbsolute(file), `${file} is not absolute`);
      await access(file, constants.R_OK);
      assert.equal((await stat(file)).isDirectory(), false, `${file} is a directory`);
    }
    for (const word of assets.kernelParameters) assert.match(word, /^[!-~]+$/, "a kernel parameter is one printable word");
    assert.match(assets.agentPort, /^[\w.-]+$/);
  });

  check("prepare() does nothing the second time, and gives the same", async ({ guest }) => {
    const assets = await guest.prepare(build());
    const before = await stamps(assets);
    const lines: string[] = [];
    assert.deepEqual(await guest.prepare(build(), (line) => lines.push(line)), assets);
    assert.deepEqual(await stamps(assets), before, "a file was written again");
    assert.deepEqual(lines, [], "a long step was announced");
  });

  check("prepare() reports each long step in one line", async ({ guest }) => {
    const lines: string[] = [];
    await guest.prepare(build(), (line) => lines.push(line));
    for (const line of lines) assert.match(line, /^[^\n]+$/);
  });

  check("many prepare() at once agree", async ({ guest }) => {
    const [first, ...others] = await Promise.all(Array.from({ length: 4 }, () => guest.prepare(build())));
    for (const other of others) assert.deepEqual(other, first);
  });

  check("prepare() with a signal that has fired fails, and works afterwards", async ({ guest }) => {
    await rejects("prepare() with a fired signal", guest.prepare(firedCall()));
    await Promise.all(filesOf(await guest.prepare(build())).map((file) => access(file)));
  });

  check("prepare() that is given up half-way ends, and works afterwards", async ({ guest }) => {
    for (const afterMs of GIVE_UP_AFTER_MS) {
      const caller = new AbortController();
      const preparing = guest.prepare(quietCall({ signal: caller.signal }));
      await Promise.allSettled([preparing, delay(afterMs).then(() => caller.abort())]);
    }
    await Promise.all(filesOf(await guest.prepare(build())).map((file) => access(file)));
  });

  check("inspectHost() reports what it found, and changes nothing of what was prepared", async ({ guest }) => {
    const before = await stamps(await guest.prepare(build()));
    assertFindings(await guest.inspectHost(quietCall()));
    assert.deepEqual(await stamps(await guest.prepare(build())), before);
  });
}

function filesOf({ kernel, initrd, image }: BootAssets): string[] {
  return [kernel, initrd, image].filter((file) => file !== undefined);
}

async function stamps(assets: BootAssets): Promise<unknown> {
  const found = filesOf(assets).map(async (file) => {
    const { ino, mtimeMs, size } = await stat(file);
    return { file, ino, mtimeMs, size };
  });
  return Promise.all(found);
}
