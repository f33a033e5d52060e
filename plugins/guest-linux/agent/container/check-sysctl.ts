import { StatusError } from "../status.ts";

/** Of the IPC and the UTS namespace. */
const OWN = /^(kernel\.(msgmax|msgmnb|msgmni|sem|shmall|shmmax|shmmni|shm_rmid_forced|domainname)|fs\.mqueue\.[a-z_]+)$/;

/** @throws INVALID_ARGUMENT naming a kernel parameter that is not the container's own: its network is the sandbox's, and the rest the guest's. */
export function checkSysctl(sysctl: Readonly<Record<string, string>> = {}): void {
  for (const name of Object.keys(sysctl)) {
    if (OWN.test(name)) continue;
    throw new StatusError(
      "INVALID_ARGUMENT",
      `Cannot set linux.sysctl ${JSON.stringify(name)}: wanted a parameter that a container has of its own`,
    );
  }
}
