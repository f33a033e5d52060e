import { once } from "node:events";
import { posix } from "node:path";
import { type Duplex, duplexPair, PassThrough } from "node:stream";
import { Server, ServerCredentials, type ServerUnaryCall, type sendUnaryData, status, type UntypedHandleCall } from "@grpc/grpc-js";
import type { Transport } from "../../../src/contracts/transport.ts";
import {
  agentServiceDefinition,
  type CopyFileRequest,
  type CreateContainerRequest,
  healthServiceDefinition,
  type StorageMessage,
} from "../../../src/protocol/kata/index.ts";

/** What a pipe holds before its writer waits. */
const PIPE_BYTES = 64 * 1024;
const HANDLERS = ["9p", "virtio-fs", "blk", "blk-ccw", "mmioblk", "scsi", "nvdimm", "ephemeral", "local"];

class Refused extends Error {
  readonly code: status;
  constructor(code: status, details: string) {
    super(details);
    this.code = code;
  }
}

/** A process's output pipe: its writer waits when it is full, and closing it drops what is unread. */
class Pipe {
  readonly #stream = new PassThrough({ highWaterMark: PIPE_BYTES });
  #closed = false;
  #dead = false;

  /** All of it, piece by piece as there is room; ends early when the process does. */
  async write(bytes: Buffer): Promise<void> {
    for (let at = 0; at < bytes.length && !this.#dead; at += 4096) {
      if (!this.#stream.write(bytes.subarray(at, at + 4096))) await once(this.#stream, "drain").catch(() => {});
    }
  }

  /** The writer has ended. */
  end(): void {
    this.#dead = true;
    this.#stream.end();
    this.#stream.emit("drain");
  }

  close(): void {
    this.#closed = true;
    this.#stream.destroy();
  }

  async read(bytes: number): Promise<Buffer> {
    for (;;) {
      if (this.#closed) throw new Refused(status.UNKNOWN, "read |0: file already closed");
      const data = this.#stream.read(Math.min(bytes, this.#stream.readableLength)) as Buffer | null;
      if (data && data.length > 0) return data;
      if (this.#stream.readableEnded || (this.#dead && this.#stream.readableLength === 0)) throw new Refused(status.UNKNOWN, "EOF");
      await Promise.race(["readable", "end", "close", "drain"].map((event) => once(this.#stream, event).catch(() => {})));
    }
  }
}

interface Process {
  readonly stdout: Pipe;
  readonly stderr: Pipe;
  readonly stdin: PassThrough;
  readonly ended: Promise<number>;
  end(exitCode: number): void;
  isOver: boolean;
}

interface Container {
  readonly id: string;
  readonly request: CreateContainerRequest;
  readonly process: Process;
  readonly mounts: readonly string[];
  known: boolean;
  state: "created" | "running" | "paused" | "stopped";
}

/** What a container's process does, by the first of its arguments. */
export type Programs = Readonly<Record<string, (process: Process, args: readonly string[]) => Promise<number>>>;

const PROGRAMS: Programs = {
  say: async ({ stdout, stderr }, [out = "", err = "", exitCode = "0"]) => {
    await stdout.write(Buffer.from(out));
    await stderr.write(Buffer.from(err));
    return Number(exitCode);
  },
  write: async ({ stdout }, [bytes = "0"]) => {
    await stdout.write(Buffer.alloc(Number(bytes), "x"));
    return 0;
  },
  cat: async ({ stdin, stdout }) => {
    for await (const chunk of stdin) await stdout.write(chunk as Buffer);
    return 0;
  },
  wait: () => new Promise(() => {}),
};

/** A server that behaves as the Kata agent 1.12 does, in memory: its answers, its texts, and what it does not do. */
export interface KataServer extends AsyncDisposable {
  readonly transport: Transport;
  /** Methods in the order of their calls, those of reads left out. */
  readonly calls: string[];
  readonly containers: ReadonlyMap<string, Container>;
  /** Mount points that are mounted now. */
  mounted(): string[];
  readonly onlineRequests: { readonly nb_cpus: number; readonly cpu_only: boolean }[];
  /** What CopyFile has made, by path. */
  readonly files: Map<string, CopiedFile>;
}

export interface CopiedFile {
  bytes: Buffer;
  mode: number;
  uid: number;
  gid: number;
}

export function kataServer(): KataServer {
  const containers = new Map<string, Container>();
  const mounts: string[] = [];
  const directories = new Set(["/run/kata-containers"]);
  const calls: string[] = [];
  const onlineRequests: { nb_cpus: number; cpu_only: boolean }[] = [];
  const files = new Map<string, CopiedFile>();
  let running = false;

  const containerOf = (id: string) => {
    const found = containers.get(id);
    if (!found) throw new Refused(status.NOT_FOUND, `Container ${id} not found`);
    return found;
  };
  const processOf = (id: string, exec: string) => {
    const { process, known } = containerOf(id);
    if (exec === id && known) return process;
    throw new Refused(status.NOT_FOUND, `Process ${exec} not found (container ${id})`);
  };

  /** As the agent's mkdir: every directory that the path passes is made, also those it leaves by "..". */
  function makeDirectories(path: string): void {
    const at: string[] = [];
    for (const name of path.split("/").filter(Boolean)) {
      if (name === "..") at.pop();
      else at.push(name);
      directories.add(`/${at.join("/")}`);
    }
  }
  function mount({ driver, source, fstype, options, mount_point }: StorageMessage): string {
    const refuse = (why: string): never => {
      throw new Refused(status.INTERNAL, `Could not mount ${source} to ${mount_point}: ${why}`);
    };
    if (!HANDLERS.includes(driver)) throw new Refused(status.INVALID_ARGUMENT, `Unknown storage driver "${driver}"`);
    const plain = posix.resolve(mount_point);
    if (fstype === "virtiofs" || fstype === "9p") makeDirectories(mount_point.slice(0, mount_point.lastIndexOf("/")));
    else if (fstype !== "tmpfs") makeDirectories(mount_point);
    if (!directories.has(plain)) refuse("no such file or directory");
    if (fstype === "overlay") {
      const layers = ["upperdir=", "workdir="].map((name) => options.find((option) => option.startsWith(name))?.slice(name.length) ?? "");
      if (!layers.every((layer) => directories.has(layer))) refuse("no such file or directory");
    }
    for (const directory of directories) if (directory.startsWith(`${plain}/`)) directories.delete(directory); // they lie covered
    mounts.push(plain);
    return plain;
  }

  function start(): Process {
    let settle: (exitCode: number) => void = () => {};
    const ended = new Promise<number>((resolve) => {
      settle = resolve;
    });
    const process: Process = {
      stdout: new Pipe(),
      stderr: new Pipe(),
      stdin: new PassThrough({ highWaterMark: PIPE_BYTES }),
      ended,
      isOver: false,
      end(exitCode) {
        process.isOver = true;
        process.stdout.end();
        process.stderr.end();
        settle(exitCode);
      },
    };
    return process;
  }

  type Answer = object | undefined | Promise<object | undefined>;
  const methods: Readonly<Record<string, (request: never) => Answer>> = {
    Check: () => ({ status: "SERVING" }),
    Version: () => ({ grpc_version: "0.0.1", agent_version: "1.12.1-942bda8" }),
    GetGuestDetails: () => ({ mem_block_size_bytes: "134217728", agent_details: { version: "1.12.1", storage_handlers: HANDLERS } }),
    CreateSandbox: () => {
      if (running) throw new Refused(status.ALREADY_EXISTS, "Sandbox already started, impossible to start again");
      running = true;
      return undefined;
    },
    DestroySandbox: () => {
      running = false;
      return undefined;
    },
    CreateContainer: (request: CreateContainerRequest) => {
      const id = request.container_id;
      if (!running) throw new Refused(status.FAILED_PRECONDITION, "Sandbox not started, impossible to run a new container");
      if (containers.has(id)) throw new Refused(status.ALREADY_EXISTS, `Container ${id} already exists, impossible to create`);
      if (request.OCI?.Linux?.Namespaces?.some(({ Type }) => Type === "pid")) {
        const text = `Unexpected PID namespace received for container ${id}, should have been cleared out`;
        throw new Refused(status.FAILED_PRECONDITION, text);
      }
      const mounted = request.storages.map(mount).reverse();
      const [command = ""] = request.OCI?.Process?.Args ?? [];
      if (!Object.hasOwn(PROGRAMS, command)) {
        for (const each of mounted) mounts.splice(mounts.lastIndexOf(each), 1);
        const text = `Could not run process: container_linux.go:349: starting container process caused "exec: \\"${command}\\": executable file not found in $PATH"`;
        throw new Refused(status.INTERNAL, text);
      }
      const process = start();
      const made: Container = { id, request, process, mounts: mounted, known: true, state: "created" };
      void process.ended.then(() => {
        made.state = "stopped";
      });
      containers.set(id, made);
      return undefined;
    },
    StartContainer: ({ container_id }: { container_id: string }) => {
      const made = containerOf(container_id);
      if (made.state !== "created") {
        throw new Refused(status.FAILED_PRECONDITION, `Container ${container_id} status ${made.state}, should be created`);
      }
      made.state = "running";
      const [command = "", ...args] = made.request.OCI?.Process?.Args ?? [];
      void PROGRAMS[command]?.(made.process, args).then((exitCode) => made.process.end(exitCode));
      return undefined;
    },
    SignalProcess: ({ container_id, exec_id, signal }: { container_id: string; exec_id: string; signal: number }) => {
      const made = containers.get(container_id);
      if (!made) {
        const inner = `rpc error: code = NotFound desc = Container ${container_id} not found`;
        throw new Refused(status.FAILED_PRECONDITION, `Could not signal process ${exec_id}: ${inner}`);
      }
      if (!made.process.isOver) made.process.end(128 + (signal === 15 ? 9 : signal)); // SIGTERM becomes SIGKILL: nobody handles it
      return undefined;
    },
    WaitProcess: async ({ container_id, exec_id }: { container_id: string; exec_id: string }) => {
      const process = processOf(container_id, exec_id);
      const exitCode = await process.ended;
      process.stdout.close();
      process.stderr.close();
      const made = containers.get(container_id);
      if (made) made.known = false;
      return { status: exitCode };
    },
    RemoveContainer: ({ container_id }: { container_id: string }) => {
      const made = containerOf(container_id);
      if (made.state === "paused") throw new Refused(status.UNKNOWN, "container_linux.go:366: container is paused");
      if (made.state === "running") throw new Refused(status.UNKNOWN, "container_linux.go:366: container is not destroyed");
      for (const each of made.mounts) mounts.splice(mounts.lastIndexOf(each), 1);
      containers.delete(container_id);
      made.process.end(137);
      return undefined;
    },
    PauseContainer: ({ container_id }: { container_id: string }) => {
      containerOf(container_id).state = "paused";
      return undefined;
    },
    ResumeContainer: ({ container_id }: { container_id: string }) => {
      containerOf(container_id).state = "running";
      return undefined;
    },
    UpdateContainer: ({ container_id }: { container_id: string }) => void containerOf(container_id),
    StatsContainer: ({ container_id }: { container_id: string }) => {
      containerOf(container_id);
      const usage = (used: string, limit: string) => ({ usage: used, max_usage: "9999", failcnt: "1", limit });
      const memory_stats = {
        usage: usage("1000", "4096"),
        swap_usage: usage("1500", "8192"),
        stats: { total_rss: "1000", hierarchical_memory_limit: "4096" },
      };
      return { cgroup_stats: { memory_stats } };
    },
    OnlineCPUMem: (request: { nb_cpus: number; cpu_only: boolean }) => {
      if (request.nb_cpus === 0 && request.cpu_only) {
        throw new Refused(status.UNKNOWN, "requested number of CPUs '0' must be greater than 0");
      }
      onlineRequests.push(request);
      return undefined;
    },
    // As the agent's own: it writes beside the file, without emptying what is there, and renames as soon as that has the file's length.
    CopyFile: ({ path, file_size, file_mode, uid, gid, offset, data }: CopyFileRequest) => {
      if (!path.startsWith("/run")) throw new Refused(status.UNKNOWN, "Only is possible to copy files into the /run directory");
      const before = files.get(`${path}.tmp`)?.bytes ?? Buffer.alloc(0);
      const bytes = Buffer.alloc(Math.max(before.length, Number(offset) + data.length));
      before.copy(bytes);
      Buffer.from(data).copy(bytes, Number(offset));
      files.set(`${path}.tmp`, { bytes, mode: 0o600, uid: 0, gid: 0 });
      if (bytes.length < Number(file_size)) return undefined;
      files.delete(`${path}.tmp`);
      files.set(path, { bytes, mode: file_mode, uid, gid });
      return undefined;
    },
    WriteStdin: ({ container_id, exec_id, data }: { container_id: string; exec_id: string; data: Buffer }) => {
      const { stdin, isOver } = processOf(container_id, exec_id);
      if (stdin.writableEnded) return { len: 0 };
      if (isOver) throw new Refused(status.UNKNOWN, "write |1: broken pipe");
      stdin.write(data);
      return { len: data.length };
    },
    CloseStdin: ({ container_id, exec_id }: { container_id: string; exec_id: string }) => {
      processOf(container_id, exec_id).stdin.end();
      return undefined;
    },
    // A read that nobody waits for any more goes on, and what it reads is lost.
    ReadStdout: async ({ container_id, exec_id, len }: { container_id: string; exec_id: string; len: number }) => ({
      data: await processOf(container_id, exec_id).stdout.read(len),
    }),
    ReadStderr: async ({ container_id, exec_id, len }: { container_id: string; exec_id: string; len: number }) => ({
      data: await processOf(container_id, exec_id).stderr.read(len),
    }),
  };

  const server = new Server();
  const respond = async (method: string, request: never, answer: sendUnaryData<unknown>): Promise<void> => {
    if (!method.startsWith("Read")) calls.push(method);
    const served = methods[method];
    if (!served) return answer({ code: status.UNIMPLEMENTED, details: `unknown method ${method}` });
    try {
      answer(null, (await served(request)) ?? {});
    } catch (error) {
      answer({ code: error instanceof Refused ? error.code : status.INTERNAL, details: (error as Error).message });
    }
  };
  const handle = (method: string) =>
    ((call: ServerUnaryCall<never, unknown>, answer: sendUnaryData<unknown>) => {
      void respond(method, call.request, answer);
    }) as UntypedHandleCall;
  for (const definition of [healthServiceDefinition, agentServiceDefinition]) {
    server.addService(definition, Object.fromEntries(Object.keys(definition).map((method) => [method, handle(method)])));
  }
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());

  const transport: Transport = {
    endpoints: ["memory"],
    connect: async () => {
      const streams: Duplex[] = [];
      let settle: (reason: Error | undefined) => void = () => {};
      const closed = new Promise<Error | undefined>((resolve) => {
        settle = resolve;
      });
      return {
        closed,
        openStream: async () => {
          const pair = duplexPair() as [Duplex, Duplex];
          for (const stream of pair) stream.on("error", () => {});
          streams.push(...pair);
          injector.injectConnection(pair[1]);
          return pair[0];
        },
        close: async () => {
          for (const stream of streams) stream.destroy();
          settle(undefined);
        },
      };
    },
  };
  return {
    transport,
    calls,
    containers,
    onlineRequests,
    files,
    mounted: () => [...mounts],
    [Symbol.asyncDispose]: async () => server.forceShutdown(),
  };
}
