import { readFileSync } from "node:fs";
import * as assert from "uvu/assert";
import { serviceDefinition } from "../../../plugins/guest-linux/agent/wire/service.ts";
import { agentServiceDefinition, descriptor, healthServiceDefinition } from "../../../src/protocol/kata/index.ts";
import { suite } from "../../support/suite.ts";
import { CORPUS } from "./support/corpus.ts";

const s = suite("kata corpus");

/** The bytes of each type's message in hexadecimal, as they were when they were last looked at. */
const GOLDEN: Readonly<Record<string, string>> = JSON.parse(readFileSync(new URL("./support/golden.json", import.meta.url), "utf8"));

interface Codec {
  readonly encode: (message: object) => Buffer;
  readonly decode: (bytes: Buffer) => object;
}

interface Use {
  readonly type: string;
  readonly side: string;
  readonly host: Codec;
  readonly guest: Codec;
}

const USES: readonly Use[] = [...usesOf("AgentService", agentServiceDefinition), ...usesOf("Health", healthServiceDefinition)];

s.test("the corpus has a message of every request and response type of both services, and no other", () => {
  assert.equal(Object.keys(CORPUS).sort(), [...new Set(USES.map(({ type }) => type))].sort());
  assert.equal(Object.keys(GOLDEN).sort(), Object.keys(CORPUS).sort());
});

s.test("each message of it has every field of its type and of the types in it", () => {
  for (const [type, { message }] of Object.entries(CORPUS)) assertWhole(type, message);
});

for (const [type, { wire }] of Object.entries(CORPUS)) {
  s.test(`${type}: its fields put together by hand are the recorded bytes`, () => {
    assert.is(Buffer.concat(wire).toString("hex"), GOLDEN[type]);
  });
}

for (const { type, side, host, guest } of USES) {
  const message = CORPUS[type]?.message ?? {};
  const golden = Buffer.from(GOLDEN[type] ?? "", "hex");
  s.test(`${side}: the host writes the recorded bytes, and reads from them what was written`, () => {
    assert.is(host.encode(message).toString("hex"), golden.toString("hex"));
    assert.equal(host.decode(golden), message);
  });
  s.test(`${side}: the guest reads the same from them, and the host what the guest writes`, () => {
    assert.equal(guest.decode(golden), message);
    assert.equal(host.decode(guest.encode(message)), message);
  });
}

s.run();

function usesOf(service: "AgentService" | "Health", definition: object): readonly Use[] {
  const { methods } = descriptor.nested.grpc.nested[service] as {
    readonly methods: Readonly<Record<string, { readonly requestType: string; readonly responseType: string }>>;
  };
  const guest = serviceDefinition(`grpc.${service}`) as unknown as Record<string, Record<string, never>>;
  const host = definition as Record<string, Record<string, never>>;
  return Object.entries(methods).flatMap(([name, { requestType, responseType }]) =>
    (["request", "response"] as const).map((side) => {
      const codec = (of: Record<string, Record<string, never>>): Codec => ({
        encode: of[name]?.[`${side}Serialize`] as never,
        decode: of[name]?.[`${side}Deserialize`] as never,
      });
      return { type: side === "request" ? requestType : responseType, side: `${name} ${side}`, host: codec(host), guest: codec(guest) };
    }),
  );
}

interface Field {
  readonly type: string;
  readonly rule?: string;
  readonly keyType?: string;
}

function assertWhole(type: string, message: object): void {
  for (const [name, field] of Object.entries(fieldsOf(type))) {
    const value: unknown = Reflect.get(message, name);
    const items = field.rule === "repeated" ? (value as unknown[]) : field.keyType ? Object.values(value ?? {}) : [value];
    assert.ok(items?.length > 0 && items.every((item) => item !== undefined), `${type} has no ${name}`);
    for (const item of items) {
      if (typeof item === "object" && item && !(item instanceof Uint8Array)) assertWhole(field.type, item);
      else if (field.type === "string") assert.not.equal(item, "", `${type} has an empty ${name}, which is not sent`);
      else assert.not(item === 0 || item === false || item === "0", `${type} has the zero of ${name}, which is not sent`);
    }
  }
}

function fieldsOf(type: string): Readonly<Record<string, Field>> {
  const packages = Object.values(descriptor.nested) as readonly { readonly nested: Readonly<Record<string, object>> }[];
  const all = Object.assign({}, ...packages.map(({ nested }) => nested)) as Readonly<
    Record<string, { readonly fields?: Readonly<Record<string, Field>> }>
  >;
  return all[type.slice(type.lastIndexOf(".") + 1)]?.fields ?? {};
}
