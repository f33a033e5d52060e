import { posix } from "node:path";
import type { AgentFiles, FilePlace } from "tapvisor/plugin";
import { agentSuite } from "tapvisor/testing";
import { suite } from "../../support/suite.ts";
import { client, deaf, type MakeAgent } from "./amend-agent.ts";
import { type Defects, expectCaught } from "./expect-caught.ts";

const s = suite("agentSuite against agents that are bad with files");

/** The fake agent with something of its files changed. */
const files = (amend: (honest: AgentFiles) => Partial<AgentFiles>): MakeAgent =>
  client(({ files: honest }) => {
    if (!honest) throw new Error("the fake agent has files");
    return { files: { ...honest, ...amend(honest) } };
  });

/** A base as a mere prefix: links and ".." lead out of it. */
const prefixed = ({ container, path, base = "" }: FilePlace): FilePlace => ({ container, path: posix.join("/", base, path) });

const defects: Defects<MakeAgent> = {
  "has none": [/what is written is read/, client(() => ({ files: undefined as never }))],
  "writes other bytes": [
    /what is written is read/,
    files((honest) => ({
      write: (place, piece, call) => honest.write(place, { ...piece, data: Buffer.from(piece.data).reverse() }, call),
    })),
  ],
  "reads from the beginning always": [
    /what is written is read/,
    files((honest) => ({ read: (place, range, call) => honest.read(place, { ...range, offset: 0 }, call) })),
  ],
  "shows a file before it is whole": [
    /appears only when it is whole/,
    files((honest) => ({
      write: (place, piece, call) => honest.write(place, { ...piece, mode: piece.mode === "replace" ? "append" : piece.mode }, call),
    })),
  ],
  "takes pieces out of order": [
    /a piece out of order/,
    files((honest) => {
      const sent = new Map<string, number>();
      return {
        write: async (place, piece, call) => {
          const offset = sent.get(piece.staged ?? "") ?? 0;
          const staged = await honest.write(place, { ...piece, offset }, call);
          sent.set(staged, offset + piece.data.length);
          return staged;
        },
      };
    }),
  ],
  "does not discard": [/and so does discard/, files(() => ({ discard: async () => {} }))],
  "reads on in another file": [
    /takes another's place/,
    files((honest) => ({ read: (place, { offset, length }, call) => honest.read(place, { offset, length }, call) })),
  ],
  "replaces a file that is to be appended to": [
    /append and in-place/,
    files((honest) => ({ write: (place, piece, call) => honest.write(place, { ...piece, mode: "replace" }, call) })),
  ],
  "follows links when it is not to": [
    /stat\(\) tells/,
    files((honest) => ({ stat: (place, _, call) => honest.stat(place, { follow: true }, call) })),
  ],
  "does not set the owner": [
    /stat\(\) tells/,
    files((honest) => ({ setAttributes: (place, { uid: _uid, gid: _gid, ...rest }, call) => honest.setAttributes(place, rest, call) })),
  ],
  "gives the first page always": [
    /list\(\) gives/,
    files((honest) => ({ list: (place, { limit }, call) => honest.list(place, { after: "", limit }, call) })),
  ],
  "lists more than was asked for": [
    /list\(\) gives/,
    files((honest) => ({ list: (place, { after }, call) => honest.list(place, { after, limit: 1000 }, call) })),
  ],
  "removes what is not empty": [
    /directories are made/,
    files((honest) => ({ remove: (place, _, call) => honest.remove(place, { recursive: true }, call) })),
  ],
  "makes a directory twice": [
    /directories are made/,
    files((honest) => ({ makeDirectory: (place, options, call) => honest.makeDirectory(place, { ...options, recursive: true }, call) })),
  ],
  "copies instead of renaming": [
    /rename\(\) gives/,
    files((honest) => ({
      rename: async (place, to, call) => {
        const { data } = await honest.read(place, { offset: 0, length: 1000 }, call);
        await honest.write({ ...place, path: to }, { mode: "replace", offset: 0, data, last: true }, call);
      },
    })),
  ],
  "lets a base be left": [
    /nothing leads out of it/,
    files((honest) => ({
      read: (place, range, call) => honest.read(prefixed(place), range, call),
      write: (place, piece, call) => honest.write(prefixed(place), piece, call),
    })),
  ],
  "takes any path": [
    /each is refused/,
    files((honest) => ({
      read: (place, range, call) => honest.read({ ...place, path: place.path.startsWith("/") ? place.path : "/etc/passwd" }, range, call),
    })),
  ],
  "does not look at the signal": [
    /each is refused/,
    files((honest) => ({ stat: (place, options, call) => honest.stat(place, options, { ...call, ...deaf }) })),
  ],
  "never tells an event": [/a watch tells/, files(() => ({ nextEvents: () => new Promise(() => {}) }))],
  "tells events of nothing": [/a watch tells/, files(() => ({ nextEvents: async () => ({ events: [], ended: false }) }))],
  "shows one container's files in another": [
    /not started yet/,
    files((honest) => ({ write: (place, piece, call) => honest.write({ ...place, container: "web" }, piece, call) })),
  ],
};

expectCaught(s, defects, (name, make, options) => agentSuite(name, make, options));

s.run();
