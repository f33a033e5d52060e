import { sweepFaults } from "../../support/fault-sweep.ts";

sweepFaults("faults while a sandbox is forked", ["fork sandbox"]);
