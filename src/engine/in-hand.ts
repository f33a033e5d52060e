/** What one engine of this process has in its hands. */
export interface Hands {
  readonly root: string;
  holds(sandbox: string): boolean;
}

const all = new Set<Hands>();

/** A record names a process as its owner; this tells that process's own engines apart. Gives the function that ends it. */
export function joinHands(hands: Hands): () => void {
  all.add(hands);
  return () => void all.delete(hands);
}

/** Whether an engine of this process has the sandbox, or is making it. */
export function isInHand(root: string, sandbox: string): boolean {
  return [...all].some((hands) => hands.root === root && hands.holds(sandbox));
}
