/** Bundles the guest's agent into one file: node in the guest has no packages to import from. */
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));

/** Writes the bundle; the same sources give the same bytes. */
export async function bundleAgent(outfile = path("../plugins/guest-linux/agent.bundle.cjs")): Promise<void> {
  await build({
    entryPoints: [path("../plugins/guest-linux/agent/main.ts")],
    outfile,
    tsconfig: path("../tsconfig.json"), // its paths say what "tapvisor/protocol" is
    bundle: true,
    platform: "node",
    format: "cjs",
    target: "node20",
    minifyWhitespace: true,
    minifySyntax: true,
    external: ["@grpc/proto-loader"], // grpc-js loads it for statistics that the agent has turned off: a quarter of the bundle
    legalComments: "inline", // the bundle carries the licences of the packages in it
    logLevel: "warning",
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await bundleAgent();
