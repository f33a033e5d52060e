import type { UntypedServiceImplementation } from "@grpc/grpc-js";
import type { FileCalls } from "tapvisor/protocol";
import type { Agent } from "../agent.ts";
import type { DeliveryWatch } from "../delivery.ts";
import { implementation, loader, type Served } from "../service.ts";

/** `tapvisor.Files`: the files of a container, as it sees them. */
export function filesService(agent: Agent, delivery: DeliveryWatch): UntypedServiceImplementation {
  const with_ = loader(agent);
  const served: Served<FileCalls> = {
    StatFile: with_(async () => (await import("./stat-file.ts")).statFile),
    ListDirectory: with_(async () => (await import("./list-directory.ts")).listDirectory),
    ReadFile: with_(async () => (await import("./read-file.ts")).readFile),
    WriteFile: with_(async () => (await import("./write-file.ts")).writeFile),
    MakeDirectory: with_(async () => (await import("./make-directory.ts")).makeDirectory),
    MakeLink: with_(async () => (await import("./make-link.ts")).makeLink),
    SetAttributes: with_(async () => (await import("./attributes.ts")).setAttributes),
    RemoveFile: with_(async () => (await import("./remove-file.ts")).removeFile),
    RenameFile: with_(async () => (await import("./rename-file.ts")).renameFile),
    WatchDirectory: with_(async () => (await import("./watch-directory.ts")).watchDirectory),
    NextFileEvents: with_(async () => (await import("./watch-directory.ts")).nextFileEvents),
    UnwatchDirectory: with_(async () => (await import("./watch-directory.ts")).unwatchDirectory),
  };
  return implementation(served, agent, delivery);
}
