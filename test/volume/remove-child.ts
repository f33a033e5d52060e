import { removeVolume } from "../../src/volume/volumes.ts";

/** Removes the volume "data" below a root, until it is killed. */
await removeVolume(process.argv[2] as string, "data", []);
