import type { GuestProcessId } from "tapvisor/plugin";

/** A process as the messages name it. */
export function idOf(process: GuestProcessId): { readonly container_id: string; readonly exec_id: string } {
  return { container_id: process.container, exec_id: process.exec };
}

/** A process as errors name it. */
export function nameOf({ container, exec }: GuestProcessId): string {
  return exec === container || exec === "" ? `container "${container}"` : `process "${exec}" of container "${container}"`;
}
