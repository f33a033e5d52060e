import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** Twice: what the first collection has only moved, the second lets go of. */
const COLLECTIONS = 2;

/** Collects all garbage, so that none of it is in the saved memory and no collection is due soon: each page that one writes to would be a clone's own. */
export function settleHeap(): void {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  for (let time = 0; time < COLLECTIONS; time++) collect();
}
