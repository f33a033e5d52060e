import { sweepFaults } from "../../support/fault-sweep.ts";

sweepFaults("faults while a sandbox is forked or saved", ["fork sandbox", "save snapshot"]);
