import { join } from "node:path";
import { checkId, type HoldingKind, messageOf, onceAborted, type RootfsGrant, type RootfsIntent, throwIfAborted } from "tapvisor/plugin";
import { lookAtBlock } from "./block-source.ts";
import { buildImage, removeImage } from "./build-image.ts";
import { unsupported } from "./errors.ts";

/** Copies of directories lie here, each in a directory of its container's name. */
const IMAGES = "rootfs-block";
const UNDO_MS = 5_000;

/**
 * A disk for a rootfs: one that is there already and only looked at, or a copy of a directory, made for this container and gone with it.
 * What a copy is called follows from the intent alone, so that one whose maker died is found.
 */
export function rootfsHolding(stateDirectory: string): HoldingKind<RootfsIntent, RootfsGrant> {
  // "@" is in no id: different pairs have different names.
  const placeOf = ({ sandbox, container }: RootfsIntent) =>
    join(stateDirectory, IMAGES, `${checkId("sandbox", sandbox)}@${checkId("container", container)}`);
  /** Copies being made by this process: an acquisition that was given up still needs a moment to end its program. */
  const building = new Map<string, { readonly stop: AbortController; readonly image: Promise<RootfsGrant> }>();

  return {
    async acquire(intent, call) {
      const { source, access } = intent;
      throwIfAborted(call.signal, `looking at rootfs ${source.kind}`);
      if (source.kind === "block") return lookAtBlock(source, access);
      if (source.kind === "image") throw unsupported("rootfs of kind image", "rootfs-block takes disks and directories");
      if (access === "shared") throw unsupported("shared rootfs", "what is written to a copy does not reach the directory");
      const place = placeOf(intent);
      const stop = new AbortController();
      const signal = AbortSignal.any([call.signal, stop.signal]);
      const image = buildImage(source.path, place, stateDirectory, { ...call, signal }).catch(async (error: unknown) => {
        // The caller's signal may have fired. What cannot be removed now is found by release.
        await removeImage(place, AbortSignal.timeout(UNDO_MS)).catch((failure) =>
          call.log.warn({ place, reason: messageOf(failure) }, "left"),
        );
        throw error;
      });
      building.set(place, { stop, image });
      return image.finally(() => building.delete(place));
    },

    async release({ intent }, { signal }) {
      if (intent.source.kind !== "directory") return;
      const place = placeOf(intent);
      const running = building.get(place);
      if (running) {
        running.stop.abort(new Error("it is released"));
        await Promise.race([running.image.catch(() => {}), onceAborted(signal)]);
      }
      await removeImage(place, signal);
    },
  };
}
