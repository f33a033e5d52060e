import type { Finding } from "../contracts/finding.ts";

/** What `setup` and `doctor` need of the host: usable before anything is installed. */
export interface HostView {
  /** What every slot's provider found when it looked at this host; changes nothing. */
  findings(): Promise<readonly Finding[]>;
  /** Builds the guest's files where they are not there yet; `onProgress` gets a line for each long step. */
  prepareGuest(onProgress: (line: string) => void): Promise<void>;
  close(): Promise<void>;
}

export interface HostViewOptions {
  readonly config?: string;
  readonly preset?: string;
  /** A kernel to use instead of the distribution's, and the directory of its modules. */
  readonly kernel?: string;
  readonly modules?: string;
}

export type OpenHost = (options: HostViewOptions) => Promise<HostView>;
