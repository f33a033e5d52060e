import type { NetworkStatsMessage } from "tapvisor/protocol";

/** `/proc/net/dev`: after two lines of headings one for each interface, its name and 16 numbers, those of receiving first. */
export function networkStats(lines: string): readonly NetworkStatsMessage[] {
  return [...lines.matchAll(/^ *(\S+): *(\d[\d ]*)$/gm)].map(([, name = "", numbers = ""]) => {
    const values = numbers.trim().split(/ +/);
    const at = (index: number) => values[index] ?? "0";
    return {
      name,
      rx_bytes: at(0),
      rx_packets: at(1),
      rx_errors: at(2),
      rx_dropped: at(3),
      tx_bytes: at(8),
      tx_packets: at(9),
      tx_errors: at(10),
      tx_dropped: at(11),
    };
  });
}
