/** Writes src/protocol/kata/descriptor.ts from the .proto files beside it: the guest's agent is one bundled file and cannot read them. */
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import protobuf from "protobufjs";

const folder = new URL("../src/protocol/kata/", import.meta.url);
const output = new URL("descriptor.ts", folder);

/** The text that descriptor.ts must have. */
export function descriptorModule(): string {
  const root = new protobuf.Root();
  root.resolvePath = (_from, target) => (target.startsWith("google/") ? target : fileURLToPath(new URL(target, folder)));
  root.loadSync(["agent.proto", "health.proto", "guest.proto", "files.proto"], { keepCase: true }).resolveAll();
  return [
    "// Made by `npm run build:proto` from the .proto files of this folder.",
    "",
    "/** The messages and services of the .proto files, in the JSON form of protobufjs. */",
    'export const descriptor: { readonly nested: Readonly<Record<"grpc" | "tapvisor", { readonly nested: Readonly<Record<string, object>> }>> } =',
    `  JSON.parse(\`${oneTypeALine(root.toJSON())}\`);`,
    "",
  ].join("\n");
}

/** JSON with a line for each message and service, so that a change of one shows as one line. */
function oneTypeALine(namespace: protobuf.INamespace): string {
  const nested = Object.entries(namespace.nested ?? {}).map(([name, type]) => {
    const isPackage = Object.keys(type).every((key) => key === "nested");
    return `${JSON.stringify(name)}:${isPackage ? oneTypeALine(type as protobuf.INamespace) : JSON.stringify(type)}`;
  });
  return `{"nested":{\n${nested.join(",\n")}\n}}`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(output, descriptorModule());
  console.log(`wrote ${fileURLToPath(output)}`);
}
