/**
 * Texts in the command lines of what belongs to one VM, so that it is found for certain when only the intent is known. Each holds the
 * VM's unguessable nonce; the words before it keep the kinds apart.
 */
export const vmMark = (nonce: string): string => `tapvisor-vm:${nonce}`;
export const vmLogMark = (nonce: string): string => `tapvisor-vm-log:${nonce}`;
export const shareMark = (nonce: string, share: string): string => `tapvisor-share:${nonce}:${share}:`;
export const shareLogMark = (nonce: string, share: string): string => `tapvisor-share-log:${nonce}:${share}:`;
