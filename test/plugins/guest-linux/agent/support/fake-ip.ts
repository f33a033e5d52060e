import { mkdir, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { GuestPaths } from "../../../../../plugins/guest-linux/agent/guest-paths.ts";
import type { RunTool } from "../../../../../plugins/guest-linux/agent/runtime/run-tool.ts";
import { ToolError } from "../../../../../plugins/guest-linux/agent/runtime/tool-error.ts";

interface FakeLink {
  readonly mac: string;
  mtu: number;
  up: boolean;
  noArp: boolean;
  addresses: readonly string[];
}

const REFUSED = "ip: RTNETLINK answers: Invalid argument";
const [IFF_UP, IFF_NOARP] = [1, 0x80];

/** A kernel's network behind busybox's `ip` and `arp`, shown in the directories that stand in for /sys and /proc. */
export class FakeIp {
  readonly links = new Map<string, FakeLink>();
  /** Without the kernel's own: as the words with which they are added, family first. */
  readonly routes: string[] = [];
  readonly neighbors = new Map<string, string>();
  /** The commands that change something. */
  readonly changes: string[] = [];
  /** Refuses the change of this number, from 1. */
  failAt = 0;
  readonly #paths: GuestPaths;

  constructor(paths: GuestPaths) {
    this.#paths = paths;
  }

  async plug(name: string, mac: string, { card = true, up = false, addresses = [] as readonly string[] } = {}): Promise<void> {
    this.links.set(name, { mac, mtu: 1500, up, noArp: false, addresses });
    await put(join(this.#paths.proc, "sys/net/ipv6/conf", name, "accept_ra"), "1\n");
    await mkdir(this.#at(name), { recursive: true });
    if (card) await symlink("../../devices/virtio0", join(this.#at(name), "device"));
    await this.#show(name);
  }

  readonly run: RunTool = async (args) => {
    const [tool, ...words] = args;
    const text = words.join(" ");
    if (text === "-o addr") return this.#addresses();
    if (tool === "ip" && words.length === 2 && words[1] === "route") return this.#routes(words[0] ?? "");
    this.changes.push(args.join(" "));
    if (this.changes.length === this.failAt) throw new ToolError(REFUSED, "", REFUSED);
    await this.#change(tool ?? "", words);
    return "";
  };

  /** All that a test compares before and after. */
  async state(): Promise<unknown> {
    const accepting = [...this.links.keys()].map((name) =>
      readFile(join(this.#paths.proc, "sys/net/ipv6/conf", name, "accept_ra"), "utf8").catch(() => ""),
    );
    const accepts = (await Promise.all(accepting)).map((text) => text.trim());
    const links = [...this.links].map(([name, link]) => ({ name, ...link, addresses: [...link.addresses].sort() }));
    return structuredClone({ links, accepts, routes: [...this.routes].sort(), neighbors: [...this.neighbors] });
  }

  async #change(tool: string, words: readonly string[]): Promise<void> {
    if (tool === "arp") return this.#neighbor(words);
    const [first = "", second = "", ...rest] = words;
    const device = words[words.indexOf("dev") + 1] ?? "";
    if (first === "-4" || first === "-6") return this.#route(first, rest[0] ?? "", words.slice(3));
    const link = this.links.get(device);
    if (!link) throw new ToolError("", "", "ip: can't find device");
    if (first === "addr") {
      const [address = ""] = rest;
      if (second === "del") link.addresses = link.addresses.filter((each) => each !== address);
      else if (link.addresses.includes(address)) throw new ToolError("", "", "ip: RTNETLINK answers: File exists");
      else link.addresses = [...link.addresses, address];
      return;
    }
    if (second === "del") {
      this.links.delete(device);
      await rm(this.#at(device), { recursive: true });
      return;
    }
    const [, , verb, value = ""] = rest;
    if (verb === "up") link.up = true;
    else if (verb === "down") this.#down(device, link);
    else if (verb === "mtu") await this.#resize(device, link, Number(value));
    else if (verb === "arp") link.noArp = value === "off";
    else if (verb === "name") return this.#rename(device, link, value);
    await this.#show(device);
  }

  /** The kernel does no IPv6 on an interface with packets that are too small for it. */
  async #resize(device: string, link: FakeLink, mtu: number): Promise<void> {
    const conf = join(this.#paths.proc, "sys/net/ipv6/conf", device);
    if (mtu < 1280) {
      link.addresses = link.addresses.filter((address) => !address.includes(":"));
      this.routes.splice(
        0,
        this.routes.length,
        ...this.routes.filter((route) => !(route.startsWith("-6") && route.includes(`dev ${device}`))),
      );
      await rm(conf, { recursive: true, force: true });
    } else if (link.mtu < 1280) await put(join(conf, "accept_ra"), "1\n");
    link.mtu = mtu;
  }

  /** The kernel takes the routes through it, and its IPv6 addresses. */
  #down(device: string, link: FakeLink): void {
    link.up = false;
    link.addresses = link.addresses.filter((address) => !address.includes(":"));
    this.routes.splice(0, this.routes.length, ...this.routes.filter((route) => !route.includes(`dev ${device}`)));
  }

  async #rename(device: string, link: FakeLink, name: string): Promise<void> {
    if (link.up || this.links.has(name)) throw new ToolError("", "", "ip: SIOCSIFNAME: Device or resource busy");
    this.links.delete(device);
    this.links.set(name, link);
    await rename(this.#at(device), this.#at(name));
    const conf = join(this.#paths.proc, "sys/net/ipv6/conf");
    await rename(join(conf, device), join(conf, name)).catch(() => {}); // it does no IPv6
  }

  #route(family: string, verb: string, words: readonly string[]): void {
    // A scope is shown only when it is not everywhere, and for one on the link that is its default.
    const onLink = family === "-4" && !words.includes("via") && !words.includes("scope") ? ["scope", "link"] : [];
    const route = [family, ...words, ...onLink].join(" ").replace(" scope global", "");
    const at = this.routes.indexOf(route);
    if (verb === "add") {
      if (at >= 0) throw new ToolError("", "", "ip: RTNETLINK answers: File exists");
      this.routes.push(route);
    } else if (at >= 0) this.routes.splice(at, 1);
    else throw new ToolError("", "", `ip: RTNETLINK answers: No such process (${route})`);
  }

  async #neighbor([, device = "", verb, address = "", mac = ""]: readonly string[]): Promise<void> {
    const key = `${address} ${device}`;
    if (verb === "-s") this.neighbors.set(key, mac);
    else this.neighbors.delete(key);
    const lines = [...this.neighbors].map(([each, its]) => {
      const [ip, on] = each.split(" ");
      return `${ip}        0x1         0x6         ${its}     *        ${on}`;
    });
    await put(join(this.#paths.proc, "net/arp"), `${["IP address  HW type  Flags  HW address  Mask  Device", ...lines].join("\n")}\n`);
  }

  #addresses(): string {
    const lines = [...this.links].flatMap(([name, { addresses, up }], index) => {
      const own = up ? ["fe80::1/64"] : [];
      return [...addresses, ...own].map((address) => {
        const family = address.includes(":") ? "inet6" : "inet";
        const scope = address.startsWith("fe80") ? "link" : "global";
        return `${index + 2}: ${name}    ${family} ${address} scope ${scope} \\       valid_lft forever preferred_lft forever`;
      });
    });
    return `${lines.join("\n")}\n`;
  }

  /** The kernel's own, and the others. */
  #routes(family: string): string {
    const isV6 = family === "-6";
    const own = [...this.links].flatMap(([device, { addresses, up }]) => {
      const its = up && device !== "lo" ? addresses.filter((address) => address.includes(":") === isV6) : [];
      return its.map((address) => {
        const [ip = ""] = address.split("/");
        return isV6 ? `fd00::/64 dev ${device}  metric 256` : `${ip.replace(/\d+$/, "0")}/24 dev ${device} scope link  src ${ip}`;
      });
    });
    const odd = isV6 ? ["multicast ff00::/8 dev eth0  metric 256", "fe80::/64 dev eth0  metric 256"] : ["unreachable 10.66.0.0/16"];
    const others = this.routes.filter((route) => route.startsWith(family)).map((route) => route.slice(3));
    return `${[...own, ...odd, ...others].join(" \n")} \n`;
  }

  async #show(name: string): Promise<void> {
    const link = this.links.get(name);
    if (!link) return;
    await put(join(this.#at(name), "address"), `${link.mac}\n`);
    await put(join(this.#at(name), "mtu"), `${link.mtu}\n`);
    await put(join(this.#at(name), "flags"), `0x${((link.up ? IFF_UP : 0) + (link.noArp ? IFF_NOARP : 0)).toString(16)}\n`);
  }

  #at(name: string): string {
    return join(this.#paths.sys, "class/net", name);
  }
}

async function put(path: string, content: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, content);
}
