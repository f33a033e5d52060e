import { sweepFaults } from "../../support/fault-sweep.ts";

sweepFaults("faults in the life of a sandbox", [
  "create sandbox",
  "create sandbox from a template",
  "start ready sandbox",
  "start stopped sandbox",
  "start stopped sandbox from a template",
  "pause sandbox",
  "resume sandbox",
  "stop sandbox",
  "stop sandbox by force",
  "delete sandbox",
]);
