import { access, mkdir, readdir, readFile, truncate, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { addEntry, findEntry, newWorkDirectory, prune, removeAbandoned } from "../../../../plugins/guest-linux/image/cache.ts";
import { filesIn, type GuestFiles, isUndamaged, sealEntry } from "../../../../plugins/guest-linux/image/entry.ts";
import { recall, remember, requestKey, stampsOf } from "../../../../plugins/guest-linux/image/requests.ts";
import { suite } from "../../../support/suite.ts";
import { tempDirectory } from "../../../support/temp.ts";

const s = suite("guest-linux cache");

function content(digit: number): string {
  return digit.toString(16).repeat(64).slice(0, 64);
}

async function sealed(cache: string, text = "image"): Promise<GuestFiles> {
  const files = filesIn(join(await newWorkDirectory(cache), "entry"));
  await mkdir(files.directory);
  for (const file of [files.kernel, files.initrd, files.image]) await writeFile(file, text);
  await sealEntry(files);
  return files;
}

async function setAge(path: string, minutes: number): Promise<void> {
  const then = new Date(Date.now() - minutes * 60_000);
  await utimes(path, then, then);
}

s.test("an added entry is found under its content", async () => {
  await using temp = await tempDirectory();
  assert.is(await findEntry(temp.path, content(1)), undefined);
  const added = await addEntry(temp.path, content(1), await sealed(temp.path));
  assert.equal(await findEntry(temp.path, content(1)), added);
  assert.is(await readFile(added.image, "utf8"), "image");
});

s.test("of two builders of one content both get the same whole entry", async () => {
  await using temp = await tempDirectory();
  const builds = [await sealed(temp.path), await sealed(temp.path)];
  const entries = await Promise.all(builds.map((files) => addEntry(temp.path, content(1), files)));
  assert.equal(entries[0], entries[1]);
  assert.ok(await isUndamaged(filesIn(join(temp.path, content(1)))));
});

s.test("an entry cut short, without a file or without its manifest is not found, and a new one takes its place", async () => {
  for (const damage of [
    (files: GuestFiles) => truncate(files.image, 2),
    (files: GuestFiles) => writeFile(files.initrd, "longer than it was"),
    (files: GuestFiles) => writeFile(join(files.directory, "manifest.json"), "{"),
    (files: GuestFiles) => writeFile(join(files.directory, "manifest.json"), "{}"),
  ]) {
    await using temp = await tempDirectory();
    await damage(await addEntry(temp.path, content(1), await sealed(temp.path)));
    assert.is(await findEntry(temp.path, content(1)), undefined);
    const mended = await addEntry(temp.path, content(1), await sealed(temp.path));
    assert.ok(await isUndamaged(mended));
  }
});

s.test("damage that keeps the size is seen by the full check", async () => {
  await using temp = await tempDirectory();
  const entry = await addEntry(temp.path, content(1), await sealed(temp.path));
  assert.ok(await isUndamaged(entry));
  await writeFile(entry.image, "imagf");
  assert.ok(await findEntry(temp.path, content(1)));
  assert.not.ok(await isUndamaged(entry));
});

s.test("prune() keeps the newest three and all used in the last minutes", async () => {
  await using temp = await tempDirectory();
  for (const digit of [1, 2, 3, 4, 5]) await addEntry(temp.path, content(digit), await sealed(temp.path));
  for (const digit of [1, 2, 3, 4, 5]) await setAge(join(temp.path, content(digit)), 60 * digit);
  await findEntry(temp.path, content(5));
  await prune(temp.path);
  const left = (await readdir(temp.path)).filter((name) => !name.startsWith(".")).sort();
  assert.equal(left, [content(1), content(2), content(5)]);
  for (const digit of [6, 7, 8]) await addEntry(temp.path, content(digit), await sealed(temp.path));
  await prune(temp.path);
  assert.ok(await findEntry(temp.path, content(5)), "used a moment ago");
});

s.test("prune() removes what dead builds left and nothing of a live one", async () => {
  await using temp = await tempDirectory();
  const dead = await newWorkDirectory(temp.path);
  const live = await newWorkDirectory(temp.path);
  await setAge(dead, 61);
  await prune(temp.path);
  await access(live);
  await removeAbandoned(join(temp.path, "absent"));
  assert.equal(await readdir(temp.path), [live.slice(temp.path.length + 1)]);
});

s.test("a request is recalled until one of its files changes, is replaced or goes", async () => {
  await using temp = await tempDirectory();
  const file = join(temp.path, "input");
  const key = requestKey({ node: file });
  await writeFile(file, "1");
  const write = async () => remember(temp.path, key, { content: content(1), stamps: await stampsOf([file]) });
  assert.is(await recall(temp.path, key), undefined);
  await write();
  assert.is(await recall(temp.path, key), content(1));
  assert.is(await recall(temp.path, requestKey({ node: "other" })), undefined);
  await writeFile(file, "2"); // the same size
  assert.is(await recall(temp.path, key), undefined);
  await write();
  assert.is(await recall(temp.path, key), content(1));
  await setAge(file, 5);
  assert.is(await recall(temp.path, key), undefined);
  await remember(temp.path, key, { content: content(1), stamps: await stampsOf([file, join(temp.path, "absent")]) });
  assert.is(await recall(temp.path, key), undefined, "a file that was absent has no stamp to trust");
});

s.test("a damaged record of requests counts as none, and goes with its content", async () => {
  await using temp = await tempDirectory();
  const key = requestKey(1);
  await remember(temp.path, key, { content: content(1), stamps: {} });
  const record = join(temp.path, "requests", `${key}.json`);
  for (const text of ["", "null", "[]", '{"content":"../../etc"}', '{"content":1,"stamps":{}}']) {
    await writeFile(record, text);
    assert.is(await recall(temp.path, key), undefined);
  }
  await remember(temp.path, key, { content: content(1), stamps: {} });
  await prune(temp.path);
  assert.equal(await readdir(join(temp.path, "requests")), []);
});

s.run();
