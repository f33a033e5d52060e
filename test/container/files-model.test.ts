import fc from "fast-check";
import type { ContainerFiles } from "tapvisor";
import { isTapvisorError } from "tapvisor/plugin";
import * as assert from "uvu/assert";
import { fakeEngine } from "../support/fake-engine.ts";
import { suite } from "../support/suite.ts";

const s = suite("container files against a model");

/** All there is below a directory: text for a file, null for a directory, by path. */
type Model = Map<string, string | null>;

const above = (path: string) => path.slice(0, path.lastIndexOf("/"));
const isDirectory = (model: Model, path: string) => path === "" || model.get(path) === null;
const below = (model: Model, path: string) => [...model.keys()].filter((each) => each.startsWith(`${path}/`));

/** Why nothing can be at a path: something on its way is missing, or is a file. */
function wayTo(model: Model, path: string): string | undefined {
  for (let at = path.indexOf("/", 1); at !== -1; at = path.indexOf("/", at + 1)) {
    const found = model.get(path.slice(0, at));
    if (found === undefined) return "ENOENT";
    if (found !== null) return "ENOTDIR";
  }
  return undefined;
}

interface Operation {
  readonly name: string;
  run(files: ContainerFiles, at: (path: string) => string): Promise<unknown>;
  /** What must come of it, and does in the model: an errno, or what it answers. */
  model(model: Model): unknown;
}

const write = (path: string, text: string): Operation => ({
  name: `write ${path} ${text}`,
  run: (files, at) => files.write(at(path), text),
  model(model) {
    const blocked = wayTo(model, path);
    if (blocked) return blocked;
    if (isDirectory(model, path)) return "EISDIR";
    model.set(path, text);
    return undefined;
  },
});

const append = (path: string, text: string): Operation => ({
  name: `append ${path} ${text}`,
  run: (files, at) => files.write(at(path), text, { append: true }),
  model(model) {
    const blocked = wayTo(model, path);
    if (blocked) return blocked;
    if (isDirectory(model, path)) return "EISDIR";
    model.set(path, (model.get(path) ?? "") + text);
    return undefined;
  },
});

const read = (path: string): Operation => ({
  name: `read ${path}`,
  run: (files, at) => files.readText(at(path)),
  model(model) {
    const blocked = wayTo(model, path);
    if (blocked) return blocked;
    return isDirectory(model, path) ? "EISDIR" : (model.get(path) ?? "ENOENT");
  },
});

const list = (path: string): Operation => ({
  name: `list ${path}`,
  run: async (files, at) => (await files.list(at(path))).map(({ name }) => name),
  model(model) {
    const blocked = wayTo(model, path);
    if (blocked) return blocked;
    if (!isDirectory(model, path)) return model.has(path) ? "ENOTDIR" : "ENOENT";
    return [...model.keys()]
      .filter((each) => above(each) === path)
      .map((each) => each.slice(path.length + 1))
      .sort();
  },
});

const mkdir = (path: string, recursive: boolean): Operation => ({
  name: `mkdir ${recursive ? "-p " : ""}${path}`,
  run: (files, at) => files.mkdir(at(path), { recursive }),
  model(model) {
    const blocked = wayTo(model, path);
    if (blocked && !(recursive && blocked === "ENOENT")) return blocked;
    if (model.has(path)) return recursive && isDirectory(model, path) ? undefined : "EEXIST";
    for (let at = path.indexOf("/", 1); at !== -1; at = path.indexOf("/", at + 1)) model.set(path.slice(0, at), null);
    model.set(path, null);
    return undefined;
  },
});

const remove = (path: string, recursive: boolean): Operation => ({
  name: `remove ${recursive ? "-r " : ""}${path}`,
  run: (files, at) => files.remove(at(path), { recursive }),
  model(model) {
    const blocked = wayTo(model, path) ?? (model.has(path) ? undefined : "ENOENT");
    if (blocked) return blocked;
    const inside = below(model, path);
    if (inside.length > 0 && !recursive) return "ENOTEMPTY";
    for (const each of [path, ...inside]) model.delete(each);
    return undefined;
  },
});

const rename = (path: string, to: string): Operation => ({
  name: `rename ${path} ${to}`,
  run: (files, at) => files.rename(at(path), at(to)),
  model(model) {
    const blocked = wayTo(model, path) ?? (model.has(path) ? undefined : "ENOENT") ?? wayTo(model, to);
    if (blocked) return blocked;
    if (path === to) return undefined;
    if (to.startsWith(`${path}/`)) return "EINVAL";
    if (isDirectory(model, to)) {
      if (!isDirectory(model, path)) return "EISDIR";
      if (below(model, to).length > 0) return "ENOTEMPTY";
    } else if (model.has(to) && isDirectory(model, path)) return "ENOTDIR";
    const moved = [path, ...below(model, path)].map((each) => [to + each.slice(path.length), model.get(each)] as const);
    for (const each of [path, ...below(model, path)]) model.delete(each);
    for (const [name, content] of moved) model.set(name, content ?? null);
    return undefined;
  },
});

const part = fc.constantFrom("a", "b", "ü");
const path = fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => parts.map((each) => `/${each}`).join(""));
const text = fc.string({ maxLength: 8 });
const operation: fc.Arbitrary<Operation> = fc.oneof(
  fc.tuple(path, text).map(([at, content]) => write(at, content)),
  fc.tuple(path, text).map(([at, content]) => append(at, content)),
  path.map(read),
  path.map(list),
  fc.tuple(path, fc.boolean()).map(([at, recursive]) => mkdir(at, recursive)),
  fc.tuple(path, fc.boolean()).map(([at, recursive]) => remove(at, recursive)),
  fc.tuple(path, path).map(([at, to]) => rename(at, to)),
);

/** What a call has come to: its answer, or the system's word for why not. */
async function outcome(work: Promise<unknown>): Promise<unknown> {
  try {
    return await work;
  } catch (error) {
    if (isTapvisorError(error) && error.code === "NOT_FOUND") return "ENOENT";
    if (isTapvisorError(error) && error.code === "FILE_FAILED") return error.data.errno;
    throw error;
  }
}

async function treeOf(files: ContainerFiles, root: string, path = ""): Promise<Model> {
  const tree: Model = new Map();
  for (const { name, type } of await files.list(root + path)) {
    const inner = `${path}/${name}`;
    tree.set(inner, type === "directory" ? null : await files.readText(root + inner));
    if (type === "directory") for (const [at, content] of await treeOf(files, root, inner)) tree.set(at, content);
  }
  return tree;
}

s.test(
  "random operations come to what a model says, and leave the tree that it says",
  async () => {
    await using fake = await fakeEngine();
    const sandbox = await fake.engine.runSandbox({ id: "box" });
    const { files } = await sandbox.run({ rootfs: fake.rootfs, command: ["sleep", "60"] });
    let runs = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(operation, { minLength: 1, maxLength: 40 }), async (operations) => {
        const root = `/run-${runs++}`;
        await files.mkdir(root);
        const model: Model = new Map();
        for (const each of operations) {
          const wanted = each.model(model);
          assert.equal(
            await outcome(each.run(files, (at) => root + at)),
            wanted,
            `${each.name} after ${operations.map(({ name }) => name).join("; ")}`,
          );
        }
        assert.equal([...(await treeOf(files, root))].sort(), [...model].sort());
        await files.remove(root, { recursive: true });
      }),
      { numRuns: 300 },
    );
    console.log(`${runs} sequences of operations`);
  },
  { timeoutMs: 120_000 },
);

s.run();
