import type { HypervisorPlanner, PlannedCommand } from "tapvisor/plugin";

/** What the fake would do, in words of its own: one command for each thing. */
export const fakePlanner: HypervisorPlanner = {
  share: ({ id, entries }) => [{ command: "plug-share", arguments: { id, entries: entries.map(({ name }) => name) } }],
  disk: ({ id, path, format, readonly, driver, index }) => [
    { command: "plug-disk", arguments: { id, path, format, readonly, driver, index } },
  ],
  resize(from, to) {
    const vcpus: PlannedCommand = { command: "resize-vcpus", arguments: { from: from.vcpus, to: to.vcpus } };
    const memory: PlannedCommand = { command: "resize-memory", arguments: { from: from.memoryBytes, to: to.memoryBytes } };
    return [...(from.vcpus === to.vcpus ? [] : [vcpus]), ...(from.memoryBytes === to.memoryBytes ? [] : [memory])];
  },
};
