import type { HoldingKind, Json } from "./holding.ts";

/** Turns what a script names as a rootfs into something that can be plugged into a VM. */
export interface RootfsStorage {
  /** The source kinds it takes: `directory`, `image`, `block`. */
  readonly sources: readonly RootfsSource["kind"][];
  /** What its grants are; the engine asks for a kind that the hypervisor can plug in. `share` when absent. */
  readonly grants?: RootfsGrant["type"];
  readonly holdings: { readonly rootfs: HoldingKind<RootfsIntent, RootfsGrant> };
}

export type RootfsSource =
  | { readonly kind: "directory"; readonly path: string }
  | { readonly kind: "image"; readonly reference: string }
  | { readonly kind: "block"; readonly path: string; readonly format?: "raw" | "qcow2" | undefined; readonly fstype?: string | undefined };

export interface RootfsIntent {
  readonly sandbox: string;
  readonly container: string;
  readonly source: RootfsSource;
  /**
   * `copy-on-write`: the container writes to a layer of its own, gone with it. `readonly`: it cannot write. `shared`: it writes to the host's files.
   */
  readonly access: "copy-on-write" | "readonly" | "shared";
}

/** A prepared rootfs: a host directory to share with the guest, or a disk to plug into it. */
export type RootfsGrant =
  | { readonly type: "share"; readonly directory: string; readonly extra?: Json }
  | {
      readonly type: "block";
      /** Absolute path of an image file or of a block device. */
      readonly path: string;
      readonly format: "raw" | "qcow2";
      /** The file system on it, as `mount -t` takes it. */
      readonly fstype: string;
      readonly extra?: Json;
    };
