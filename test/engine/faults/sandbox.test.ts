import { sweepFaults } from "../../support/fault-sweep.ts";

sweepFaults("faults in the life of a sandbox", [
  "create sandbox",
  "start ready sandbox",
  "start stopped sandbox",
  "pause sandbox",
  "resume sandbox",
  "stop sandbox",
  "stop sandbox by force",
  "delete sandbox",
]);
