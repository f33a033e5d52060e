import { join } from "node:path";
import { rootfsHolding } from "../../../plugins/rootfs-block/rootfs-holding.ts";
import { quietCall } from "../../../src/testing/quiet-call.ts";
import { directoryIntent } from "./world.ts";

/** Copies a tree again and again, until it is killed. */
const [top = ""] = process.argv.slice(2);
const { acquire, release } = rootfsHolding(join(top, "state"));
const intent = directoryIntent(join(top, "files", "tree"));

process.send?.("begun");
for (;;) {
  await acquire(intent, quietCall({ timeoutMs: 60_000 }));
  await release({ intent, grant: undefined }, quietCall());
}
