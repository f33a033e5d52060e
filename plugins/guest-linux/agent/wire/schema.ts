import { descriptor } from "tapvisor/protocol";

export type ScalarType = "bool" | "bytes" | "double" | "int32" | "int64" | "string" | "uint32" | "uint64";

/** The values of an enum, both ways. */
export interface EnumType {
  readonly kind: "enum";
  readonly numbers: Readonly<Record<string, number>>;
  readonly names: ReadonlyMap<number, string>;
}

export interface MessageType {
  readonly kind: "message";
  readonly fields: readonly Field[];
  readonly byId: ReadonlyMap<number, Field>;
}

export interface Field {
  readonly name: string;
  readonly id: number;
  readonly type: ScalarType | EnumType | MessageType;
  readonly shape: "single" | "repeated" | "map";
}

interface RawField {
  readonly type: string;
  readonly id: number;
  readonly rule?: string;
  readonly keyType?: string;
}

interface RawNode {
  readonly nested?: Readonly<Record<string, RawNode>>;
  readonly fields?: Readonly<Record<string, RawField>>;
  readonly values?: Readonly<Record<string, number>>;
  readonly methods?: Readonly<Record<string, { readonly requestType: string; readonly responseType: string }>>;
}

const root = descriptor as RawNode;
const known = new Map<string, MessageType | EnumType>();
const SCALARS: ReadonlySet<string> = new Set(["bool", "bytes", "double", "int32", "int64", "string", "uint32", "uint64"]);

/** The calls of a service: the full names of their request and response. */
export function methodsOf(service: string): Readonly<Record<string, { readonly request: string; readonly response: string }>> {
  const methods = node(service)?.methods ?? {};
  const scope = service.slice(0, service.lastIndexOf("."));
  return Object.fromEntries(
    Object.entries(methods).map(([name, method]) => [
      name,
      { request: resolve(scope, method.requestType), response: resolve(scope, method.responseType) },
    ]),
  );
}

/** A message's type, read from the descriptor at its first use, so that an agent which only answers Check reads almost nothing. */
export function messageType(name: string): MessageType {
  const type = typeNamed(name);
  if (type.kind === "message") return type;
  throw new Error(`${name} is no message`);
}

function typeNamed(name: string): MessageType | EnumType {
  const found = known.get(name);
  if (found) return found;
  const raw = node(name);
  if (!raw) throw new Error(`the protocol has no type ${name}`);
  const type = raw.values ? enumType(raw.values) : lazyMessage(name, raw.fields ?? {});
  known.set(name, type);
  return type;
}

function enumType(values: Readonly<Record<string, number>>): EnumType {
  return { kind: "enum", numbers: values, names: new Map(Object.entries(values).map(([name, number]) => [number, name])) };
}

function lazyMessage(name: string, raw: Readonly<Record<string, RawField>>): MessageType {
  let made: { readonly fields: readonly Field[]; readonly byId: ReadonlyMap<number, Field> } | undefined;
  const make = () => {
    const fields = Object.entries(raw).map(([fieldName, field]) => fieldOf(name, fieldName, field));
    made = { fields, byId: new Map(fields.map((field) => [field.id, field])) };
    return made;
  };
  return {
    kind: "message",
    get fields() {
      return (made ?? make()).fields;
    },
    get byId() {
      return (made ?? make()).byId;
    },
  };
}

function fieldOf(owner: string, name: string, { type, id, rule, keyType }: RawField): Field {
  const shape = keyType === undefined ? (rule === "repeated" ? "repeated" : "single") : "map";
  return { name, id, type: isScalar(type) ? type : typeNamed(resolve(owner, type)), shape };
}

/** The innermost scope that has the name wins, as in protobuf. */
function resolve(scope: string, name: string): string {
  for (let at = scope; at !== ""; at = at.slice(0, Math.max(0, at.lastIndexOf(".")))) {
    if (node(`${at}.${name}`)) return `${at}.${name}`;
  }
  return name;
}

function node(path: string): RawNode | undefined {
  let at: RawNode | undefined = root;
  for (const part of path.split(".")) at = at?.nested?.[part];
  return at;
}

function isScalar(type: string): type is ScalarType {
  return SCALARS.has(type);
}
