import type { OciResources, OciSpec } from "tapvisor/plugin";
import { applyLimits } from "./apply-limits.ts";
import { stageConfig } from "./bundle.ts";
import type { GuestContainer } from "./guest-container.ts";
import { cgroupFiles, checkLimits, mergeLimits } from "./limits.ts";

/**
 * Sets the limits that are given, all or none, in the container's configuration and, once it runs, in its cgroup. The rules for devices are those of
 * its creation: what is given of them is not looked at, as in a Kata agent.
 * @throws INVALID_ARGUMENT, and as applyLimits.
 */
export function updateContainer(container: GuestContainer, change: OciResources, signal: AbortSignal): Promise<void> {
  return container.turns.run(async () => {
    const { config, state } = container;
    const limits = mergeLimits(config.linux.resources ?? {}, change);
    checkLimits(limits);
    const changed: OciSpec = { ...config, linux: { ...config.linux, resources: limits } };
    const staged = await stageConfig(container.files, changed); // first: nothing that could fail comes after the limits
    try {
      // All of them, not only what has changed: whatever became of an earlier attempt, the cgroup is then as the configuration says.
      if (state === "running" || state === "paused") await applyLimits(container.files.limits, cgroupFiles(limits), signal);
    } catch (error) {
      await staged.discard();
      throw error;
    }
    await staged.commit();
    container.config = changed;
  }, signal);
}
