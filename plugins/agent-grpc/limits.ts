/** The most one read asks for and one write sends, bytes: large enough that the round trip no longer counts, small enough to keep per stream. */
export const MAX_STREAM_BYTES = 1024 * 1024;

/** The largest answer taken, bytes: a full read with its envelope; nothing else an agent answers comes near. */
export const MAX_RECEIVE_BYTES = MAX_STREAM_BYTES + 64 * 1024;

/** The largest request, bytes: what a gRPC server takes by default. An OCI configuration is the only one that could come near. */
export const MAX_SEND_BYTES = 4 * 1024 * 1024;

/** The most bytes of headers, or of trailers, that an answer may have on the wire: Node takes no more of them once they are unpacked. */
export const MAX_HEADER_BLOCK = 64 * 1024;
/** The most entries of a directory that one answer has: with the longest names it stays below the largest. */
export const MAX_LIST_ENTRIES = 1000;

/** The most text of the guest that goes into an error, characters. */
export const MAX_TEXT = 4096;

/** The longest name (a version, a storage handler) and the most names taken from the guest. */
export const MAX_NAME = 128;
export const MAX_NAMES = 64;

/** The most of a complaint about what the guest told that goes into an error, characters: it quotes the guest. */
export const MAX_TOLD = 512;

/** The most that goes into the guest's random number generator at once, bytes. */
export const MAX_RANDOM_BYTES = 64 * 1024;

/** The longest name and the most entries of each list that statistics may have. */
export const MAX_STATS_NAME = 256;
export const MAX_STATS_ENTRIES = 256;

/** The most processes of a container that are taken from the guest. */
export const MAX_PROCESSES = 4096;

/** The longest unix socket path that the kernel takes, bytes. */
export const MAX_SOCKET_PATH = 107;

/** How long each call may take, ms. Those that wait for a process have none: the caller's signal ends them. */
export const DEADLINES = {
  Check: 15_000,
  Version: 15_000,
  CreateSandbox: 30_000,
  DestroySandbox: 30_000,
  GetGuestDetails: 15_000,
  CreateContainer: 60_000,
  StartContainer: 60_000,
  RemoveContainer: 30_000,
  PauseContainer: 15_000,
  ResumeContainer: 15_000,
  UpdateContainer: 15_000,
  StatsContainer: 15_000,
  OnlineCPUMem: 60_000,
  SyncResources: 60_000,
  FindDisk: 30_000,
  ReleaseDisk: 30_000,
  ExecProcess: 60_000,
  TtyWinResize: 15_000,
  ListProcesses: 15_000,
  DescribeProcesses: 15_000,
  ListInterfaces: 15_000,
  UpdateInterface: 30_000,
  AddInterface: 30_000,
  RemoveInterface: 15_000,
  ListRoutes: 15_000,
  UpdateRoutes: 60_000,
  AddARPNeighbors: 60_000,
  ReseedRandomDev: 15_000,
  SetGuestDateTime: 15_000,
  MemHotplugByProbe: 30_000,
  StartTracing: 15_000,
  StopTracing: 15_000,
  CopyFile: 30_000,
  GetOOMEvent: undefined,
  StatFile: 30_000,
  ListDirectory: 60_000,
  ReadFile: 60_000,
  WriteFile: 60_000,
  MakeDirectory: 30_000,
  MakeLink: 30_000,
  SetAttributes: 30_000,
  RemoveFile: 300_000, // of a large tree
  RenameFile: 30_000,
  WatchDirectory: 30_000,
  UnwatchDirectory: 15_000,
  SignalProcess: 15_000,
  CloseStdin: 15_000,
  NextFileEvents: undefined,
  OpenStream: 15_000,
  OfferImage: 30_000,
  WithdrawImage: 30_000,
  PrepareToBeSaved: 60_000,
  Renew: 30_000,
  WaitProcess: undefined,
  ReadStdout: undefined,
  ReadStderr: undefined,
  WriteStdin: undefined,
} as const;

/** How long the agent may try to end a container's processes before RemoveContainer fails, seconds: less than the 10 s a release has. */
export const REMOVE_TIMEOUT_SECONDS = 8;

/** What may be on its way from the guest to a reader of a data stream that has paused, bytes: as much as the agent keeps until it is acknowledged. */
export const DATA_WINDOW_BYTES = 1024 * 1024;

/**
 * Output that was taken is acknowledged at this many bytes, or this many ms after the first of them: an acknowledgement costs an emulated agent about
 * as much as 64 KiB of output. Less than half of the window, so that the window's update goes with it.
 */
export const ACKNOWLEDGE_BYTES = 384 * 1024;
export const ACKNOWLEDGE_MS = 100;

/** How long the last acknowledgement of a stream that is let go may take to be sent, ms. */
export const LAST_ACKNOWLEDGEMENT_MS = 1000;

/** How long `close` waits for the transport, ms. */
export const CLOSE_TIMEOUT_MS = 2000;

/** How long an agent that takes no new calls may still answer the pending ones, ms. */
export const GRACE_MS = 1000;
