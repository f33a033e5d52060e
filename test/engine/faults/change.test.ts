import { sweepFaults } from "../../support/fault-sweep.ts";

sweepFaults("faults in changing what is plugged in", ["update container", "update ready container", "add device", "remove device"]);
