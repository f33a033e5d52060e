import { sweepFaults } from "../../support/fault-sweep.ts";

sweepFaults("faults while a template is built", ["build template"]);
