import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { isTapvisorError } from "tapvisor/plugin";
import { loadLmdb } from "../../../plugins/state-lmdb/load-lmdb.ts";
import { createLmdbStore } from "../../../plugins/state-lmdb/state-store.ts";
import { damage } from "./damage.ts";

/** Damages a copy of a store again and again, uses it by every verb, and reports what came of it. In a process of its own: it may crash. */
const [, , intact = "", copy = "", kind = "", rounds = "0"] = process.argv;
const bytes = readFileSync(intact);
const lmdb = await loadLmdb();

for (let round = 0; round < Number(rounds); round++) {
  const file = `${copy}-${round}`;
  writeFileSync(file, damage(kind as "cut" | "record", bytes, round));
  const store = createLmdbStore({ file, lmdb });
  const wrong: string[] = [];
  let corrupt = 0;
  const attempt = async <T>(work: Promise<T>): Promise<T | undefined> => {
    try {
      return await work;
    } catch (error) {
      if (isTapvisorError(error) && ["NOT_FOUND", "ALREADY_EXISTS"].includes(error.code)) return undefined;
      if (isTapvisorError(error) && error.code === "STATE_CORRUPT" && error.data.file === file) corrupt++;
      else wrong.push(String(error));
      return undefined;
    }
  };
  for (let n = 0; n < 20; n++) {
    const record = await attempt(store.read(`web-${n}`));
    if (record !== undefined && JSON.stringify(record) !== JSON.stringify({ n, filler: "x".repeat(3000) }))
      wrong.push(`web-${n} read wrong`);
  }
  await attempt(store.list());
  await attempt(store.write("web-3", "new"));
  await attempt(store.create("another", "new"));
  await attempt(store.remove("web-4"));
  await attempt(store.close());
  for (const each of [file, `${file}-lock`]) rmSync(each, { force: true });
  process.send?.({ round, corrupt, wrong });
}
process.disconnect();
