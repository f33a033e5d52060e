import { type AgentFiles, type Call, TapvisorError } from "tapvisor/plugin";
import type { FakeFiles, FakeOperation } from "tapvisor/testing";
import type { Connection } from "./connection.ts";

/** The calls for the files of containers, answered by the guest in the same world. */
export function fakeFiles(connection: Connection): AgentFiles {
  const { guest } = connection.vm;
  const ask = <T>(
    operation: FakeOperation,
    container: string,
    call: Call,
    work: (files: FakeFiles, signal: AbortSignal) => T | Promise<T>,
  ) =>
    connection.call(operation, container, call, (signal) => {
      const found = guest.containers.get(container);
      if (found) return work(found.files, signal);
      throw new TapvisorError("AGENT_FAILED", `Cannot use the files of container "${container}": there is none`, {
        data: { method: operation, status: "NOT_FOUND" },
      });
    });
  return {
    stat: (place, options, call) => ask("agent.statFile", place.container, call, (files) => files.stat(place, options)),
    list: (place, options, call) => ask("agent.listDirectory", place.container, call, (files) => files.list(place, options)),
    read: (place, range, call) => ask("agent.readFile", place.container, call, (files) => files.read(place, range)),
    write: (place, piece, call) => ask("agent.writeFile", place.container, call, (files) => files.write(place, piece)),
    discard: (place, staged, call) => ask("agent.discardFile", place.container, call, (files) => files.discard(staged)),
    makeDirectory: (place, options, call) =>
      ask("agent.makeDirectory", place.container, call, (files) => files.makeDirectory(place, options)),
    makeLink: (place, link, call) => ask("agent.makeLink", place.container, call, (files) => files.makeLink(place, link)),
    setAttributes: (place, attributes, call) =>
      ask("agent.setAttributes", place.container, call, (files) => files.setAttributes(place, attributes)),
    remove: (place, options, call) => ask("agent.removeFile", place.container, call, (files) => files.remove(place, options)),
    rename: (place, to, call) => ask("agent.renameFile", place.container, call, (files) => files.rename(place, to)),
    watch: (place, call) => ask("agent.watchDirectory", place.container, call, (files) => files.watch(place)),
    nextEvents: (container, watch, call) =>
      ask("agent.nextFileEvents", container, call, (files, signal) => files.watchOf(watch).next(signal)),
    unwatch: (container, watch, call) => ask("agent.unwatchDirectory", container, call, (files) => files.unwatch(watch)),
  };
}

/** Those of a plain Kata guest: none. */
export function noFiles(): AgentFiles {
  const refuse = () => {
    const what = "files of a container";
    return Promise.reject(
      new TapvisorError("UNSUPPORTED", `Cannot use the ${what}: the fake guest is a plain Kata one`, { data: { what, by: "agent-fake" } }),
    );
  };
  return {
    stat: refuse,
    list: refuse,
    read: refuse,
    write: refuse,
    discard: refuse,
    makeDirectory: refuse,
    makeLink: refuse,
    setAttributes: refuse,
    remove: refuse,
    rename: refuse,
    watch: refuse,
    nextEvents: refuse,
    unwatch: refuse,
  };
}
