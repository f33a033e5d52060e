import { copyFile, cp, mkdir, readdir, rm, utimes, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import type { Guest, RootfsGrant, RootfsStorage } from "tapvisor/plugin";
import { guestFiles } from "tapvisor/plugins/guest-files";
import { rootfsDir } from "tapvisor/plugins/rootfs-dir";
import { type GuestFixture, guestSuite, type RootfsFixture, rootfsSuite } from "tapvisor/testing";
import { providerOf } from "../../support/fake-guest.ts";
import { suite } from "../../support/suite.ts";
import { tempDirectory } from "../../support/temp.ts";
import { blockStorageFixture } from "../support/block-storage.ts";
import { type Defects, expectCaught } from "./expect-caught.ts";

const s = suite("guestSuite and rootfsSuite against broken backends");

const deaf = { signal: new AbortController().signal };

type MakeGuest = () => Promise<GuestFixture>;
type Files = { readonly directory: string; readonly kernel: string };

const guest =
  (amend: (honest: Guest, files: Files) => Partial<Guest>): MakeGuest =>
  async () => {
    const { path: directory, ...temporary } = await tempDirectory();
    const [kernel, initrd] = ["kernel", "initrd"].map((name) => join(directory, name)) as [string, string];
    for (const file of [kernel, initrd]) await writeFile(file, "not empty");
    const honest = await providerOf<Guest>(guestFiles({ kernel, initrd }), "guest", "files");
    return { guest: { ...honest, ...amend(honest, { directory, kernel }) }, [Symbol.asyncDispose]: () => temporary[Symbol.asyncDispose]() };
  };

const guestDefects: Defects<MakeGuest> = {
  "gives a relative path": [
    /absolute paths/,
    guest((honest) => ({
      prepare: async (call) => ({ ...(await honest.prepare(call)), kernel: relative(process.cwd(), (await honest.prepare(call)).kernel) }),
    })),
  ],
  "names a file that is not there": [
    /absolute paths/,
    guest((honest) => ({ prepare: async (call) => ({ ...(await honest.prepare(call)), image: "/nonexistent/image" }) })),
  ],
  "gives two words for one": [
    /words for the kernel/,
    guest((honest) => ({ prepare: async (call) => ({ ...(await honest.prepare(call)), kernelParameters: ["quiet panic=-1"] }) })),
  ],
  "writes its files anew each time": [
    /nothing the second time/,
    guest((honest, { kernel }) => {
      let age = 1_000;
      return {
        prepare: async (call) => {
          await utimes(kernel, age++, age);
          return honest.prepare(call);
        },
      };
    }),
  ],
  "announces a step each time": [
    /nothing the second time/,
    guest((honest) => ({
      prepare: (call, onProgress) => {
        onProgress?.("building");
        return honest.prepare(call);
      },
    })),
  ],
  "prepares other files for each that asks": [
    /at once agree/,
    guest((honest, { directory, kernel }) => {
      let count = 0;
      return {
        prepare: async (call) => {
          const own = join(directory, `kernel-${count++}`);
          await copyFile(kernel, own);
          return { ...(await honest.prepare(call)), kernel: own };
        },
      };
    }),
  ],
  "does not look at the signal": [
    /signal that has fired/,
    guest((honest) => ({ prepare: (call) => honest.prepare({ ...call, ...deaf }) })),
  ],
  "cannot go on after it was given up": [
    /works afterwards/,
    guest((honest, { kernel }) => ({
      prepare: async (call) => {
        if (call.signal.aborted) await rm(kernel, { force: true });
        return honest.prepare(call);
      },
    })),
  ],
  "reports in many lines": [
    /each long step|inspectHost/,
    guest(() => ({ inspectHost: async () => [{ check: "guest", level: "ok", found: "one\ntwo" }] })),
  ],
};

expectCaught(s, guestDefects, (name, make, options) => guestSuite(name, make, options));

type MakeRootfs = () => Promise<RootfsFixture>;
type Kind = RootfsStorage["holdings"]["rootfs"];

const storage =
  (amend: (honest: RootfsStorage, copies: string) => RootfsStorage): MakeRootfs =>
  async () => {
    const temporary = await tempDirectory();
    const [directory, source, copies] = ["mine", "source", "copies"].map((name) => join(temporary.path, name)) as [string, string, string];
    for (const each of [directory, source, copies]) await mkdir(each);
    return {
      storage: amend(await providerOf<RootfsStorage>(rootfsDir(), "rootfs", "dir", join(temporary.path, "state")), copies),
      directory,
      source: async () => ({ kind: "directory", path: source }),
      snapshot: () => readdir(copies),
      [Symbol.asyncDispose]: () => temporary[Symbol.asyncDispose](),
    };
  };
const rootfs = (amend: (honest: Kind, copies: string) => Partial<Kind>): MakeRootfs =>
  storage((honest, copies) => {
    const kind = honest.holdings.rootfs;
    return { ...honest, holdings: { rootfs: { ...kind, ...amend(kind, copies) } } };
  });
const directoryOf = (grant: RootfsGrant) => (grant.type === "share" ? grant.directory : "");
/** A storage that copies, honest but for what `release` is. */
const copying = (release: (copy: string, known: boolean) => Promise<void>): MakeRootfs =>
  rootfs((honest, copies) => ({
    acquire: async (intent, call) => {
      const copy = join(copies, intent.container);
      await cp(directoryOf(await honest.acquire(intent, call)), copy, { recursive: true });
      return { type: "share", directory: copy };
    },
    release: ({ intent, grant }) => release(join(copies, intent.container), grant !== undefined),
  }));

const rootfsDefects: Defects<MakeRootfs> = {
  "takes no kind of source": [/at least one/, storage((honest) => ({ ...honest, sources: [] }))],
  "takes kinds that it cannot": [/UNSUPPORTED/, rootfs(() => ({ acquire: async () => ({ type: "share", directory: "/usr" }) }))],
  "leaves its copy": [/release\(\) is success|grants what is there/, copying(async () => {})],
  "fails at a second release": [/success twice/, copying((copy) => rm(copy, { recursive: true }))],
  "needs the grant to release": [
    /intent alone/,
    copying(async (copy, known) => (known ? rm(copy, { recursive: true, force: true }) : undefined)),
  ],
  "takes every container's copy at one release": [
    /leaves the other's/,
    copying((copy) => rm(join(copy, ".."), { recursive: true, force: true }).then(() => mkdir(join(copy, "..")).then(() => {}))),
  ],
  "removes the source": [
    /outlives its release/,
    rootfs(() => ({ release: async ({ grant }) => (grant ? rm(directoryOf(grant), { recursive: true, force: true }) : undefined) })),
  ],
  "does not look at the signal": [
    /signal that has fired/,
    rootfs((honest) => ({ acquire: (intent, call) => honest.acquire(intent, { ...call, ...deaf }) })),
  ],
  "grants what is not there": [
    /not there is refused/,
    rootfs((honest) => ({
      acquire: (intent, call) => honest.acquire(intent, call).catch(() => ({ type: "share", directory: "/usr" }) as const),
    })),
  ],
  "takes a file for a directory": [
    /file in place/,
    rootfs((honest) => ({
      acquire: (intent, call) =>
        intent.source.kind === "directory" && intent.source.path.endsWith("/file")
          ? Promise.resolve({ type: "share", directory: intent.source.path })
          : honest.acquire(intent, call),
    })),
  ],
  "follows a link when it is used": [
    /link is followed/,
    rootfs((honest) => ({
      acquire: async (intent, call) => {
        const grant = await honest.acquire(intent, call);
        return intent.source.kind === "directory" ? { ...grant, directory: intent.source.path } : grant;
      },
    })),
  ],
  "grants what JSON loses": [
    /survives JSON/,
    rootfs((honest) => ({
      acquire: async (intent, call) => ({ ...(await honest.acquire(intent, call)), extra: undefined as never, at: new Date() }),
    })),
  ],
};

expectCaught(s, rootfsDefects, (name, make, options) => rootfsSuite(name, make, options));

const GRANTED = /grants what is there/;

const blockDefects: Defects<MakeRootfs> = {
  "grants a disk and calls it a share": [GRANTED, () => blockStorageFixture(({ path }) => ({ type: "share", directory: path }))],
  "does not say that it grants disks": [GRANTED, () => blockStorageFixture((same) => same, { grants: "share" })],
  "grants an image that is not there": [GRANTED, () => blockStorageFixture((grant) => ({ ...grant, path: `${grant.path}.missing` }))],
  "grants a directory for an image": [GRANTED, () => blockStorageFixture((grant) => ({ ...grant, path: dirname(grant.path) }))],
  "grants an image by a relative path": [
    GRANTED,
    () => blockStorageFixture((grant) => ({ ...grant, path: relative(process.cwd(), grant.path) })),
  ],
  "grants a format that nobody reads": [GRANTED, () => blockStorageFixture((grant) => ({ ...grant, format: "vmdk" as never }))],
  "grants a file system that is none": [GRANTED, () => blockStorageFixture((grant) => ({ ...grant, fstype: "" }))],
};

expectCaught(s, blockDefects, (name, make, options) => rootfsSuite(name, make, options));

rootfsSuite("an honest storage of disks", () => blockStorageFixture(), { suite: s });

s.run();
