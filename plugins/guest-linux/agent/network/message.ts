import { IFF_NOARP, type InterfaceMessage, interfaceToWire } from "tapvisor/protocol";
import type { Link } from "./links.ts";

export function linkMessage(link: Link): InterfaceMessage {
  return { ...interfaceToWire(link), raw_flags: link.noArp ? IFF_NOARP : 0 };
}
